//! Dropout of what a branch of low rank reads.

use rayon::prelude::*;
use stillhouse_core::random::{self, Random};

/// What is dropped in one pass: a share of the entries becomes zero, the others grow so that the
/// mean stays.
///
/// Which ones follows from the key, the row and the column alone: a second forward pass, or the
/// backward pass, finds the same ones, and nothing is kept between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The share that becomes zero, from 0 to below 1.
    pub rate: f32,
    /// Tells one pass, and one tensor in it, from another.
    pub key: u64,
}

impl Dropout {
    /// The same rate, drawn apart for `name`.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        Self {
            key: random::hash(name.as_bytes(), self.key),
            ..self
        }
    }

    /// Multiplies each entry of a matrix with rows of `width` by 0 or by 1 / (1 - rate).
    pub(super) fn apply(self, entries: &mut [f32], width: usize) {
        // A share of 2^32, against which halves of 64 random bits are held.
        #[expect(clippy::cast_sign_loss, reason = "a rate is not below 0")]
        let dropped = (f64::from(self.rate) * 2f64.powi(32)) as u32;
        let kept = (1.0 - self.rate).recip();
        let factor = |bits: u32| if bits < dropped { 0.0 } else { kept };
        let rows = entries.par_chunks_mut(width).enumerate().with_min_len(8);
        rows.for_each(|(number, row)| {
            let mut random = Random::new(self.key.wrapping_add(number as u64), "row");
            for pair in row.chunks_mut(2) {
                let bits = random.next_u64();
                pair[0] *= factor((bits >> 32) as u32);
                if let Some(second) = pair.get_mut(1) {
                    *second *= factor(bits as u32);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rate: f32, key: u64, width: usize) -> Vec<f32> {
        let mut mask = vec![1.0; 600 * width];
        Dropout { rate, key }.apply(&mut mask, width);
        mask
    }

    #[test]
    fn the_share_is_dropped_and_the_mean_stays() {
        for rate in [0.05, 0.5, 0.9] {
            let mask = mask(rate, 3, 101);
            let n = mask.len() as f32;
            let zeros = mask.iter().filter(|v| **v == 0.0).count() as f32 / n;
            // Four standard errors of a share of 60,600.
            let bound = 4.0 * (rate * (1.0 - rate) / n).sqrt();
            assert!((zeros - rate).abs() < bound, "{zeros}, expected {rate}");
            let mean = mask.iter().sum::<f32>() / n;
            assert!((mean - 1.0).abs() < bound / (1.0 - rate), "{mean}");
        }
        assert_eq!(mask(0.0, 3, 7), vec![1.0; 600 * 7]);
    }

    #[test]
    fn a_key_drops_the_same_entries_each_time_and_another_name_others() {
        assert_eq!(mask(0.5, 3, 9), mask(0.5, 3, 9));
        assert_ne!(mask(0.5, 3, 9), mask(0.5, 4, 9));
        let dropout = Dropout { rate: 0.5, key: 3 };
        assert_ne!(dropout.of("q").key, dropout.of("k").key);
        // A row's entries do not depend on how many rows there are.
        let mut few = vec![1.0; 18];
        dropout.apply(&mut few, 9);
        assert_eq!(few, mask(0.5, 3, 9)[..18]);
    }
}
