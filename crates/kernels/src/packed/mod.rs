//! The packed matrix product: every product with a weight, in f32 or with factors rounded to bf16.
//!
//! The left side is packed once ([`Left`]) and may be multiplied by several right sides.
//! Of a right side one panel of columns is packed at a time, just before it is used, from wherever it rests: a frozen weight is widened there and never exists in f32 as a whole.
//! Each entry is one sum in the order of the depth, whatever the number of threads or of rows.

mod pack;
mod vectors;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cell::RefCell;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::bf16;
use crate::frozen::Frozen;
use crate::gemm::{Matrix, MatrixMut, Precision, Put, Threads};
use crate::level::{self, Level};
use crate::lines::Line;
use pack::{Source, pack_right};
use vectors::Vectors;

/// A right side, `[depth, cols]`.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// A matrix.
    Matrix(Matrix<'a>),
    /// The transpose of a frozen weight: depth is `in`, cols are `out`.
    Transposed(&'a Frozen),
    /// A frozen weight: depth is `out`, cols are `in`.
    Frozen(&'a Frozen),
}

impl Right<'_> {
    fn shape(&self) -> [usize; 2] {
        match self {
            Self::Matrix(matrix) => [matrix.rows, matrix.cols],
            Self::Transposed(frozen) => {
                let [size_out, size_in] = frozen.shape();
                [size_in, size_out]
            }
            Self::Frozen(frozen) => frozen.shape(),
        }
    }
}

/// What an engine is made of: how it packs, and how it multiplies a panel by a panel.
///
/// A panel is a number of lines; a line holds a value, or a pair of values (bf16), of each lane.
trait Engine: Copy + Send + Sync {
    /// Rows of the output that are summed in registers at one time, and lanes of a panel of the left.
    const ROWS: usize;
    /// Values from line to line in a panel of the left.
    const LEFT_STEP: usize;
    /// Columns of the output that are summed in registers at one time, and lanes of a panel of the right.
    const COLS: usize;
    /// Lanes that are packed at one time.
    const LANES: usize;
    /// Depth of a line.
    const DEPTH: usize;

    /// Writes a source's lines, `step` values apart; at most [`Self::LANES`] lanes.
    ///
    /// # Safety
    /// The source is readable, the panel has room for the lines, and the processor has the instructions.
    unsafe fn pack(self, source: Source, panel: *mut f32, step: usize);

    /// As [`Self::pack`], of the bits of bf16; only where lines hold pairs.
    ///
    /// # Safety
    /// As for [`Self::pack`].
    unsafe fn pack_narrow(self, source: Source<u16>, panel: *mut f32, step: usize) {
        let _ = (source, panel, step);
        unreachable!("lines of pairs only");
    }

    /// Multiplies a panel by a panel and puts the block down.
    ///
    /// # Safety
    /// Both panels hold `lines`, the block is writable and no other thread's, and the processor has the instructions.
    unsafe fn multiply(self, lines: usize, left: *const f32, right: *const f32, block: Block);
}

/// A block of the output.
#[derive(Clone, Copy)]
struct Block {
    first: *mut f32,
    step: usize,
    rows: usize,
    cols: usize,
    scale: f32,
    put: Put,
}

/// Which engine computes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Bf16,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    Vectors(Arch),
}

impl Kind {
    fn of(precision: Precision) -> Self {
        let _ = precision;
        #[cfg(target_arch = "x86_64")]
        {
            if precision == Precision::Bf16 && bf16::is_available() {
                return Self::Bf16;
            }
            if level::level() == Level::Avx512 {
                return Self::Avx512;
            }
        }
        Self::Vectors(level::arch())
    }

    /// Does a piece of work with the engine, compiled for its instructions.
    fn run<W: Work>(self, work: W) {
        match self {
            // SAFETY: the engine was chosen because the processor has its instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => unsafe { x86::run_bf16(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::run_f32(work) },
            Self::Vectors(arch) => arch.dispatch(WithVectors(work)),
        }
    }

    /// `[ROWS, LEFT_STEP, COLS, DEPTH]`
    fn shape(self) -> [usize; 4] {
        struct Ask<'a>(&'a mut [usize; 4]);
        impl Work for Ask<'_> {
            #[inline(always)]
            fn run<E: Engine>(self, _: E) {
                *self.0 = [E::ROWS, E::LEFT_STEP, E::COLS, E::DEPTH];
            }
        }
        let mut shape = [0; 4];
        self.run(Ask(&mut shape));
        shape
    }
}

/// Something to do with an engine.
trait Work {
    fn run<E: Engine>(self, engine: E);
}

struct WithVectors<W>(W);

impl<W: Work> WithSimd for WithVectors<W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            8 => self.0.run(Vectors::<S, 2, 6>(simd)),
            4 => self.0.run(Vectors::<S, 4, 6>(simd)),
            lanes if lanes > 8 => self.0.run(Vectors::<S, 2, 12>(simd)),
            _ => self.0.run(Vectors::<S, 4, 4>(simd)),
        }
    }
}

/// A packed left side: matrices with the same rows, side by side along the depth.
#[derive(Debug)]
pub struct Left {
    kind: Kind,
    rows: usize,
    /// Rows of a panel; the last may have fewer.
    height: usize,
    /// Where each matrix begins and the last ends, in lines.
    lines: Vec<usize>,
    depths: Vec<usize>,
    panels: Vec<Line>,
    threads: Threads,
}

thread_local! {
    /// Memory of left sides that are done.
    static SPARE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
    /// A panel of a right side, and a piece of it before it is packed.
    static PANEL: RefCell<(Vec<Line>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Left sides whose memory is kept.
const SPARES: usize = 2;

/// Lines of panels that are multiplied before the output is visited, and panels that are packed at one time: together half of a level 2 cache of 1 MB.
const LINES: usize = 1024;
const TOGETHER: usize = 4;

impl Drop for Left {
    fn drop(&mut self) {
        let panels = std::mem::take(&mut self.panels);
        // Where the thread ends, nothing is kept.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            spare.push(panels);
            if spare.len() > SPARES {
                let smallest = (0..spare.len()).min_by_key(|&i| spare[i].len());
                spare.swap_remove(smallest.expect("there are some"));
            }
        });
    }
}

impl Left {
    /// Room for matrices of these depths, `[rows, depth]` each, none of them packed yet.
    #[must_use]
    pub fn new(precision: Precision, rows: usize, depths: &[usize]) -> Self {
        Self::with_kind(Kind::of(precision), rows, depths)
    }

    fn with_kind(kind: Kind, rows: usize, depths: &[usize]) -> Self {
        let [most, step, _, depth_of_line] = kind.shape();
        // Panels of the same height rather than full ones and a low one.
        let height = rows.div_ceil(rows.div_ceil(most).max(1));
        let mut lines = vec![0];
        for depth in depths {
            let last = lines[lines.len() - 1];
            lines.push(last + depth.div_ceil(depth_of_line));
        }
        let n = rows.div_ceil(height.max(1)) * lines[depths.len()] * step;
        let spare = SPARE.with_borrow_mut(|spare| {
            let found = spare
                .iter()
                .position(|spare| spare.len() * Line::LEN >= n)?;
            Some(spare.swap_remove(found))
        });
        // Longer than it needs to be, so that it never has to be filled again.
        let panels = spare.unwrap_or_else(|| Line::zeros(n));
        Self {
            kind,
            rows,
            height,
            lines,
            depths: depths.to_vec(),
            panels,
            threads: Threads::All,
        }
    }

    /// One matrix alone, packed.
    #[must_use]
    pub fn of(precision: Precision, matrix: Matrix<'_>) -> Self {
        let mut left = Self::new(precision, matrix.rows, &[matrix.cols]);
        left.pack(0, matrix);
        left
    }

    /// How many threads pack and multiply it.
    fn n_threads(&self) -> usize {
        match self.threads {
            Threads::One => 1,
            Threads::All => rayon::current_num_threads(),
        }
    }

    /// Packs matrix number `at`.
    ///
    /// # Panics
    /// If it does not have the shape that [`Left::new`] was told.
    pub fn pack(&mut self, at: usize, matrix: Matrix<'_>) {
        assert_eq!(
            [matrix.rows, matrix.cols],
            [self.rows, self.depths[at]],
            "shape of a left side"
        );
        let [_, step, _, _] = self.kind.shape();
        let total = self.lines[self.depths.len()] * step;
        if total == 0 || self.rows == 0 || matrix.cols == 0 {
            return;
        }
        let (kind, height, first_line) = (self.kind, self.height, self.lines[at]);
        let n_heights = self.rows.div_ceil(height);
        // A few panels a task.
        let threads = self.n_threads();
        let share = if threads == 1 {
            n_heights
        } else {
            n_heights.div_ceil(4 * threads)
        };
        let panels = &mut Line::values_mut(&mut self.panels)[..n_heights * total];
        let pack = |(task, panels)| {
            kind.run(PackLeft {
                matrix,
                panels,
                total,
                first_row: task * share * height,
                height,
                first_line,
            });
        };
        if threads == 1 {
            pack((0, panels));
        } else {
            panels
                .par_chunks_mut(total * share)
                .enumerate()
                .for_each(pack);
        }
    }

    /// `c = scale * sum of left[i] rights[i]`, or `c += ..`, over the first matrices of the left.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn multiply(&self, c: MatrixMut<'_>, rights: &[Right<'_>], scale: f32, put: Put) {
        for (right, depth) in rights.iter().zip(&self.depths) {
            assert_eq!(right.shape(), [*depth, c.cols], "shape of a right side");
        }
        assert_eq!(c.rows, self.rows, "rows of a product");
        assert!(rights.len() <= self.depths.len(), "a left for each right");
        if c.rows == 0 || c.cols == 0 {
            return;
        }
        let [_, step, cols, _] = self.kind.shape();
        let threads = self.n_threads();
        let n_panels = c.cols.div_ceil(cols);
        let n_heights = c.rows.div_ceil(self.height);
        // Columns first; rows too where there are few columns.
        let together = panels_together(n_panels, threads);
        let n_tasks = n_panels.div_ceil(together);
        let n_groups = if n_tasks < threads {
            (2 * threads).div_ceil(n_tasks).min(n_heights)
        } else {
            1
        };
        let share = n_heights.div_ceil(n_groups);
        let n_groups = n_heights.div_ceil(share);
        let out = Out {
            first: c.entries.as_mut_ptr(),
            step: c.row_step,
        };
        let task = |i: usize| {
            let (first, group) = (i / n_groups * together * cols, i % n_groups);
            self.kind.run(Task {
                left: self,
                step,
                rights,
                heights: group * share..n_heights.min((group + 1) * share),
                cols: first..c.cols.min(first + together * cols),
                out,
                scale,
                put,
            });
        };
        if threads == 1 {
            (0..n_tasks * n_groups).for_each(task);
        } else {
            (0..n_tasks * n_groups).into_par_iter().for_each(task);
        }
    }
}

/// How many panels a task packs at one time: as many as share the work evenly.
fn panels_together(n_panels: usize, threads: usize) -> usize {
    let longest = |together: &usize| n_panels.div_ceil(*together).div_ceil(threads) * together;
    let all = (1..=TOGETHER).rev();
    all.min_by_key(longest).expect("some number of panels")
}

/// `c = scale * a b`, or `c += scale * a b`, on all threads of rayon's current pool.
///
/// # Panics
/// If the shapes do not fit together.
pub fn multiply(
    precision: Precision,
    c: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Right<'_>,
    scale: f32,
    put: Put,
) {
    Left::of(precision, a).multiply(c, &[b], scale, put);
}

/// As [`multiply`], of matrices, on the calling thread alone.
///
/// # Panics
/// If the shapes do not fit together.
pub(crate) fn multiply_alone(
    precision: Precision,
    c: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
    put: Put,
) {
    let mut left = Left::new(precision, a.rows, &[a.cols]);
    left.threads = Threads::One;
    left.pack(0, a);
    left.multiply(c, &[Right::Matrix(b)], scale, put);
}

/// Where tasks write.
#[derive(Clone, Copy)]
struct Out {
    first: *mut f32,
    step: usize,
}

// SAFETY: tasks write to disjoint blocks, as `Left::multiply` cuts them.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

struct PackLeft<'a> {
    matrix: Matrix<'a>,
    panels: &'a mut [f32],
    /// Values of a panel.
    total: usize,
    first_row: usize,
    height: usize,
    first_line: usize,
}

impl Work for PackLeft<'_> {
    #[inline(always)]
    fn run<E: Engine>(self, engine: E) {
        let Self {
            matrix,
            panels,
            total,
            first_row,
            height,
            first_line,
        } = self;
        assert!(
            (first_line + matrix.cols.div_ceil(E::DEPTH)) * E::LEFT_STEP <= total,
            "room for the lines"
        );
        for (panel, row) in panels
            .chunks_exact_mut(total)
            .zip((first_row..matrix.rows).step_by(height))
        {
            let source = Source {
                first: matrix.first(row, 0),
                lane_step: matrix.row_step,
                depth_step: matrix.col_step,
                lanes: height.min(matrix.rows - row),
                depth: matrix.cols,
            };
            let panel = &mut panel[first_line * E::LEFT_STEP..];
            // SAFETY: the source lies within the matrix; the panel has room for the lines, as asserted.
            unsafe { engine.pack(source, panel.as_mut_ptr(), E::LEFT_STEP) };
        }
    }
}

/// Some rows of some panels of columns.
struct Task<'a> {
    left: &'a Left,
    step: usize,
    rights: &'a [Right<'a>],
    heights: Range<usize>,
    cols: Range<usize>,
    out: Out,
    scale: f32,
    put: Put,
}

impl Work for Task<'_> {
    #[inline(always)]
    fn run<E: Engine>(self, engine: E) {
        PANEL.with_borrow_mut(|(panels, scratch)| {
            let left = self.left;
            let lines = left.lines[self.rights.len()];
            let total = left.lines[left.depths.len()] * self.step;
            let n_panels = self.cols.len().div_ceil(E::COLS);
            // An empty sum is still a sum.
            let n_pieces = lines.div_ceil(LINES).max(1);
            let piece_lines = lines.div_ceil(n_pieces);
            // Room for one panel after the other, each of a piece's lines.
            let room = piece_lines * E::COLS;
            if panels.len() * Line::LEN < room * n_panels {
                *panels = Line::zeros(room * n_panels);
            }
            let panels = Line::values_mut(panels);
            let left_panels = Line::values(&left.panels);
            for piece in 0..n_pieces {
                let here = piece * piece_lines..lines.min((piece + 1) * piece_lines);
                for (i, right) in self.rights.iter().enumerate() {
                    let part = left.lines[i].max(here.start)..left.lines[i + 1].min(here.end);
                    if part.is_empty() {
                        continue;
                    }
                    let first = (part.start - left.lines[i]) * E::DEPTH;
                    let end = (part.end - left.lines[i]) * E::DEPTH;
                    let depth = first..end.min(left.depths[i]);
                    let place = &mut panels[(part.start - here.start) * E::COLS..];
                    pack_right(
                        engine,
                        right,
                        depth,
                        self.cols.clone(),
                        place,
                        room,
                        scratch,
                    );
                }
                let put = if piece == 0 { self.put } else { Put::Onto };
                for height in self.heights.clone() {
                    let row = height * left.height;
                    let a = &left_panels[height * total + here.start * self.step..];
                    let a = &a[..here.len() * self.step];
                    for (panel, col) in self.cols.clone().step_by(E::COLS).enumerate() {
                        let block = Block {
                            first: self.out.first.wrapping_add(row * self.out.step + col),
                            step: self.out.step,
                            rows: left.height.min(left.rows - row),
                            cols: E::COLS.min(self.cols.end - col),
                            scale: self.scale,
                            put,
                        };
                        let b = &panels[panel * room..][..here.len() * E::COLS];
                        // SAFETY: both panels hold these lines; the block lies within the output and is this task's alone.
                        unsafe { engine.multiply(here.len(), a.as_ptr(), b.as_ptr(), block) };
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
