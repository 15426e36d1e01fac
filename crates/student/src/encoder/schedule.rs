//! Sequences over the cores: packed into tasks by length, results in the order of the sequences.

use rayon::prelude::*;

use stillhouse_core::Result;
use stillhouse_core::event::{Event, Observer, tell};

use super::transformer::{Scratch, Sequence, Transformer};

/// Tokens of one task: enough rows to reuse each panel of weights, few enough for the cache of a
/// core. Measured with `MiniLM` on two cores.
const TOKENS_A_TASK: usize = 128;
/// Tasks between two reports of progress.
const TASKS_A_REPORT: usize = 64;

/// Runs `layer` layers over all sequences, and applies `f` to the states `[tokens, hidden]` of
/// each; progress is told in `unit`.
pub(super) fn map<T: Send>(
    model: &Transformer,
    sequences: &[Sequence<'_>],
    layer: usize,
    f: impl Fn(&[f32]) -> T + Sync,
    unit: &str,
    observe: &mut Observer<'_>,
) -> Result<Vec<T>> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    // Long sequences first: the last tasks are the small ones, and both cores end together.
    order.sort_by_key(|i| std::cmp::Reverse(sequences[*i].ids.len()));
    let tasks = pack(&order, |i| sequences[i].ids.len());
    let mut results: Vec<Option<T>> = sequences.iter().map(|_| None).collect();
    let mut done = 0;
    for tasks in tasks.chunks(TASKS_A_REPORT) {
        let outputs: Vec<Vec<T>> = tasks
            .par_iter()
            .map_init(Scratch::default, |scratch, task| {
                let packed: Vec<Sequence<'_>> = task.iter().map(|i| sequences[*i]).collect();
                let mut rest = model.forward(&packed, layer, scratch);
                let mut take = |tokens: usize| {
                    let (own, others) = rest.split_at(tokens * model.hidden_size());
                    rest = others;
                    f(own)
                };
                packed.iter().map(|s| take(s.ids.len())).collect()
            })
            .collect();
        let places = tasks.iter().copied().flatten();
        for (i, output) in places.zip(outputs.into_iter().flatten()) {
            results[*i] = Some(output);
            done += 1;
        }
        let event = Event::Progress {
            unit: unit.to_owned(),
            done,
            total: sequences.len(),
        };
        tell(observe, event)?;
    }
    Ok(results
        .into_iter()
        .map(|r| r.expect("each sequence is in one task"))
        .collect())
}

/// Cuts `order` into tasks of at most [`TOKENS_A_TASK`] tokens, or of one longer sequence.
fn pack(order: &[usize], tokens: impl Fn(usize) -> usize) -> Vec<&[usize]> {
    let mut tasks = Vec::new();
    let (mut first, mut n) = (0, 0);
    for (at, i) in order.iter().enumerate() {
        if at > first && n + tokens(*i) > TOKENS_A_TASK {
            tasks.push(&order[first..at]);
            (first, n) = (at, 0);
        }
        n += tokens(*i);
    }
    if first < order.len() {
        tasks.push(&order[first..]);
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_is_in_one_task_and_long_ones_stand_alone() {
        let lengths = [300, 129, 100, 20, 8, 7, 1];
        let order: Vec<usize> = (0..lengths.len()).collect();
        let tasks = pack(&order, |i| lengths[i]);
        assert_eq!(tasks, [&[0][..], &[1], &[2, 3, 4], &[5, 6]]);
        assert!(pack(&[], |_| 1).is_empty());
    }
}
