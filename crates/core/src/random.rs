//! Seeded randomness that is the same on every machine and in every version.
//!
//! `SplitMix64` (Steele, Lea, Flood 2014): small, well tested, and written down here so that no
//! dependency's update can change a split.

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of `seed` for one `purpose`, so that two uses of a seed never share a stream.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(hash(purpose.as_bytes(), seed))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in [0, 1).
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [0, n); n must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The high half of a 128-bit product (Lemire 2019); its bias is below n / 2^64.
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.next_f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.next_f64()).cos()
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// A 64-bit hash of `bytes` under `seed` (FNV-1a, then mixed): for order and splits, not for safety.
pub fn hash(bytes: &[u8], seed: u64) -> u64 {
    let fold = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325 ^ mix(seed), fold))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_never_changes() {
        // Reference outputs of SplitMix64 from the state 1234567.
        let mut random = Random(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_depends_on_seed_and_purpose() {
        let shuffled = |seed, purpose| {
            let mut items: Vec<u32> = (0..100).collect();
            Random::new(seed, purpose).shuffle(&mut items);
            items
        };
        let mut sorted = shuffled(7, "a");
        assert_ne!(sorted, shuffled(8, "a"));
        assert_ne!(sorted, shuffled(7, "b"));
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..100));
    }
}
