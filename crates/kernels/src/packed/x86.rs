//! The engines in AVX-512: f32, and pairs of bf16.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm256_maskz_loadu_epi16, _mm256_setzero_si256, _mm512_add_ps,
    _mm512_castpd_ps, _mm512_castps_pd, _mm512_castps_si512, _mm512_castsi256_si512,
    _mm512_castsi512_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps,
    _mm512_inserti64x4, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_epi16, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_permutexvar_epi16,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps,
    _mm512_storeu_si512, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

use super::pack::Source;
use super::{Block, Engine, Work};
use crate::gemm::Put;

/// Rows and columns of the output that are summed in registers at one time.
const ROWS: usize = 14;
const COLS: usize = 32;
/// Lanes that are packed at one time.
const LANES: usize = 16;

/// Does the work in pairs of bf16.
///
/// # Safety
/// The processor has the features.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(super) unsafe fn run_bf16<W: Work>(work: W) {
    work.run(Bf16);
}

/// Does the work in f32.
///
/// # Safety
/// The processor has the features.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run_f32<W: Work>(work: W) {
    work.run(F32);
}

#[derive(Clone, Copy)]
pub(super) struct Bf16;

#[derive(Clone, Copy)]
pub(super) struct F32;

impl Engine for Bf16 {
    const ROWS: usize = ROWS;
    const LEFT_STEP: usize = LANES;
    const COLS: usize = COLS;
    const LANES: usize = LANES;
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn pack(self, source: Source, panel: *mut f32, step: usize) {
        // SAFETY: the caller's promise.
        unsafe { pack_pairs(source, panel, step) };
    }

    #[inline(always)]
    unsafe fn pack_narrow(self, source: Source<u16>, panel: *mut f32, step: usize) {
        // SAFETY: the caller's promise.
        unsafe { pack_narrow_pairs(source, panel, step) };
    }

    #[inline(always)]
    unsafe fn multiply(self, lines: usize, left: *const f32, right: *const f32, block: Block) {
        macro_rules! heights {
            ($($height:literal)*) => {
                match block.rows {
                    // SAFETY: the caller's promise.
                    $($height if block.cols > LANES => unsafe {
                        multiply_pairs::<$height, 2>(lines, left, right, block);
                    },
                    // SAFETY: as above.
                    $height => unsafe { multiply_pairs::<$height, 1>(lines, left, right, block) },)*
                    _ => unreachable!("a panel has at most ROWS rows"),
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }
}

impl Engine for F32 {
    const ROWS: usize = ROWS;
    const LEFT_STEP: usize = LANES;
    const COLS: usize = COLS;
    const LANES: usize = LANES;
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn pack(self, source: Source, panel: *mut f32, step: usize) {
        // SAFETY: the caller's promise.
        unsafe { pack_single(source, panel, step) };
    }

    #[inline(always)]
    unsafe fn multiply(self, lines: usize, left: *const f32, right: *const f32, block: Block) {
        macro_rules! heights {
            ($($height:literal)*) => {
                match block.rows {
                    // SAFETY: the caller's promise.
                    $($height if block.cols > LANES => unsafe {
                        multiply_single::<$height, 2>(lines, left, right, block);
                    },
                    // SAFETY: as above.
                    $height => unsafe { multiply_single::<$height, 1>(lines, left, right, block) },)*
                    _ => unreachable!("a panel has at most ROWS rows"),
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }
}

#[inline(always)]
fn mask(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

/// Rounds and packs: a line holds, lane by lane, the pair at depths `2 p` and `2 p + 1`; what lacks is zero.
///
/// # Safety
/// See [`Engine::pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_pairs(source: Source, panel: *mut f32, step: usize) {
    let Source {
        first,
        lane_step,
        depth_step,
        lanes,
        depth,
    } = source;
    // SAFETY: reads are masked to the source's lanes and depth; the panel has room for the lines.
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
                    let at = panel.add((k / 2 + i) * step);
                    _mm512_storeu_si512(at.cast(), _mm512_castps_si512(*line));
                }
            }
        } else {
            assert_eq!(lane_step, 1, "rows or columns are contiguous");
            let order = pairs_of_halves();
            let lanes = mask(lanes);
            for pair in 0..depth.div_ceil(2) {
                let at = first.add(2 * pair * depth_step);
                let even = _mm512_maskz_loadu_ps(lanes, at);
                let odd = if 2 * pair + 1 < depth {
                    _mm512_maskz_loadu_ps(lanes, at.add(depth_step))
                } else {
                    _mm512_setzero_ps()
                };
                let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(odd, even));
                let both = _mm512_permutexvar_epi16(order, both);
                _mm512_storeu_si512(panel.add(pair * step).cast(), both);
            }
        }
    }
}

/// As [`pack_pairs`], of what is rounded already.
///
/// # Safety
/// See [`Engine::pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_narrow_pairs(source: Source<u16>, panel: *mut f32, step: usize) {
    let Source {
        first,
        lane_step,
        depth_step,
        lanes,
        depth,
    } = source;
    // SAFETY: reads are masked to the source's lanes and depth; the panel has room for the lines.
    unsafe {
        if depth_step == 1 {
            for k in (0..depth).step_by(32) {
                let left = depth - k;
                let taken = u32::MAX >> 32usize.saturating_sub(left);
                let mut lines = [_mm512_setzero_ps(); 16];
                for (lane, line) in lines.iter_mut().enumerate().take(lanes) {
                    let at = first.add(lane * lane_step + k);
                    *line = _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(taken, at.cast()));
                }
                transpose(&mut lines);
                for (i, line) in lines.iter().enumerate().take(left.div_ceil(2)) {
                    let at = panel.add((k / 2 + i) * step);
                    _mm512_storeu_si512(at.cast(), _mm512_castps_si512(*line));
                }
            }
        } else {
            assert_eq!(lane_step, 1, "rows or columns are contiguous");
            let order = pairs_of_halves();
            let lanes = mask(lanes);
            for pair in 0..depth.div_ceil(2) {
                let at = first.add(2 * pair * depth_step);
                let even = _mm256_maskz_loadu_epi16(lanes, at.cast());
                let odd = if 2 * pair + 1 < depth {
                    _mm256_maskz_loadu_epi16(lanes, at.add(depth_step).cast())
                } else {
                    _mm256_setzero_si256()
                };
                let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(even), odd);
                let both = _mm512_permutexvar_epi16(order, both);
                _mm512_storeu_si512(panel.add(pair * step).cast(), both);
            }
        }
    }
}

/// Entry 2 i is entry i of the lower half, entry 2 i + 1 that of the upper.
#[inline]
#[target_feature(enable = "avx512f")]
fn pairs_of_halves() -> __m512i {
    let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as u16);
    // SAFETY: 64 bytes.
    unsafe { _mm512_loadu_si512(order.as_ptr().cast()) }
}

/// Packs as it is: a line holds, lane by lane, the value at one depth; what lacks is zero.
///
/// # Safety
/// See [`Engine::pack`].
#[target_feature(enable = "avx512f")]
unsafe fn pack_single(source: Source, panel: *mut f32, step: usize) {
    let Source {
        first,
        lane_step,
        depth_step,
        lanes,
        depth,
    } = source;
    // SAFETY: reads are masked to the source's lanes and depth; the panel has room for the lines.
    unsafe {
        if depth_step == 1 {
            for k in (0..depth).step_by(16) {
                let left = mask(depth - k);
                let mut lines = [_mm512_setzero_ps(); 16];
                for (lane, line) in lines.iter_mut().enumerate().take(lanes) {
                    *line = _mm512_maskz_loadu_ps(left, first.add(lane * lane_step + k));
                }
                transpose(&mut lines);
                for (i, line) in lines.iter().enumerate().take(depth - k) {
                    _mm512_storeu_ps(panel.add((k + i) * step), *line);
                }
            }
        } else {
            assert_eq!(lane_step, 1, "rows or columns are contiguous");
            let lanes = mask(lanes);
            for k in 0..depth {
                let line = _mm512_maskz_loadu_ps(lanes, first.add(k * depth_step));
                _mm512_storeu_ps(panel.add(k * step), line);
            }
        }
    }
}

/// Transposes 16 lines of 16 entries.
#[inline]
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

/// Puts sums `[R][V]` down; written out where they are, so that they never leave the registers.
macro_rules! put_down {
    ($sums:ident, $block:ident, $rows:ident, $vectors:ident) => {{
        let masks: [u16; $vectors] =
            std::array::from_fn(|v| mask($block.cols.saturating_sub(LANES * v)));
        let scale = _mm512_set1_ps($block.scale);
        let at = |row: usize, v: usize| $block.first.wrapping_add(row * $block.step + LANES * v);
        if $block.put == Put::Onto {
            for row in 0..$rows {
                for v in 0..$vectors {
                    let before = _mm512_maskz_loadu_ps(masks[v], at(row, v));
                    let sum = _mm512_add_ps(_mm512_mul_ps($sums[row][v], scale), before);
                    _mm512_mask_storeu_ps(at(row, v), masks[v], sum);
                }
            }
        } else {
            for row in 0..$rows {
                for v in 0..$vectors {
                    let sum = _mm512_mul_ps($sums[row][v], scale);
                    _mm512_mask_storeu_ps(at(row, v), masks[v], sum);
                }
            }
        }
    }};
}

/// # Safety
/// See [`Engine::multiply`].
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_pairs<const R: usize, const V: usize>(
    lines: usize,
    mut left: *const f32,
    mut right: *const f32,
    block: Block,
) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: both panels hold `lines`; the block is writable, and masks keep to its columns.
    unsafe {
        for _ in 0..lines {
            let right_values: [__m512bh; V] = std::array::from_fn(|v| {
                std::mem::transmute(_mm512_loadu_si512(right.add(LANES * v).cast()))
            });
            for (row, sums) in sums.iter_mut().enumerate() {
                let pair = _mm512_set1_epi32(left.add(row).cast::<i32>().read());
                let pair: __m512bh = std::mem::transmute(pair);
                for (sum, right) in sums.iter_mut().zip(right_values) {
                    *sum = _mm512_dpbf16_ps(*sum, pair, right);
                }
            }
            left = left.add(LANES);
            right = right.add(COLS);
        }
        put_down!(sums, block, R, V);
    }
}

/// # Safety
/// See [`Engine::multiply`].
#[target_feature(enable = "avx512f")]
unsafe fn multiply_single<const R: usize, const V: usize>(
    lines: usize,
    mut left: *const f32,
    mut right: *const f32,
    block: Block,
) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: both panels hold `lines`; the block is writable, and masks keep to its columns.
    unsafe {
        for _ in 0..lines {
            let right_values: [__m512; V] =
                std::array::from_fn(|v| _mm512_loadu_ps(right.add(LANES * v)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_ps(left.add(row).read());
                for (sum, right) in sums.iter_mut().zip(right_values) {
                    *sum = _mm512_fmadd_ps(value, right, *sum);
                }
            }
            left = left.add(LANES);
            right = right.add(COLS);
        }
        put_down!(sums, block, R, V);
    }
}
