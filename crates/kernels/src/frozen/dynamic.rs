//! Codes of eight bits with a sign, an exponent of varying length and a fraction (Dettmers, 8-bit approximations, 2015), as bitsandbytes uses them for the sizes of blocks.

use std::sync::LazyLock;

/// Values that share a size.
pub(super) const BLOCK: usize = 256;

/// What the codes stand for, in ascending order.
pub(super) static CODES: LazyLock<[f32; 256]> = LazyLock::new(codes);

fn codes() -> [f32; 256] {
    let mut codes = vec![0.0, 1.0];
    for exponent in 0..7 {
        let n = 1 << exponent;
        let scale = 10f64.powi(exponent - 6) as f32;
        for i in 0..n {
            let mean = f32::midpoint(boundary(i, n), boundary(i + 1, n));
            codes.extend([scale * mean, -scale * mean]);
        }
    }
    codes.sort_by(f32::total_cmp);
    codes.try_into().expect("2 + 2 (1 + 2 + .. + 64) codes")
}

/// Point `i` of `n + 1` from 0.1 to 1, counted from the nearer end as `torch.linspace` does.
fn boundary(i: usize, n: usize) -> f32 {
    let step = 0.9 / n as f32;
    if i < n.div_ceil(2) {
        0.1 + step * i as f32
    } else {
        1.0 - step * (n - i) as f32
    }
}

/// Codes of `values`, and the size of each block.
pub(super) fn quantise(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let mut codes = Vec::with_capacity(values.len());
    let mut sizes = Vec::with_capacity(values.len().div_ceil(BLOCK));
    for block in values.chunks(BLOCK) {
        let highest = block.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let inverse = if highest > 0.0 { highest.recip() } else { 0.0 };
        codes.extend(block.iter().map(|v| code(v * inverse)));
        sizes.push(highest);
    }
    (codes, sizes)
}

/// The number of midpoints between codes that lie below `x`.
fn code(x: f32) -> u8 {
    let (mut low, mut high) = (0, 255);
    while low < high {
        let middle = usize::midpoint(low, high);
        if (CODES[middle] + CODES[middle + 1]) / 2.0 < x {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_nearest() {
        for (i, value) in CODES.iter().enumerate() {
            assert_eq!(usize::from(code(*value)), i);
        }
    }
}
