//! Memory in whole cache lines, so that no vector of it lies in two.

/// A cache line of values, which is a vector of the widest kind.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; Line::LEN]);

impl Line {
    /// Values of a line.
    pub(crate) const LEN: usize = 16;

    /// At least `n` zeros.
    pub(crate) fn zeros(n: usize) -> Vec<Self> {
        vec![Self([0.0; Self::LEN]); n.div_ceil(Self::LEN)]
    }

    /// The values of lines, one after the other.
    pub(crate) fn values(lines: &[Self]) -> &[f32] {
        // SAFETY: a line is its values, without gaps.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * Self::LEN) }
    }

    /// The values of lines, to be written.
    pub(crate) fn values_mut(lines: &mut [Self]) -> &mut [f32] {
        let n = lines.len() * Self::LEN;
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), n) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_begin_with_a_cache_line_and_have_no_gaps() {
        let mut lines = Line::zeros(33);
        Line::values_mut(&mut lines)[17] = 1.0;
        let values = Line::values(&lines);
        assert_eq!((values.len(), values.as_ptr().addr() % 64), (48, 0));
        assert_eq!(values.iter().sum::<f32>(), values[17]);
    }
}
