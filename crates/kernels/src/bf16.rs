//! Matrix products whose factors are rounded to bf16, with sums in f32.
//!
//! Processors with AVX512-BF16 multiply two pairs of bf16 per lane at once; on AMD (Zen 4 and later) that doubles the speed of f32, on Intel without AMX it does not.
//! Both factors are rounded while they are packed into panels, so nothing is stored in bf16 in between.

use std::cell::RefCell;

use crate::gemm::{Matrix, MatrixMut, Put};

/// Whether [`multiply`] can run here.
#[must_use]
pub fn is_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Whether [`multiply`] is known to be faster than f32 here: available, and the processor is AMD's.
#[must_use]
pub fn is_faster() -> bool {
    is_available() && is_amd()
}

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx]
        .map(u32::to_le_bytes)
        .concat()
        == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_amd() -> bool {
    false
}

/// Rows of the output that are summed in registers at one time, and lanes of a packed panel of `a`.
const ROWS: usize = 14;
const A_LANES: usize = 16;
/// Columns of the output that are summed in registers at one time.
const COLS: usize = 32;
/// Terms of a sum between two visits to the output; a panel of `b` then takes half of a 32 KB cache.
const DEPTH: usize = 256;
/// Columns of `b` and rows of `a` that are packed at one time.
const WIDE: usize = 32 * COLS;
const HIGH: usize = 16 * ROWS;

thread_local! {
    /// Packed panels of `a` and of `b`, each entry a pair of bf16.
    static PANELS: RefCell<(Vec<u32>, Vec<u32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// `c = scale * a b` or `c += scale * a b`, the entries of `a` and `b` rounded to bf16, on all threads of rayon's current pool.
///
/// Each entry is summed in the same order whatever the number of threads.
///
/// # Panics
/// If the shapes do not fit together, or the processor lacks the instructions ([`is_available`]).
pub fn multiply(c: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, scale: f32, put: Put) {
    assert!(is_available(), "the caller asked `is_available` first");
    assert_eq!(
        (c.rows, c.cols, a.cols),
        (a.rows, b.cols, b.rows),
        "shapes of a product"
    );
    // A task takes whole register blocks of rows or of columns, whichever there are more of.
    let n_tasks = rayon::current_num_threads();
    let by_rows = c.rows >= c.cols;
    let (total, unit) = if by_rows {
        (c.rows, ROWS)
    } else {
        (c.cols, COLS)
    };
    let share = total.div_ceil(n_tasks).next_multiple_of(unit);
    let out = Out {
        first: c.entries.as_mut_ptr(),
        step: c.row_step,
    };
    rayon::scope(|scope| {
        for start in (0..total).step_by(share.max(1)) {
            let end = total.min(start + share);
            let (rows, cols) = if by_rows {
                (start..end, 0..c.cols)
            } else {
                (0..c.rows, start..end)
            };
            scope.spawn(move |_| {
                // SAFETY: the features are there (asserted above), the ranges lie within the matrices, which lie within their slices, and the tasks' ranges do not overlap.
                #[cfg(target_arch = "x86_64")]
                unsafe {
                    x86::multiply_part(out, a, b, scale, put, rows, cols);
                }
                #[cfg(not(target_arch = "x86_64"))]
                let _ = (out, a, b, scale, put, rows, cols);
            });
        }
    });
}

/// Where a task writes.
#[derive(Clone, Copy)]
struct Out {
    first: *mut f32,
    step: usize,
}

// SAFETY: tasks write to disjoint blocks, as `multiply` cuts them.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

/// `x` rounded to the nearest bf16, ties to even, as f32.
#[must_use]
pub fn round(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    f32::from_bits(if x.is_nan() { bits } else { rounded })
}

/// The bits of `x` rounded to the nearest bf16.
#[must_use]
pub fn narrow(x: f32) -> u16 {
    (round(x).to_bits() >> 16) as u16
}

/// The f32 of these bits of a bf16.
#[must_use]
pub fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd,
        _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps,
        _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps,
        _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_shuffle_f32x4, _mm512_storeu_si512, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
        _mm512_unpacklo_pd, _mm512_unpacklo_ps,
    };
    use std::ops::Range;

    use super::{A_LANES, COLS, DEPTH, HIGH, Out, PANELS, ROWS, WIDE};
    use crate::gemm::{Matrix, Put};

    /// One task's block of the product.
    ///
    /// # Safety
    /// The processor has the features; the ranges lie within the matrices, and no other task writes to this block.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn multiply_part(
        out: Out,
        a: Matrix<'_>,
        b: Matrix<'_>,
        scale: f32,
        put: Put,
        rows: Range<usize>,
        cols: Range<usize>,
    ) {
        PANELS.with_borrow_mut(|(a_panels, b_panels)| {
            a_panels.resize(HIGH / ROWS * A_LANES * DEPTH / 2, 0);
            b_panels.resize(WIDE * DEPTH / 2, 0);
            // An empty sum is still a sum.
            let depth_total = a.cols;
            let n_pieces = depth_total.div_ceil(DEPTH).max(1);
            let depth_share = depth_total.div_ceil(n_pieces).next_multiple_of(2);
            for piece in 0..n_pieces {
                let k = piece * depth_share;
                let depth = depth_share.min(depth_total - k);
                let pairs = depth.div_ceil(2);
                let adds = put == Put::Onto || piece > 0;
                for left in cols.clone().step_by(WIDE) {
                    let wide = WIDE.min(cols.end - left);
                    for (panel, col) in (0..wide).step_by(16).enumerate() {
                        // Two groups of 16 lanes make a panel of 32 columns.
                        let place = panel / 2 * COLS * pairs + panel % 2 * 16;
                        let source = Source {
                            first: b.first(k, left + col),
                            lane_step: b.col_step,
                            depth_step: b.row_step,
                            lanes: 16.min(wide - col),
                            depth,
                        };
                        // SAFETY: the source lies within `b`; the panels were sized for it.
                        unsafe { pack(source, &mut b_panels[place..], COLS) };
                    }
                    // Where the last panel is only half filled, its other half is multiplied but never stored.
                    for top in rows.clone().step_by(HIGH) {
                        let high = HIGH.min(rows.end - top);
                        for (panel, row) in (0..high).step_by(ROWS).enumerate() {
                            let source = Source {
                                first: a.first(top + row, k),
                                lane_step: a.row_step,
                                depth_step: a.col_step,
                                lanes: ROWS.min(high - row),
                                depth,
                            };
                            let place = panel * A_LANES * pairs;
                            // SAFETY: the source lies within `a`; the panels were sized for it.
                            unsafe { pack(source, &mut a_panels[place..], A_LANES) };
                        }
                        for (b_panel, col) in (0..wide).step_by(COLS).enumerate() {
                            for (a_panel, row) in (0..high).step_by(ROWS).enumerate() {
                                let place = (top + row) * out.step + left + col;
                                let block = Block {
                                    // SAFETY: within the output, as the ranges are.
                                    first: unsafe { out.first.add(place) },
                                    step: out.step,
                                    rows: ROWS.min(high - row),
                                    cols: COLS.min(wide - col),
                                    scale,
                                    adds,
                                };
                                let a = &a_panels[a_panel * A_LANES * pairs..];
                                let b = &b_panels[b_panel * COLS * pairs..];
                                // SAFETY: the panels hold `pairs` rows each; the block is this task's.
                                unsafe { accumulate(pairs, a, b, block) };
                            }
                        }
                    }
                }
            }
        });
    }

    /// Up to 16 lanes (rows of `a` or columns of `b`) of some depth, to be packed.
    struct Source {
        first: *const f32,
        lane_step: usize,
        depth_step: usize,
        lanes: usize,
        depth: usize,
    }

    fn mask(n: usize) -> u16 {
        if n >= 16 { u16::MAX } else { (1 << n) - 1 }
    }

    /// Rounds and packs: row `p` of `panel` holds, lane by lane, the pair at depths `2 p` and `2 p + 1`; what lacks is zero.
    ///
    /// # Safety
    /// The source is readable, `panel` holds the pairs.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn pack(source: Source, panel: &mut [u32], panel_step: usize) {
        let Source {
            first,
            lane_step,
            depth_step,
            lanes,
            depth,
        } = source;
        let pairs = depth.div_ceil(2);
        assert!(
            pairs == 0 || (pairs - 1) * panel_step + 16 <= panel.len(),
            "room in the panel"
        );
        let panel = panel.as_mut_ptr();
        // SAFETY: reads are masked to the source's lanes and depth; writes stay within the panel, as asserted.
        unsafe {
            if depth_step == 1 {
                for k in (0..depth).step_by(32) {
                    let left = depth - k;
                    let (low, high) = (mask(left), mask(left.saturating_sub(16)));
                    let mut lines = [_mm512_setzero_ps(); 16];
                    for (lane, line) in lines.iter_mut().enumerate().take(lanes) {
                        let at = first.add(lane * lane_step + k);
                        let even = _mm512_maskz_loadu_ps(low, at);
                        let odd = _mm512_maskz_loadu_ps(high, at.wrapping_add(16));
                        let pair: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(odd, even));
                        *line = _mm512_castsi512_ps(pair);
                    }
                    transpose(&mut lines);
                    for (i, line) in lines.iter().enumerate().take(left.div_ceil(2)) {
                        let at = panel.add((k / 2 + i) * panel_step);
                        _mm512_storeu_si512(at.cast(), _mm512_castps_si512(*line));
                    }
                }
            } else {
                assert_eq!(lane_step, 1, "rows or columns are contiguous");
                // Entry 2 i is entry i of the lower half, entry 2 i + 1 that of the upper.
                let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as u16);
                let order = _mm512_loadu_si512(order.as_ptr().cast());
                let lanes = mask(lanes);
                for pair in 0..pairs {
                    let at = first.add(2 * pair * depth_step);
                    let even = _mm512_maskz_loadu_ps(lanes, at);
                    let odd = if 2 * pair + 1 < depth {
                        _mm512_maskz_loadu_ps(lanes, at.add(depth_step))
                    } else {
                        _mm512_setzero_ps()
                    };
                    let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(odd, even));
                    let both = _mm512_permutexvar_epi16(order, both);
                    _mm512_storeu_si512(panel.add(pair * panel_step).cast(), both);
                }
            }
        }
    }

    /// Transposes 16 lines of 16 entries.
    #[target_feature(enable = "avx512f")]
    fn transpose(lines: &mut [__m512; 16]) {
        let (wide, narrow) = (_mm512_castps_pd, _mm512_castpd_ps);
        let mut turned = *lines;
        for i in 0..8 {
            turned[2 * i] = _mm512_unpacklo_ps(lines[2 * i], lines[2 * i + 1]);
            turned[2 * i + 1] = _mm512_unpackhi_ps(lines[2 * i], lines[2 * i + 1]);
        }
        for i in (0..16).step_by(4) {
            let [a, b, c, d] = [0, 1, 2, 3].map(|j| turned[i + j]);
            lines[i] = narrow(_mm512_unpacklo_pd(wide(a), wide(c)));
            lines[i + 1] = narrow(_mm512_unpackhi_pd(wide(a), wide(c)));
            lines[i + 2] = narrow(_mm512_unpacklo_pd(wide(b), wide(d)));
            lines[i + 3] = narrow(_mm512_unpackhi_pd(wide(b), wide(d)));
        }
        for i in 0..4 {
            turned[i] = _mm512_shuffle_f32x4::<0x88>(lines[i], lines[i + 4]);
            turned[i + 4] = _mm512_shuffle_f32x4::<0xdd>(lines[i], lines[i + 4]);
            turned[i + 8] = _mm512_shuffle_f32x4::<0x88>(lines[i + 8], lines[i + 12]);
            turned[i + 12] = _mm512_shuffle_f32x4::<0xdd>(lines[i + 8], lines[i + 12]);
        }
        for i in 0..4 {
            lines[i] = _mm512_shuffle_f32x4::<0x88>(turned[i], turned[i + 8]);
            lines[i + 8] = _mm512_shuffle_f32x4::<0xdd>(turned[i], turned[i + 8]);
            lines[i + 4] = _mm512_shuffle_f32x4::<0x88>(turned[i + 4], turned[i + 12]);
            lines[i + 12] = _mm512_shuffle_f32x4::<0xdd>(turned[i + 4], turned[i + 12]);
        }
    }

    /// A block of the output, up to `ROWS` by `COLS`.
    struct Block {
        first: *mut f32,
        step: usize,
        rows: usize,
        cols: usize,
        scale: f32,
        adds: bool,
    }

    /// Multiplies a panel of `a` by a panel of `b` and puts the block down.
    ///
    /// # Safety
    /// The block is writable and no other thread's.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn accumulate(pairs: usize, a: &[u32], b: &[u32], block: Block) {
        assert!(
            a.len() >= pairs * A_LANES && b.len() >= pairs * COLS,
            "whole panels"
        );
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
        // SAFETY: the panels hold `pairs` lines each, as asserted; the block is writable, and masks keep to its columns.
        unsafe {
            for _ in 0..pairs {
                let left: __m512bh = std::mem::transmute(_mm512_loadu_si512(b.cast()));
                let right: __m512bh = std::mem::transmute(_mm512_loadu_si512(b.add(16).cast()));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let pair = _mm512_set1_epi32(a.add(row).read().cast_signed());
                    let pair: __m512bh = std::mem::transmute(pair);
                    sums[0] = _mm512_dpbf16_ps(sums[0], pair, left);
                    sums[1] = _mm512_dpbf16_ps(sums[1], pair, right);
                }
                a = a.add(A_LANES);
                b = b.add(COLS);
            }
            let masks = [mask(block.cols), mask(block.cols.saturating_sub(16))];
            let scale = _mm512_set1_ps(block.scale);
            for (row, sums) in sums.iter().enumerate().take(block.rows) {
                let line = block.first.add(row * block.step);
                for (half, &mask) in masks.iter().enumerate() {
                    let at = line.wrapping_add(16 * half);
                    let mut sum = _mm512_mul_ps(sums[half], scale);
                    if block.adds {
                        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, at));
                    }
                    _mm512_mask_storeu_ps(at, mask, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::multiply_plain;
    use crate::testing::{assert_close, values};

    #[test]
    fn products_agree_with_the_plain_reference_of_rounded_factors() {
        if !is_available() {
            return;
        }
        let shapes = [
            [1, 1, 1],
            [3, 5, 7],
            [17, 64, 33],
            [65, 71, 129],
            [64, 0, 3],
            [200, 600, 150],
            [40, 33, 1100],
        ];
        for [m, k, n] in shapes {
            let rounded =
                |n, seed| -> Vec<f32> { values(n, seed).into_iter().map(round).collect() };
            let (a, b) = (rounded(m * k, 1), rounded(k * n, 2));
            for layout in 0..4 {
                for put in [Put::Over, Put::Onto] {
                    let a = if layout & 1 == 0 {
                        Matrix::new(&a, m, k)
                    } else {
                        Matrix::new(&a, k, m).t()
                    };
                    let b = if layout & 2 == 0 {
                        Matrix::new(&b, k, n)
                    } else {
                        Matrix::new(&b, n, k).t()
                    };
                    let step = n + 3;
                    let (mut got, mut expected) = (values(m * step, 3), values(m * step, 3));
                    multiply(MatrixMut::with_step(&mut got, m, n, step), a, b, 0.5, put);
                    multiply_plain(
                        MatrixMut::with_step(&mut expected, m, n, step),
                        a,
                        b,
                        0.5,
                        put,
                    );
                    // Products of bf16 are exact in f32; only the order of up to 600 terms differs.
                    assert_close(&got, &expected, 5e-6);
                }
            }
        }
    }

    #[test]
    fn factors_are_rounded_to_the_nearest() {
        if !is_available() {
            return;
        }
        let (a, b) = (values(64 * 64, 1), values(64 * 64, 2));
        let (mut got, mut expected) = (vec![0.0; 64 * 64], vec![0.0; 64 * 64]);
        multiply(
            MatrixMut::new(&mut got, 64, 64),
            Matrix::new(&a, 64, 64),
            Matrix::new(&b, 64, 64),
            1.0,
            Put::Over,
        );
        let [a, b] = [a, b].map(|x| x.into_iter().map(round).collect::<Vec<f32>>());
        multiply_plain(
            MatrixMut::new(&mut expected, 64, 64),
            Matrix::new(&a, 64, 64),
            Matrix::new(&b, 64, 64),
            1.0,
            Put::Over,
        );
        assert_close(&got, &expected, 2e-6);
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        if !is_available() {
            return;
        }
        let (a, b) = (values(300 * 700, 1), values(700 * 500, 2));
        let product = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads can be made").install(|| {
                let mut c = vec![0.0; 300 * 500];
                let (a, b) = (Matrix::new(&a, 300, 700), Matrix::new(&b, 700, 500));
                multiply(MatrixMut::new(&mut c, 300, 500), a, b, 1.0, Put::Over);
                c
            })
        };
        assert!(product(1) == product(2) && product(1) == product(3));
    }
}
