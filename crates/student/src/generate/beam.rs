//! The search among beams, step for step as transformers does it.

use super::choice::highest;
use super::{EarlyStopping, Said};

/// A beginning, or a text that has ended.
#[derive(Clone, Debug)]
pub(super) struct Beam {
    /// Log-probability of its tokens; of a text that has ended, over its length to a power.
    pub(super) score: f32,
    pub(super) said: Said,
}

/// How a search is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub(super) beams: usize,
    pub(super) length_penalty: f64,
    pub(super) early_stopping: EarlyStopping,
    /// How many tokens fit.
    pub(super) most: usize,
}

/// The beginnings of one prompt's completions, and the texts that have ended.
#[derive(Debug)]
pub(super) struct Beams {
    search: Search,
    /// The likeliest first.
    pub(super) running: Vec<Beam>,
    /// The best first, at most as many as there are beams.
    pub(super) ended: Vec<Beam>,
    pub(super) is_done: bool,
}

/// A candidate for the next step: the beam that it goes on from, and the token.
pub(super) struct Next {
    pub(super) from: usize,
    pub(super) beam: Beam,
}

impl Beams {
    pub(super) fn new(search: Search, said: Said) -> Self {
        Self {
            search,
            running: vec![Beam { score: 0.0, said }],
            ended: Vec::new(),
            is_done: false,
        }
    }

    /// Goes one token on. `scores` holds, for each running beam, the log-probability of each token
    /// after the rules against repetition; `n_ends` says how many tokens end a text, and `ends`
    /// marks a text that they, a stop text or the length end.
    ///
    /// Returns the beam that each of the new running ones goes on from.
    pub(super) fn step(
        &mut self,
        scores: &[&[f32]],
        n_ends: usize,
        mut ends: impl FnMut(&mut Said, usize) -> bool,
    ) -> Vec<usize> {
        let Search { beams, most, .. } = self.search;
        // So many that enough can go on even if all of the best end.
        let n_kept = (1 + n_ends).max(2) * beams;
        let candidates = self.candidates(scores, n_kept);
        let (mut going_on, mut n_ended) = (Vec::new(), 0);
        let n_candidates = candidates.len();
        let mut length = 0;
        for (rank, mut next) in candidates.into_iter().enumerate() {
            length = next.beam.said.n_said();
            if !ends(&mut next.beam.said, most) {
                going_on.push(next);
                continue;
            }
            n_ended += 1;
            // Beyond the best they only stand by to go on.
            if rank < beams {
                next.beam.score = self.normalised(next.beam.score, length);
                self.ended.push(next.beam);
            }
        }
        self.ended.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.ended.truncate(beams);
        going_on.truncate(beams);
        let best = going_on.first().map(|next| next.beam.score);
        self.is_done = n_ended == n_candidates || !self.can_improve(best, length);
        let from = going_on.iter().map(|next| next.from).collect();
        self.running = going_on.into_iter().map(|next| next.beam).collect();
        from
    }

    fn candidates(&self, scores: &[&[f32]], n_kept: usize) -> Vec<Next> {
        let mut all: Vec<(f32, usize, u32)> = Vec::new();
        for (from, (beam, scores)) in self.running.iter().zip(scores).enumerate() {
            let tokens = highest(scores, n_kept).into_iter();
            all.extend(tokens.map(|token| (beam.score + scores[token as usize], from, token)));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        all.truncate(n_kept);
        let next = |(score, from, token): (f32, usize, u32)| {
            let mut said = self.running[from].said.clone();
            said.tokens.push(token);
            Next {
                from,
                beam: Beam { score, said },
            }
        };
        all.into_iter().map(next).collect()
    }

    fn can_improve(&self, best: Option<f32>, length: usize) -> bool {
        let Search {
            beams,
            length_penalty,
            early_stopping,
            most,
        } = self.search;
        if self.ended.len() < beams {
            return true;
        }
        let length = match early_stopping {
            EarlyStopping::Full => return false,
            EarlyStopping::Sure if length_penalty > 0.0 => most,
            _ => length,
        };
        let worst = self.ended.last().map_or(f32::MIN, |beam| beam.score);
        best.is_some_and(|best| self.normalised(best, length) > worst)
    }

    fn normalised(&self, score: f32, length: usize) -> f32 {
        score / (length as f64).powf(self.search.length_penalty) as f32
    }
}
