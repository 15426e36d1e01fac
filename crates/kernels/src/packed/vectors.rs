//! The engine in f32 vectors of any width: AVX2, NEON, and one value at a time.

use pulp::Simd;

use super::pack::Source;
use super::{Block, Engine};
use crate::gemm::Put;

/// `V` vectors by `R` rows in registers.
#[derive(Clone, Copy)]
pub(super) struct Vectors<S, const V: usize, const R: usize>(pub(super) S);

impl<S: Simd, const V: usize, const R: usize> Engine for Vectors<S, V, R> {
    const ROWS: usize = R;
    const LEFT_STEP: usize = R;
    const COLS: usize = V * S::F32_LANES;
    const LANES: usize = V * S::F32_LANES;
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn pack(self, source: Source, panel: *mut f32, step: usize) {
        let Source {
            first,
            lane_step,
            depth_step,
            lanes,
            depth,
        } = source;
        // SAFETY: the caller's promise: the source is readable, the panel has room.
        unsafe {
            // Four lanes at a time, so that reads along the depth use whole cache lines.
            for lane in (0..lanes).step_by(4) {
                let n = 4.min(lanes - lane);
                let from = first.add(lane * lane_step);
                let to = panel.add(lane);
                for k in 0..depth {
                    for i in 0..n {
                        *to.add(k * step + i) = *from.add(i * lane_step + k * depth_step);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply(self, lines: usize, left: *const f32, right: *const f32, block: Block) {
        let simd = self.0;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        // SAFETY: the caller's promise: both panels hold `lines`.
        let (left, right) = unsafe {
            (
                std::slice::from_raw_parts(left, lines * R),
                std::slice::from_raw_parts(right, lines * Self::COLS),
            )
        };
        let left = left.as_chunks::<R>().0;
        let right = S::as_simd_f32s(right).0.as_chunks::<V>().0;
        for (left, right) in left.iter().zip(right) {
            for (sums, left) in sums.iter_mut().zip(left) {
                let left = simd.splat_f32s(*left);
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = simd.mul_add_e_f32s(left, *right, *sum);
                }
            }
        }
        let scale = simd.splat_f32s(block.scale);
        let mut line = [[simd.splat_f32s(0.0); V]];
        for (row, sums) in sums.iter().enumerate().take(block.rows) {
            for (to, sum) in line[0].iter_mut().zip(sums) {
                *to = simd.mul_f32s(*sum, scale);
            }
            // SAFETY: a vector is its values.
            let values: &[f32] =
                unsafe { std::slice::from_raw_parts(line.as_ptr().cast(), Self::COLS) };
            // SAFETY: the row lies within the block, which is this thread's.
            let out = unsafe {
                std::slice::from_raw_parts_mut(block.first.add(row * block.step), block.cols)
            };
            match block.put {
                Put::Over => out.copy_from_slice(&values[..block.cols]),
                Put::Onto => {
                    for (out, value) in out.iter_mut().zip(values) {
                        *out += value;
                    }
                }
            }
        }
    }
}
