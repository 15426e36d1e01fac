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

/// Packs some columns of a right side; lanes that lack are zero or anything.
#[inline(always)]
pub(super) fn pack_right<E: Engine>(
    engine: E,
    right: &Right<'_>,
    cols: Range<usize>,
    panel: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    let [depth, n_cols] = right.shape();
    assert!(
        cols.len() <= E::COLS && cols.end <= n_cols,
        "columns of a panel"
    );
    assert!(
        panel.len() >= depth.div_ceil(E::DEPTH) * E::COLS,
        "whole panels"
    );
    if depth == 0 {
        return;
    }
    let groups = cols.clone().step_by(E::LANES).enumerate();
    for (group, col) in groups {
        let lanes = E::LANES.min(cols.end - col);
        let place = &mut panel[group * E::LANES..];
        match right {
            Right::Matrix(matrix) => {
                let source = Source {
                    first: matrix.first(0, col),
                    lane_step: matrix.col_step,
                    depth_step: matrix.row_step,
                    lanes,
                    depth,
                };
                // SAFETY: the source lies within the matrix, the panel has room as asserted.
                unsafe { engine.pack(source, place.as_mut_ptr(), E::COLS) };
            }
            Right::Transposed(frozen) => {
                pack_rows(engine, frozen, col..col + lanes, place, scratch);
            }
            Right::Frozen(_) => {}
        }
    }
    if let Right::Frozen(frozen) = right {
        pack_columns(engine, frozen, cols, panel, scratch);
    }
}

/// Rows of a frozen weight are lanes.
#[inline(always)]
fn pack_rows<E: Engine>(
    engine: E,
    frozen: &Frozen,
    rows: Range<usize>,
    panel: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    let [_, depth] = frozen.shape();
    scratch.resize(scratch.len().max(E::LANES * PIECE), 0.0);
    for first in (0..depth).step_by(PIECE) {
        let n = PIECE.min(depth - first);
        frozen.dequantise_part(rows.clone(), first..first + n, scratch, PIECE);
        let source = Source {
            first: scratch.as_ptr(),
            lane_step: PIECE,
            depth_step: 1,
            lanes: rows.len(),
            depth: n,
        };
        let place = &mut panel[first / E::DEPTH * E::COLS..];
        // SAFETY: the source lies within the scratch, the panel has room for its lines.
        unsafe { engine.pack(source, place.as_mut_ptr(), E::COLS) };
    }
}

/// Columns of a frozen weight are lanes.
#[inline(always)]
fn pack_columns<E: Engine>(
    engine: E,
    frozen: &Frozen,
    cols: Range<usize>,
    panel: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    let [depth, _] = frozen.shape();
    scratch.resize(scratch.len().max(E::COLS * PIECE), 0.0);
    for first in (0..depth).step_by(PIECE) {
        let n = PIECE.min(depth - first);
        frozen.dequantise_part(first..first + n, cols.clone(), scratch, E::COLS);
        for lane in (0..cols.len()).step_by(E::LANES) {
            let source = Source {
                first: scratch[lane..].as_ptr(),
                lane_step: 1,
                depth_step: E::COLS,
                lanes: E::LANES.min(cols.len() - lane),
                depth: n,
            };
            let place = &mut panel[first / E::DEPTH * E::COLS + lane..];
            // SAFETY: the source lies within the scratch, the panel has room for its lines.
            unsafe { engine.pack(source, place.as_mut_ptr(), E::COLS) };
        }
    }
}
