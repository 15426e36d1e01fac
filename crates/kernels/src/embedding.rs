//! Rows looked up by token, and their gradient added back.

use rayon::prelude::*;

use crate::vectorised::vectorised;

/// `y[i] = weight[ids[i]]`.
///
/// # Panics
/// If an id has no row, or `y` does not hold a row per id.
pub fn gather(weight: &[f32], size: usize, ids: &[u32], y: &mut [f32]) {
    assert_eq!(y.len(), ids.len() * size, "a row per id");
    y.par_chunks_mut(size)
        .zip(ids)
        .with_min_len(64)
        .for_each(|(y, &id)| {
            let first = id as usize * size;
            y.copy_from_slice(&weight[first..first + size]);
        });
}

/// `d_weight[ids[i]] += grad[i]`, in the order of the ids.
///
/// # Panics
/// If an id has no row, or `grad` does not hold a row per id.
pub fn scatter_add(grad: &[f32], size: usize, ids: &[u32], d_weight: &mut [f32]) {
    assert_eq!(grad.len(), ids.len() * size, "a row per id");
    add_rows(grad, size, ids, d_weight);
}

vectorised! {
    fn add_rows(grad: &[f32], size: usize, ids: &[u32], d_weight: &mut [f32]) {
        for (grad, &id) in grad.chunks_exact(size).zip(ids) {
            let first = id as usize * size;
            for (sum, g) in d_weight[first..first + size].iter_mut().zip(grad) {
                *sum += g;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_and_gradients_go_back_where_they_came_from() {
        let mut y = [0.0; 6];
        gather(&[1.0, 2.0, 3.0, 4.0], 2, &[1, 0, 1], &mut y);
        assert_eq!(y, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        let mut d_weight = [0.0; 4];
        scatter_add(&y, 2, &[1, 0, 1], &mut d_weight);
        assert_eq!(d_weight, [1.0, 2.0, 6.0, 8.0]);
    }
}
