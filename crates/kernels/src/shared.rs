//! An output that several threads fill, each its own part.

use std::marker::PhantomData;

/// A slice whose disjoint parts are written by different threads.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    first: *mut f32,
    len: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only access is `part`, whose caller promises that no two parts in use overlap.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self {
            first: slice.as_mut_ptr(),
            len: slice.len(),
            life: PhantomData,
        }
    }

    /// Entries `start..start + len`.
    ///
    /// # Safety
    /// No other part that overlaps these may be in use.
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start + len <= self.len, "a part lies within its slice");
        // SAFETY: within the borrowed slice, as just checked; not aliased, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), len) }
    }

    /// The first entry; what is written must lie within the slice.
    ///
    /// # Safety
    /// No two threads may write to the same entry.
    pub(crate) unsafe fn start(&self) -> *mut f32 {
        self.first
    }
}
