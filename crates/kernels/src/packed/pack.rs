//! Right sides become panels, from wherever they rest.

use std::ops::Range;

use super::{Engine, Right};
use crate::frozen::Frozen;

/// Some lanes (rows of a left side, columns of a right side) of some depth.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) first: *const f32,
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
        // Rows of the matrix are lines: a few of them at a time over all panels, so that what lies together is read together.
        Right::Matrix(matrix) if matrix.col_step == 1 => {
            for start in depth.clone().step_by(SHORT) {
                let n = SHORT.min(depth.end - start);
                let source = |col| Source {
                    first: matrix.first(start, col),
                    lane_step: 1,
                    depth_step: matrix.row_step,
                    lanes: 0,
                    depth: n,
                };
                let line = (start - depth.start) / E::DEPTH;
                each_group::<E>(cols.clone(), room, |place, col, lanes| {
                    let source = Source {
                        lanes,
                        ..source(col)
                    };
                    let place = &mut panels[place + line * E::COLS..];
                    // SAFETY: the source lies within the matrix, the panel has room as asserted.
                    unsafe { engine.pack(source, place.as_mut_ptr(), E::COLS) };
                });
            }
        }
        Right::Matrix(matrix) => each_group::<E>(cols, room, |place, col, lanes| {
            let source = Source {
                first: matrix.first(depth.start, col),
                lane_step: matrix.col_step,
                depth_step: matrix.row_step,
                lanes,
                depth: depth.len(),
            };
            // SAFETY: as above.
            unsafe { engine.pack(source, panels[place..].as_mut_ptr(), E::COLS) };
        }),
        Right::Transposed(frozen) => each_group::<E>(cols, room, |place, col, lanes| {
            let panel = &mut panels[place..];
            pack_rows(
                engine,
                frozen,
                depth.clone(),
                col..col + lanes,
                panel,
                scratch,
            );
        }),
        Right::Frozen(frozen) => {
            pack_columns(engine, frozen, depth, cols, panels, room, scratch);
        }
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
