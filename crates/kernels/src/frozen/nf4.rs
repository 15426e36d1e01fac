//! Codes of four bits whose values are the quantiles of a normal distribution (`QLoRA`, Dettmers et al. 2023, appendix E), as bitsandbytes keeps them.

use super::dynamic;

/// Entries that share a size: the largest of their absolute values.
pub const BLOCK: usize = 64;

/// What the codes stand for, in parts of the block's size.
#[expect(clippy::excessive_precision, reason = "as published")]
pub(super) const CODES: [f32; 16] = [
    -1.0,
    -0.696_192_800_998_687_7,
    -0.525_073_051_452_636_7,
    -0.394_917_488_098_144_53,
    -0.284_441_381_692_886_35,
    -0.184_773_430_228_233_34,
    -0.091_050_036_251_544_95,
    0.0,
    0.079_580_299_556_255_34,
    0.160_930_201_411_247_25,
    0.246_112_301_945_686_34,
    0.337_915_241_718_292_24,
    0.440_709_829_330_444_34,
    0.562_617_003_917_694_1,
    0.722_956_836_223_602_3,
    1.0,
];

/// Below this a block counts as having this size.
const SMALLEST: f32 = 1e-38;

/// A weight in 4-bit codes.
#[derive(Clone, Debug)]
pub(super) struct Nf4 {
    /// Two a byte, the first in the high half.
    pub(super) codes: Vec<u8>,
    pub(super) sizes: Sizes,
}

/// The sizes of the blocks.
#[derive(Clone, Debug)]
pub(super) enum Sizes {
    Plain(Vec<f32>),
    /// Their differences to `offset` in 8-bit codes, in blocks of [`dynamic::BLOCK`] with sizes of their own.
    Double {
        codes: Vec<u8>,
        absmax: Vec<f32>,
        offset: f32,
    },
}

impl Nf4 {
    /// Takes the next block; only the last may be less than whole.
    pub(super) fn push(&mut self, block: &[f32]) {
        let Sizes::Plain(sizes) = &mut self.sizes else {
            unreachable!("sizes are quantised when all are there")
        };
        let highest = block.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let is_whole = block.len() == BLOCK;
        // bitsandbytes multiplies whole blocks by the inverse, and divides the last part.
        let inverse = highest.max(SMALLEST).recip();
        let code = |w: f32| {
            if is_whole {
                code(w * inverse)
            } else {
                code(w / highest.max(SMALLEST))
            }
        };
        for pair in block.chunks(2) {
            let second = pair.get(1).map_or(code(0.0), |w| code(*w));
            self.codes.push(code(pair[0]) << 4 | second);
        }
        sizes.push(if is_whole {
            highest
        } else {
            highest.max(SMALLEST)
        });
    }
}

/// The number of midpoints between codes that lie below `x`.
#[inline(always)]
fn code(x: f32) -> u8 {
    let is_below = |pair: &[f32]| u8::from((pair[0] + pair[1]) / 2.0 < x);
    CODES.windows(2).map(is_below).sum()
}

impl Sizes {
    #[inline(always)]
    pub(super) fn get(&self, block: usize) -> f32 {
        match self {
            Self::Plain(sizes) => sizes[block],
            Self::Double {
                codes,
                absmax,
                offset,
            } => {
                let value = dynamic::CODES[usize::from(codes[block])];
                value * absmax[block / dynamic::BLOCK] + offset
            }
        }
    }

    pub(super) fn is_double(&self) -> bool {
        matches!(self, Self::Double { .. })
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Plain(sizes) => 4 * sizes.len(),
            Self::Double { codes, absmax, .. } => codes.len() + 4 * absmax.len() + 4,
        }
    }

    /// Replaces the sizes by codes.
    pub(super) fn quantise(&mut self) {
        let Self::Plain(sizes) = self else { return };
        let total: f64 = sizes.iter().copied().map(f64::from).sum();
        let offset = (total / sizes.len().max(1) as f64) as f32;
        for size in sizes.iter_mut() {
            *size -= offset;
        }
        let (codes, absmax) = dynamic::quantise(sizes);
        *self = Self::Double {
            codes,
            absmax,
            offset,
        };
    }
}
