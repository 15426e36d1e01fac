//! Scalar pieces that vectorise once they are inlined into a dispatched loop.

/// How many partial sums a reduction keeps, in a fixed order whatever the vector width.
pub(crate) const LANES: usize = 16;

/// `e^x` to about two units in the last place, between e^-87 and e^88; Cody and Waite's reduction with Cephes' polynomial.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let whole = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits(((whole as i32 + 127) << 23) as u32)
}

/// The natural logarithm of a positive number that is not subnormal, to about two units in the last place; Cephes' polynomial.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let half = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    // The power of two moves so that the rest lies around 1.
    let is_low = half < std::f32::consts::FRAC_1_SQRT_2;
    let power = ((bits >> 23) as i32 - 126 - i32::from(is_low)) as f32;
    let r = if is_low { half + half } else { half } - 1.0;
    let p = 7.037_683_6e-2;
    let p = p * r - 1.151_461e-1;
    let p = p * r + 1.167_699_9e-1;
    let p = p * r - 1.242_014_1e-1;
    let p = p * r + 1.424_932_3e-1;
    let p = p * r - 1.666_805_8e-1;
    let p = p * r + 2.000_071_5e-1;
    let p = p * r - 2.499_999_4e-1;
    let p = p * r + 3.333_333e-1;
    let square = r * r;
    let tail = p * r * square - power * 2.121_944_4e-4 - 0.5 * square;
    r + tail + power * 0.693_359_4
}

/// The hyperbolic tangent to about three units in the last place; Cephes' polynomial near 0, where the exponentials cancel.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let t = x * x;
    let p = -5.704_988_7e-3;
    let p = p * t + 2.063_909e-2;
    let p = p * t - 5.373_971_6e-2;
    let p = p * t + 1.333_144_2e-1;
    let p = p * t - 3.333_328e-1;
    let near = p * t * x + x;
    let far = 1.0 - 2.0 / (1.0 + exp(2.0 * x));
    if x.abs() < 0.625 { near } else { far }
}

/// The sum of `term(i)` over `0..n`.
#[inline(always)]
pub(crate) fn sum(n: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = n / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (j, lane) in lanes.iter_mut().enumerate() {
            *lane += term(start + j);
        }
    }
    for i in whole..n {
        lanes[i - whole] += term(i);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            lanes[j] += lanes[j + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The inner product.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    sum(n, |i| a[i] * b[i])
}

/// The largest entry.
#[inline(always)]
pub(crate) fn highest(x: &[f32]) -> f32 {
    let mut lanes = [f32::MIN; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = if *v > *lane { *v } else { *lane };
        }
    }
    let rest = chunks.remainder().iter();
    lanes.iter().chain(rest).copied().fold(f32::MIN, f32::max)
}

/// Replaces each entry by `e^(scale * x - shift)` and returns their sum.
#[inline(always)]
pub(crate) fn exponentiate(x: &mut [f32], scale: f32, shift: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let mut chunks = x.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *v = exp(*v * scale - shift);
            *lane += *v;
        }
    }
    for (lane, v) in lanes.iter_mut().zip(chunks.into_remainder()) {
        *v = exp(*v * scale - shift);
        *lane += *v;
    }
    sum(LANES, |j| lanes[j])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library() {
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let relative = (exp(x) - x.exp()).abs() / x.exp();
            assert!(relative < 3e-7, "exp({x}): {relative:e}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn ln_agrees_with_the_standard_library() {
        for i in -8600..=8800 {
            let x = (i as f32 / 100.0).exp();
            let difference = (ln(x) - x.ln()).abs() / x.ln().abs().max(1e-2);
            assert!(difference < 1e-6, "ln({x}): {difference:e}");
        }
    }

    #[test]
    fn tanh_agrees_with_the_standard_library() {
        for i in -30_000..=30_000 {
            let x = i as f32 / 1000.0;
            let expected = f64::from(x).tanh() as f32;
            let relative = (tanh(x) - expected).abs() / expected.abs().max(f32::MIN_POSITIVE);
            assert!(relative < 5e-7, "tanh({x}): {relative:e}");
        }
    }

    #[test]
    fn reductions_take_every_entry_once() {
        for n in [0, 1, 15, 16, 17, 40] {
            let x: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            assert_eq!(sum(n, |i| x[i]), (n * (n + 1) / 2) as f32);
            assert_eq!(highest(&x), if n == 0 { f32::MIN } else { n as f32 });
        }
    }
}
