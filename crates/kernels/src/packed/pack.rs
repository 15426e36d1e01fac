//! Right sides become panels, from wherever they rest.

use std::ops::Range;

use super::{Engine, Right};
use crate::frozen::Frozen;

/// Some lanes (rows of a left side, columns of a right side) of some depth, in f32 or the bits of bf16.
#[derive(Clone, Copy)]
pub(super) struct Source<T = f32> {
    pub(super) first: *const T,
    pub(super) lane_step: usize,
    pub(super) depth_step: usize,
    pub(super) lanes: usize,
    pub(super) depth: usize,
}

/// Depth of a frozen weight that is widened at one time.
const PIECE: usize = 256;

/// Packs a rectangle of a right side, panel by panel, each `room` values after the one before; lanes that lack are zero or anything.
#[inline(always)]
pub(super) fn pack_right<E: Engine>(
    engine: E,
    right: &Right<'_>,
    depth: Range<usize>,
    cols: Range<usize>,
    panels: &mut [f32],
    room: usize,
    scratch: &mut Vec<f32>,
) {
    let [full_depth, n_cols] = right.shape();
    assert!(
        depth.end <= full_depth && cols.end <= n_cols,
        "a rectangle of the right side"
    );
    let n_panels = cols.len().div_ceil(E::COLS);
    let lines = depth.len().div_ceil(E::DEPTH);
    assert!(
        n_panels == 0 || panels.len() >= (n_panels - 1) * room + lines * E::COLS,
        "whole panels"
    );
    match right {
        Right::Matrix(matrix) => {
            let source = |depth: usize, col| Source {
                first: matrix.first(depth, col),
                lane_step: matrix.col_step,
                depth_step: matrix.row_step,
                lanes: 0,
                depth: 0,
            };
            pack_source::<E, f32>(depth, cols, panels, room, source, |source, panel| {
                // SAFETY: the source lies within the matrix, the panel has room as asserted.
                unsafe { engine.pack(source, panel, E::COLS) };
            });
        }
        Right::Transposed(frozen) | Right::Frozen(frozen) => {
            let is_transposed = matches!(right, Right::Transposed(_));
            let pairs = frozen.narrow().filter(|_| E::DEPTH == 2);
            let [_, size_in] = frozen.shape();
            match pairs {
                Some(narrow) => {
                    let source = |depth: usize, col: usize| {
                        let [lane_step, depth_step] = if is_transposed {
                            [size_in, 1]
                        } else {
                            [1, size_in]
                        };
                        let first = narrow.as_ptr();
                        Source {
                            first: first.wrapping_add(depth * depth_step + col * lane_step),
                            lane_step,
                            depth_step,
                            lanes: 0,
                            depth: 0,
                        }
                    };
                    pack_source::<E, u16>(depth, cols, panels, room, source, |source, panel| {
                        // SAFETY: the source lies within the weight, the panel has room as asserted.
                        unsafe { engine.pack_narrow(source, panel, E::COLS) };
                    });
                }
                None if is_transposed => each_group::<E>(cols, room, |place, col, lanes| {
                    let panel = &mut panels[place..];
                    let rows = col..col + lanes;
                    pack_rows(engine, frozen, depth.clone(), rows, panel, scratch);
                }),
                None => pack_columns(engine, frozen, depth, cols, panels, room, scratch),
            }
        }
    }
}

/// Packs what lies in memory as it is packed: `source` says where a depth and column stand, `pack` takes the lanes and depth of one piece.
///
/// Where columns lie together a few lines are packed at a time over all panels, so that what lies together is read together.
#[inline(always)]
fn pack_source<E: Engine, T>(
    depth: Range<usize>,
    cols: Range<usize>,
    panels: &mut [f32],
    room: usize,
    source: impl Fn(usize, usize) -> Source<T>,
    pack: impl Fn(Source<T>, *mut f32),
) {
    let short = match source(depth.start, cols.start).lane_step {
        1 => SHORT,
        _ => depth.len().max(1),
    };
    for start in depth.clone().step_by(short) {
        let n = short.min(depth.end - start);
        let line = (start - depth.start) / E::DEPTH;
        each_group::<E>(cols.clone(), room, |place, col, lanes| {
            let source = Source {
                lanes,
                depth: n,
                ..source(start, col)
            };
            pack(source, panels[place + line * E::COLS..].as_mut_ptr());
        });
    }
}

/// Depth that is packed over all panels before the next.
const SHORT: usize = 16;

/// For each group of lanes: where its first line begins, its first column and how many.
#[inline(always)]
fn each_group<E: Engine>(
    cols: Range<usize>,
    room: usize,
    mut work: impl FnMut(usize, usize, usize),
) {
    for (panel, first) in cols.clone().step_by(E::COLS).enumerate() {
        let end = cols.end.min(first + E::COLS);
        for col in (first..end).step_by(E::LANES) {
            let place = panel * room + (col - first);
            work(place, col, E::LANES.min(end - col));
        }
    }
}

/// Rows of a frozen weight are lanes.
#[inline(always)]
fn pack_rows<E: Engine>(
    engine: E,
    frozen: &Frozen,
    depth: Range<usize>,
    rows: Range<usize>,
    panel: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    scratch.resize(scratch.len().max(E::LANES * PIECE), 0.0);
    for first in depth.clone().step_by(PIECE) {
        let n = PIECE.min(depth.end - first);
        frozen.dequantise_part(rows.clone(), first..first + n, scratch, PIECE);
        let source = Source {
            first: scratch.as_ptr(),
            lane_step: PIECE,
            depth_step: 1,
            lanes: rows.len(),
            depth: n,
        };
        let place = &mut panel[(first - depth.start) / E::DEPTH * E::COLS..];
        // SAFETY: the source lies within the scratch, the panel has room for its lines.
        unsafe { engine.pack(source, place.as_mut_ptr(), E::COLS) };
    }
}

/// Columns of a frozen weight are lanes.
#[inline(always)]
fn pack_columns<E: Engine>(
    engine: E,
    frozen: &Frozen,
    depth: Range<usize>,
    cols: Range<usize>,
    panels: &mut [f32],
    room: usize,
    scratch: &mut Vec<f32>,
) {
    let step = cols.len().next_multiple_of(E::LANES);
    scratch.resize(scratch.len().max(step * SHORT), 0.0);
    for first in depth.clone().step_by(SHORT) {
        let n = SHORT.min(depth.end - first);
        frozen.dequantise_part(first..first + n, cols.clone(), scratch, step);
        let line = (first - depth.start) / E::DEPTH;
        each_group::<E>(cols.clone(), room, |place, col, lanes| {
            let source = Source {
                first: scratch[col - cols.start..].as_ptr(),
                lane_step: 1,
                depth_step: step,
                lanes,
                depth: n,
            };
            let place = &mut panels[place + line * E::COLS..];
            // SAFETY: as above.
            unsafe { engine.pack(source, place.as_mut_ptr(), E::COLS) };
        });
    }
}
