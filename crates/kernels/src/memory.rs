//! Memory of large blocks, kept for those to come.
//!
//! A training step asks for the same few sizes again and again, and the next one for slightly different ones.
//! Fresh memory costs a page fault every 4 KB; in a heap, what is freed between others serves nothing that is larger.
//! So a large block stands alone, and waits when it is freed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes from which on a block is large.
const LARGE: usize = 1 << 18;

/// Bytes before a block: its class stands there, and the block begins at a cache line.
const HEADER: usize = 64;

/// Sizes from each power of two to the next, and how many there are in all.
const STEPS: usize = 8;
const CLASSES: usize = 40 * STEPS;

/// How many classes above its own a block may be taken from: less than one and a half times as large.
const ABOVE: usize = 4;

/// Those that wait may take one part in so many more than was ever needed, since no two sizes serve each other exactly.
const SPARE: usize = 16;

/// The system's allocator, but for large blocks, which wait when they are freed until one of a similar size is asked for.
///
/// Those in use and those that wait never take much more than once was in use at one time.
///
/// ```
/// use stillhouse_kernels::memory::Blocks;
///
/// #[global_allocator]
/// static BLOCKS: Blocks = Blocks::new();
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Blocks {
    waiting: Mutex<Waiting>,
    is_told: AtomicBool,
}

/// All sizes in bytes.
#[derive(Debug)]
struct Waiting {
    classes: [Class; CLASSES],
    /// Of all that wait.
    waiting: usize,
    /// Of all in use, and the most that ever was.
    used: usize,
    most_used: usize,
    /// Counts requests.
    now: u64,
}

/// Blocks of one size.
#[derive(Clone, Copy, Debug)]
struct Class {
    /// The first that waits; each holds the address of the next, 0 after the last.
    first: usize,
    /// When one was last taken or given back.
    touched: u64,
}

/// The class whose blocks are the smallest that hold `bytes`.
fn class_of(bytes: usize) -> usize {
    let power = bytes.max(LARGE).next_power_of_two();
    let step = power / (2 * STEPS);
    let above = (power / LARGE).trailing_zeros() as usize;
    above * STEPS + bytes.max(LARGE).div_ceil(step) - STEPS - 1
}

/// The bytes of a class's blocks, header included.
fn size_of(class: usize) -> usize {
    (LARGE << (class / STEPS)) / (2 * STEPS) * (class % STEPS + STEPS + 1)
}

/// A block of this class as the system is asked for it.
fn layout_of(class: usize) -> Layout {
    Layout::from_size_align(size_of(class), HEADER).expect("a size that fits in memory")
}

/// Whether a request is for one of these blocks.
fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= HEADER && class_of(layout.size() + HEADER) < CLASSES
}

impl Blocks {
    /// Nothing waits.
    #[must_use]
    pub const fn new() -> Self {
        const EMPTY: Class = Class {
            first: 0,
            touched: 0,
        };
        Self {
            waiting: Mutex::new(Waiting {
                classes: [EMPTY; CLASSES],
                waiting: 0,
                used: 0,
                most_used: 0,
                now: 0,
            }),
            is_told: AtomicBool::new(false),
        }
    }

    /// Whole between its lines, whatever became of a thread that held it.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block for `bytes`, and whether it is fresh from the system, then zeros; null where there is no memory.
    fn take(&self, bytes: usize) -> (*mut u8, bool) {
        let class = class_of(bytes + HEADER);
        let found = self.waiting().take(class);
        if let Some(block) = found {
            return (block, false);
        }
        if !self.is_told.swap(true, Ordering::Relaxed) {
            map_large_blocks();
        }
        // SAFETY: the layout has a size.
        let block = unsafe { System.alloc_zeroed(layout_of(class)) };
        if block.is_null() {
            return (block, true);
        }
        self.waiting().used(class);
        // SAFETY: a block begins with a header, in which a number fits.
        unsafe {
            block.cast::<usize>().write(class);
            (block.add(HEADER), true)
        }
    }

    /// # Safety
    /// The block came from [`Self::take`] and is not used any more.
    unsafe fn give_back(&self, block: *mut u8) {
        // SAFETY: a header stands before the block.
        let block = unsafe { block.sub(HEADER) };
        self.waiting().give_back(block);
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Self::new()
    }
}

impl Waiting {
    /// A block of a class or a little larger, if one waits; if not, room is made for one.
    fn take(&mut self, class: usize) -> Option<*mut u8> {
        self.now += 1;
        let similar = class..CLASSES.min(class + ABOVE);
        for class in similar {
            if let Some(block) = self.pop(class) {
                self.used(class);
                // SAFETY: a block begins with a header.
                return Some(unsafe { block.add(HEADER) });
            }
        }
        let needed = self.used + size_of(class);
        let most = self.most_used.max(needed);
        while self.waiting > 0 && needed + self.waiting > most + most / SPARE {
            self.free_one();
        }
        None
    }

    fn used(&mut self, class: usize) {
        self.used += size_of(class);
        self.most_used = self.most_used.max(self.used);
    }

    fn pop(&mut self, class: usize) -> Option<*mut u8> {
        let Class { first, .. } = self.classes[class];
        if first == 0 {
            return None;
        }
        let block = ptr::with_exposed_provenance_mut::<u8>(first);
        // SAFETY: the block waits, so it holds its class and the address of the next.
        let next = unsafe { block.cast::<usize>().add(1).read() };
        self.classes[class] = Class {
            first: next,
            touched: self.now,
        };
        self.waiting -= size_of(class);
        Some(block)
    }

    fn give_back(&mut self, block: *mut u8) {
        // SAFETY: the caller's: a block with its header, which nobody else holds.
        let class = unsafe { block.cast::<usize>().read() };
        // SAFETY: as above; two numbers fit in a header.
        unsafe {
            block
                .cast::<usize>()
                .add(1)
                .write(self.classes[class].first);
        }
        self.classes[class] = Class {
            first: block.expose_provenance(),
            touched: self.now,
        };
        self.used -= size_of(class);
        self.waiting += size_of(class);
    }

    /// Frees a block of the class that was touched the longest ago.
    fn free_one(&mut self) {
        let full = (0..CLASSES).filter(|&class| self.classes[class].first != 0);
        let oldest = full.min_by_key(|&class| self.classes[class].touched);
        let class = oldest.expect("something waits");
        let touched = self.classes[class].touched;
        let block = self.pop(class).expect("the class has one");
        self.classes[class].touched = touched;
        // SAFETY: it came from the system with this layout, and nobody holds it.
        unsafe { System.dealloc(block, layout_of(class)) };
    }
}

/// Tells glibc to map each large block alone, so that freeing one gives its memory back, and to keep some of what is freed of its heap.
fn map_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets numbers of the allocator, under its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE as libc::c_int);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 * LARGE as libc::c_int);
    }
}

// SAFETY: small blocks are the system's; large ones are its too, with a header of a whole cache line before them, and are given to one owner at a time.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return self.take(layout.size()).0;
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc_zeroed(layout) };
        }
        let (block, is_fresh) = self.take(layout.size());
        if !is_fresh {
            // SAFETY: the block holds that many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; what is large here was large when it was asked for.
        unsafe {
            if is_large(layout) {
                self.give_back(block);
            } else {
                System.dealloc(block, layout);
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise that the new size, rounded up, fits in memory.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if !is_large(layout) && !is_large(new) {
            // SAFETY: the caller's promise.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        if is_large(layout) && is_large(new) {
            // SAFETY: a header stands before a large block.
            let class = unsafe { block.sub(HEADER).cast::<usize>().read() };
            if new_size + HEADER <= size_of(class) && class < class_of(new_size + HEADER) + ABOVE {
                return block;
            }
        }
        // SAFETY: the caller's promise; both blocks hold what is copied, and they are not the same.
        unsafe {
            let other = self.alloc(new);
            if !other.is_null() {
                ptr::copy_nonoverlapping(block, other, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            other
        }
    }
}

/// Memory of `n` entries that hold anything, to be overwritten.
#[must_use]
#[expect(clippy::uninit_vec, reason = "overwritten before it is read")]
pub fn any(n: usize) -> Vec<f32> {
    let mut entries = Vec::with_capacity(n);
    // SAFETY: there is room for them, and any bits are an `f32`; callers write each before they read it.
    unsafe { entries.set_len(n) };
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 4).expect("a layout")
    }

    #[test]
    fn classes_hold_what_they_are_for_and_an_eighth_more_at_most() {
        for bytes in (LARGE..1 << 22).step_by(997) {
            let class = class_of(bytes);
            assert!((bytes..=bytes + bytes / 8).contains(&size_of(class)));
            assert!(class == 0 || size_of(class - 1) < bytes);
        }
        assert_eq!(size_of(class_of(3 << 30)), 3 << 30);
    }

    #[test]
    fn a_block_comes_back_for_a_similar_size() {
        let blocks = Blocks::new();
        // SAFETY: each block is used within its size and given back once.
        unsafe {
            let first = blocks.alloc(layout(LARGE));
            assert_eq!(first.addr() % HEADER, 0);
            first.write_bytes(7, LARGE);
            blocks.dealloc(first, layout(LARGE));
            let zeros = blocks.alloc_zeroed(layout(LARGE - HEADER));
            blocks.dealloc(zeros, layout(LARGE - HEADER));
            let second = blocks.alloc_zeroed(layout(LARGE));
            assert_eq!(second, first);
            assert!((0..LARGE).all(|i| second.add(i).read() == 0));
            let other = blocks.alloc(layout(2 * LARGE));
            assert_ne!(other, first);
            blocks.dealloc(second, layout(LARGE));
            blocks.dealloc(other, layout(2 * LARGE));
        }
    }

    #[test]
    fn little_more_than_was_in_use_at_one_time() {
        let blocks = Blocks::new();
        // SAFETY: as above.
        unsafe {
            for bytes in [LARGE, 2 * LARGE, 4 * LARGE, 8 * LARGE, 3 * LARGE] {
                let block = blocks.alloc(layout(bytes));
                blocks.dealloc(block, layout(bytes));
                let waiting = blocks.waiting();
                let most = waiting.most_used + waiting.most_used / SPARE;
                assert!(waiting.waiting + waiting.used <= most);
                assert!(waiting.most_used <= size_of(class_of(8 * LARGE + HEADER)));
            }
        }
    }

    #[test]
    fn a_block_that_grows_keeps_what_it_holds() {
        let blocks = Blocks::new();
        let mut size = 100;
        // SAFETY: as above.
        unsafe {
            let mut block = blocks.alloc(layout(size));
            block.write_bytes(3, size);
            for next in [1000, LARGE - 1, LARGE, LARGE + 5, 9 * LARGE, 2 * LARGE, 50] {
                block = blocks.realloc(block, layout(size), next);
                assert!((0..size.min(next)).all(|i| block.add(i).read() == 3));
                block.write_bytes(3, next);
                size = next;
            }
            blocks.dealloc(block, layout(size));
        }
        assert_eq!(blocks.waiting().used, 0);
    }
}
