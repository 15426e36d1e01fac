//! Ranks, with ties at their mean.

/// Ranks from 1, and the sizes of the groups of equal values.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranks {
    /// The rank of each value, in the order of the values.
    pub ranks: Vec<f64>,
    /// How many values share each rank, from the lowest.
    pub groups: Vec<usize>,
}

/// Ranks of finite values.
pub fn ranks(values: &[f64]) -> Ranks {
    let groups = groups(values);
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for group in &groups {
        let rank = before as f64 + (group.len() + 1) as f64 / 2.0;
        for at in group {
            ranks[*at] = rank;
        }
        before += group.len();
    }
    Ranks {
        ranks,
        groups: groups.iter().map(Vec::len).collect(),
    }
}

/// Places of equal values, from the lowest value.
pub fn groups(values: &[f64]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    // 0 and -0 are one value, and neighbours in this order.
    let groups = order.chunk_by(|a, b| values[*a] - values[*b] == 0.0);
    groups.map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_the_mean_rank() {
        let found = ranks(&[3.0, 1.0, 3.0, 0.0, -0.0]);
        assert_eq!(found.ranks, [4.5, 3.0, 4.5, 1.5, 1.5]);
        assert_eq!(found.groups, [2, 1, 2]);
    }
}
