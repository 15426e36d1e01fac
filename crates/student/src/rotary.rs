//! The rotary tables of a model, and how attention takes them where long sequences have their own.

use burn::tensor::{Int, Tensor};

use crate::config::Config;
use crate::ops::{Layout, Rope};

/// The table of one kind of layer, with another for sequences longer than a number of tokens (`LongRoPE`).
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    plain: Rope,
    longer: Option<(usize, Rope)>,
}

impl Tables {
    /// One for each of the model's rotary settings.
    pub(crate) fn of(config: &Config) -> Vec<Self> {
        let tables = config.ropes.iter().map(|rope| {
            let table =
                |frequencies: &[f32]| Rope::scaled(frequencies, config.context, rope.magnitude());
            let longer = rope.long_frequencies();
            let longer = longer.filter(|(original, _)| config.context > *original);
            Self {
                plain: table(&rope.frequencies()),
                longer: longer.map(|(original, frequencies)| (original, table(&frequencies))),
            }
        });
        tables.collect()
    }

    /// The most tokens of a sequence that turns by the first table, where there are two.
    pub(crate) fn most_plain(&self) -> Option<usize> {
        self.longer.as_ref().map(|(original, _)| *original)
    }

    /// Lets `attend` work on queries, keys and values with the table that their sequences' lengths call for.
    ///
    /// `attend` is also told which of the layout's sequences it is given; where lengths call for both tables it is asked twice, so that no sequence depends on those beside it.
    pub(crate) fn attend(
        &self,
        lengths: &[usize],
        layout: &Layout,
        rows: [Tensor<2>; 3],
        mut attend: impl FnMut([Tensor<2>; 3], &Rope, &Layout, &[usize]) -> Tensor<2>,
    ) -> Tensor<2> {
        let all: Vec<usize> = (0..layout.n_sequences()).collect();
        let Some((original, longer)) = &self.longer else {
            return attend(rows, &self.plain, layout, &all);
        };
        let (long, short): (Vec<usize>, Vec<usize>) = all
            .iter()
            .partition(|&&sequence| lengths[sequence] > *original);
        if long.is_empty() {
            return attend(rows, &self.plain, layout, &all);
        }
        if short.is_empty() {
            return attend(rows, longer, layout, &all);
        }
        let device = rows[0].device();
        let select = |x: &Tensor<2>, rows: &[u32]| {
            let rows = Tensor::<1, Int>::from_data(rows, &device);
            x.clone().select(0, rows)
        };
        let (mut outputs, mut order) = (Vec::new(), Vec::new());
        for (sequences, rope) in [(&short, &self.plain), (&long, longer)] {
            let chosen = sequences.iter().flat_map(|&i| layout.sequence(i));
            let chosen: Vec<u32> = chosen.map(|row| row as u32).collect();
            let part = rows.each_ref().map(|x| select(x, &chosen));
            outputs.push(attend(part, rope, &part_of(layout, sequences), sequences));
            order.extend(chosen);
        }
        let mut back = vec![0; order.len()];
        for (at, row) in order.into_iter().enumerate() {
            back[row as usize] = at as u32;
        }
        select(&Tensor::cat(outputs, 0), &back)
    }
}

/// For each sequence the tokens of the longest one that shares its beginning.
pub(crate) fn lengths(layout: &Layout) -> Vec<usize> {
    let n = layout.n_sequences();
    let roots: Vec<usize> = (0..n).map(|i| layout.chain(i)[0]).collect();
    let length = |i: usize| -> usize {
        let chain = layout.chain(i);
        chain.into_iter().map(|i| layout.sequence(i).len()).sum()
    };
    let mut longest = vec![0; n];
    for (i, &root) in roots.iter().enumerate() {
        longest[root] = longest[root].max(length(i));
    }
    roots.into_iter().map(|root| longest[root]).collect()
}

/// Some sequences of a layout, in order, with all that they go on from.
fn part_of(layout: &Layout, sequences: &[usize]) -> Layout {
    let place = |parent: usize| {
        let found = sequences.binary_search(&parent);
        found.expect("a sequence has the length of those that it goes on from")
    };
    let part = |&i: &usize| (layout.parent(i).map(place), layout.sequence(i).len());
    Layout::tree(&sequences.iter().map(part).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::host;

    #[test]
    fn sequences_of_both_lengths_are_each_turned_as_if_alone() {
        let layout = Layout::tree(&[(None, 2), (None, 3), (Some(1), 2), (Some(1), 1), (None, 1)]);
        assert_eq!(lengths(&layout), [2, 5, 5, 5, 1]);
        let tables = Tables {
            plain: Rope::new(&[1.0], 8),
            longer: Some((4, Rope::new(&[2.0], 8))),
        };
        let rows: Vec<f32> = (0..9u8).map(f32::from).collect();
        let rows = Tensor::<1>::from_data(&rows[..], &host()).unsqueeze_dim::<2>(1);
        let mut asked = Vec::new();
        let found = tables.attend(
            &lengths(&layout),
            &layout,
            [rows.clone(), rows.clone(), rows],
            |[q, ..], rope, layout, sequences| {
                let is_long = (rope.cos()[1] - 2f32.cos()).abs() < 1e-6;
                asked.push((is_long, layout.clone(), sequences.to_vec()));
                q + f32::from(u8::from(is_long)) * 100.0
            },
        );
        let long = Layout::tree(&[(None, 3), (Some(0), 2), (Some(0), 1)]);
        let short = Layout::new(&[2, 1]);
        assert_eq!(
            asked,
            [(false, short, vec![0, 4]), (true, long, vec![1, 2, 3])]
        );
        let found = found.try_into_vec_as::<f32>().unwrap();
        let expected = [0.0, 1.0, 102.0, 103.0, 104.0, 105.0, 106.0, 107.0, 8.0];
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&expected));
    }
}
