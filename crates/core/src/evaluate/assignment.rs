//! The best one-to-one matching of two sides (the assignment problem), by the Hungarian method.
//!
//! Shortest augmenting paths over dual prices (Kuhn 1955, in the form of Jonker and Volgenant 1987):
//! O(n^2 m) for n rows and m columns.

/// The highest sum of `gains[row][column]` that min(rows, columns) pairs reach, where each row and
/// each column is in at most one pair, and the column of each row.
pub fn best(gains: &[Vec<f64>]) -> (f64, Vec<Option<usize>>) {
    let (n, m) = (gains.len(), gains.first().map_or(0, Vec::len));
    if n > m {
        let turned: Vec<Vec<f64>> = (0..m)
            .map(|j| gains.iter().map(|row| row[j]).collect())
            .collect();
        let (sum, rows) = best(&turned);
        let mut columns = vec![None; n];
        for (column, row) in rows.into_iter().enumerate() {
            if let Some(row) = row {
                columns[row] = Some(column);
            }
        }
        return (sum, columns);
    }
    // Row and column 0 are not in the problem: they stand for "free".
    let mut row_price = vec![0.0; n + 1];
    let mut column_price = vec![0.0; m + 1];
    let mut row_of = vec![0usize; m + 1];
    for row in 1..=n {
        augment(gains, row, &mut row_of, &mut row_price, &mut column_price);
    }
    let mut columns = vec![None; n];
    for (column, row) in row_of.into_iter().enumerate().skip(1) {
        if row > 0 {
            columns[row - 1] = Some(column - 1);
        }
    }
    let pairs = columns.iter().enumerate();
    let sum = pairs
        .filter_map(|(row, column)| Some(gains[row][(*column)?]))
        .sum();
    (sum, columns)
}

/// Gives `row` a column, moving earlier rows where that costs least; costs are minus the gains.
fn augment(
    gains: &[Vec<f64>],
    row: usize,
    row_of: &mut [usize],
    row_price: &mut [f64],
    column_price: &mut [f64],
) {
    let m = row_of.len() - 1;
    let mut least = vec![f64::INFINITY; m + 1];
    let mut from = vec![0usize; m + 1];
    let mut is_done = vec![false; m + 1];
    row_of[0] = row;
    let mut column = 0;
    while row_of[column] > 0 {
        is_done[column] = true;
        let at = row_of[column];
        let (mut step, mut next) = (f64::INFINITY, 0);
        for j in (1..=m).filter(|j| !is_done[*j]) {
            let cost = -gains[at - 1][j - 1] - row_price[at] - column_price[j];
            if cost < least[j] {
                (least[j], from[j]) = (cost, column);
            }
            if least[j] < step {
                (step, next) = (least[j], j);
            }
        }
        for j in 0..=m {
            if is_done[j] {
                row_price[row_of[j]] += step;
                column_price[j] -= step;
            } else {
                least[j] -= step;
            }
        }
        column = next;
    }
    while column > 0 {
        row_of[column] = row_of[from[column]];
        column = from[column];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every matching, one after the other.
    fn by_trying(gains: &[Vec<f64>]) -> f64 {
        fn rest(gains: &[Vec<f64>], row: usize, taken: u32, open: usize) -> f64 {
            if row == gains.len() || open == 0 {
                return if open == 0 { 0.0 } else { f64::NEG_INFINITY };
            }
            let columns = (0..gains[row].len()).filter(|j| taken & (1 << j) == 0);
            let taking = columns
                .map(|j| gains[row][j] + rest(gains, row + 1, taken | (1 << j), open - 1))
                .fold(f64::NEG_INFINITY, f64::max);
            taking.max(rest(gains, row + 1, taken, open))
        }
        rest(gains, 0, 0, gains.len().min(gains[0].len()))
    }

    #[test]
    fn a_partner_is_taken_once() {
        let gains = [vec![0.5, 0.75], vec![0.5, 0.25]];
        assert_eq!(best(&gains), (1.25, vec![Some(1), Some(0)]));
        let (sum, columns) = best(&[vec![0.5], vec![0.7], vec![0.6]]);
        assert_eq!((sum, columns), (0.7, vec![None, Some(0), None]));
        assert_eq!(best(&[]), (0.0, vec![]));
    }

    proptest! {
        #[test]
        fn no_matching_is_better(
            (n, m) in (1usize..5, 1usize..5),
            numbers in proptest::collection::vec(-1.0f64..1.0, 16),
        ) {
            let gains: Vec<Vec<f64>> = numbers.chunks(4).take(n).map(|row| row[..m].to_vec()).collect();
            let (sum, columns) = best(&gains);
            prop_assert!((sum - by_trying(&gains)).abs() < 1e-12);
            prop_assert_eq!(columns.iter().flatten().count(), n.min(m));
        }
    }
}
