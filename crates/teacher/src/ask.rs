//! Asks until every answer is in the ledger, or is counted as one that does not come.
//!
//! One thread decides and writes: which request goes where and when, what is claimed, what is
//! kept. The others only wait for the network. So the ledger has one writer, the clock and the
//! seed are used in one place, and no more is in memory than what is in flight.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::random::Random;

use crate::batch;
use crate::cost::{Allows, Purse, prompt_tokens};
use crate::error::{Error, Result};
use crate::http::{Came, Client, Failure, Fault};
use crate::ledger::{Claim, Kept, Ledger};
use crate::options::Kind;
use crate::rate::Bucket;
use crate::request::{Questions, Request};
use crate::wanted::{Asked, Job, Setup, missing};

/// An end point that wants to be left alone for longer than this ends the stage.
const LONGEST_PAUSE_SECONDS: f64 = 900.0;
/// How often a wish to stop is looked for, and another process's answer.
const TICK_SECONDS: f64 = 0.25;
/// So many rejected requests before any answer say that none can work.
const HOPELESS: usize = 20;

/// A job on its way.
struct Flight {
    job: Job,
    id: String,
    hash: String,
    line: usize,
    prompt_tokens: u64,
    tokens: f64,
    most: Option<f64>,
    sent_at: f64,
}

/// An end point and how it does.
struct Line {
    client: Client,
    paused_until: f64,
    broken_in_a_row: u32,
}

/// What a thread is to send, and what it brings back.
type Sent = (u64, usize, String, usize);
type Arrived = (u64, Came);

/// Asks every question for every sample that is not in the ledger.
///
/// A wish to stop, a cap or an end point that cannot be used ends it when what is in flight has
/// come back, so that nothing is paid in vain.
pub fn ask(
    questions: &dyn Questions,
    ledger: &Ledger,
    setup: &Setup<'_>,
    observe: &mut Observer<'_>,
) -> Result<Asked> {
    let options = setup.options;
    options.check()?;
    if options.kind == Kind::Batch {
        return batch::ask(questions, ledger, setup, observe);
    }
    let purse = Purse::open(options, setup.access, ledger)?;
    let (jobs, from_ledger) = missing(questions, ledger, setup)?;
    let wanted = questions.n() * options.n_samples();
    let asked = Asked {
        wanted,
        from_ledger,
        ..Asked::default()
    };
    if jobs.is_empty() {
        return Ok(asked);
    }
    let threads = options.concurrency.min(jobs.len());
    let line = |end_point| {
        let client = Client::new(end_point, setup.access, &options.timeouts, threads)?;
        Ok(Line {
            client,
            paused_until: f64::MIN,
            broken_in_a_row: 0,
        })
    };
    let lines = setup
        .access
        .end_points
        .iter()
        .map(line)
        .collect::<Result<Vec<_>>>()?;
    let clients: Vec<Client> = lines.iter().map(|line| line.client.clone()).collect();
    let now = (setup.clock)();
    let bucket = |limit: Option<f64>| limit.map(|limit| Bucket::per_minute(limit, now));
    let mut asking = Asking {
        questions,
        ledger,
        setup,
        purse,
        lines,
        fresh: jobs,
        delayed: BinaryHeap::new(),
        flights: HashMap::new(),
        next_flight: 0,
        requests: bucket(options.limits.requests_per_minute),
        tokens: bucket(options.limits.tokens_per_minute),
        random: Random::new(setup.seed, "asking"),
        done: from_ledger,
        last_answer: None,
        stopping: None,
        wake: f64::MAX,
        told: Vec::new(),
        asked,
    };
    let (send, queue) = mpsc::channel::<Sent>();
    let (bring, arrived) = mpsc::channel::<Arrived>();
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (bring, queue, clients) = (bring.clone(), &queue, &clients);
            scope.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((id, line, body, n)) = next else { break };
                    if bring.send((id, clients[line].ask(&body, n))).is_err() {
                        break;
                    }
                }
            });
        }
        let driven = asking.drive(&send, &arrived, observe);
        // The threads end when there is nothing more to send.
        drop(send);
        driven
    })?;
    asking.asked.check(options)
}

/// The state of one call of [`ask`].
struct Asking<'a> {
    questions: &'a dyn Questions,
    ledger: &'a Ledger,
    setup: &'a Setup<'a>,
    purse: Purse,
    lines: Vec<Line>,
    fresh: VecDeque<Job>,
    /// By the microsecond before which they must not go.
    delayed: BinaryHeap<Reverse<(u64, Job)>>,
    flights: HashMap<u64, Flight>,
    next_flight: u64,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    random: Random,
    done: usize,
    last_answer: Option<u64>,
    stopping: Option<Error>,
    /// When something may go again that cannot go now.
    wake: f64,
    told: Vec<Event>,
    asked: Asked,
}

impl Asking<'_> {
    fn drive(
        &mut self,
        send: &Sender<Sent>,
        arrived: &Receiver<Arrived>,
        observe: &mut Observer<'_>,
    ) -> Result<()> {
        let mut came = Vec::new();
        loop {
            let now = (self.setup.clock)();
            self.wake = f64::MAX;
            let may_send = self.stopping.is_none() && self.has_room(now);
            let mut sends = Vec::new();
            if may_send || !came.is_empty() {
                self.ledger.begin()?;
                for (id, came) in came.drain(..) {
                    self.settle(id, came, now)?;
                }
                if self.stopping.is_none() {
                    self.choose(now, &mut sends)?;
                }
                // What came is on the disk before it is told or used, and what goes is claimed.
                self.ledger.commit()?;
            }
            for sent in sends {
                send.send(sent)
                    .expect("the threads wait as long as `send` lives");
            }
            self.tell(observe);
            let is_over =
                self.stopping.is_some() || self.fresh.is_empty() && self.delayed.is_empty();
            if self.flights.is_empty() && is_over {
                return self.stopping.take().map_or(Ok(()), Err);
            }
            if let Some(Reverse((at, _))) = self.delayed.peek() {
                self.wake = self.wake.min(*at as f64 / 1e6);
            }
            let wait = (self.wake - (self.setup.clock)()).clamp(0.001, TICK_SECONDS);
            if let Ok(first) = arrived.recv_timeout(Duration::from_secs_f64(wait)) {
                came.push(first);
                came.extend(arrived.try_iter());
            }
        }
    }

    fn has_room(&self, now: f64) -> bool {
        let delayed = self
            .delayed
            .peek()
            .is_some_and(|Reverse((at, _))| *at <= micros(now));
        self.flights.len() < self.setup.options.concurrency && (delayed || !self.fresh.is_empty())
    }

    /// Tells what happened; a wish to stop takes effect when what is in flight has come back.
    fn tell(&mut self, observe: &mut Observer<'_>) {
        let progress = Event::Progress {
            unit: "answers".into(),
            done: self.done,
            total: self.asked.wanted,
        };
        for event in self.told.drain(..).chain([progress]) {
            if let Err(stopped) = tell(observe, event)
                && self.stopping.is_none()
            {
                self.stopping = Some(stopped.into());
            }
        }
    }

    /// Takes as many jobs as may go now, and claims them.
    fn choose(&mut self, now: f64, sends: &mut Vec<Sent>) -> Result<()> {
        let options = self.setup.options;
        while self.has_room(now) {
            let Some(job) = self.next(now) else { break };
            let question = self.questions.question(job.question)?;
            let model = options.model.as_deref().unwrap_or_default();
            let identity = self.setup.access.identity();
            let request = Request::new(&question, model, identity, &options.sampling);
            let prompt_tokens = prompt_tokens(&request, self.setup.count);
            let answer_tokens = options.sampling.max_tokens * job.samples.len() as u64;
            // An estimate may be a tenth too low.
            let most = self
                .purse
                .cost(prompt_tokens + prompt_tokens.div_ceil(10), answer_tokens);
            let tokens = (prompt_tokens + answer_tokens) as f64;
            let Some(line) = self.may_go(tokens, most, now) else {
                self.fresh.push_front(job);
                break;
            };
            let Some(job) = self.claim(&job, &request, most, now)? else {
                continue;
            };
            self.ledger.count_sent(1)?;
            self.purse.send(most);
            for (bucket, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
                if let Some(bucket) = bucket {
                    bucket.take(amount);
                }
            }
            let name = &self.setup.access.end_points[line].model;
            let body = request
                .wire(name, job.samples[0], job.samples.len())
                .to_string();
            self.next_flight += 1;
            sends.push((self.next_flight, line, body, job.samples.len()));
            let flight = Flight {
                job: Job {
                    since: Some(job.since.unwrap_or(micros(now))),
                    ..job
                },
                id: question.id,
                hash: request.hash,
                line,
                prompt_tokens,
                tokens,
                most,
                sent_at: now,
            };
            self.flights.insert(self.next_flight, flight);
        }
        Ok(())
    }

    fn next(&mut self, now: f64) -> Option<Job> {
        if self
            .delayed
            .peek()
            .is_some_and(|Reverse((at, _))| *at <= micros(now))
        {
            return self.delayed.pop().map(|Reverse((_, job))| job);
        }
        self.fresh.pop_front()
    }

    /// The end point to which a request may go now; else `wake` or `stopping` says why not.
    fn may_go(&mut self, tokens: f64, most: Option<f64>, now: f64) -> Option<usize> {
        match self.purse.allows(most) {
            Allows::Yes => {}
            Allows::Later => return None,
            Allows::No(key, what) => {
                self.stopping = Some(Error::Cap { key, what });
                return None;
            }
        }
        let mut wait = 0.0_f64;
        for (bucket, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
            if let Some(bucket) = bucket {
                wait = wait.max(bucket.wait(amount, now));
            }
        }
        if wait > 0.0 {
            self.wake = self.wake.min(now + wait);
            return None;
        }
        let weight = |at: usize| {
            let is_open = self.lines[at].paused_until <= now;
            if is_open {
                self.setup.access.end_points[at].weight
            } else {
                0.0
            }
        };
        let weights: Vec<f64> = (0..self.lines.len()).map(weight).collect();
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            let first = self
                .lines
                .iter()
                .map(|line| line.paused_until)
                .fold(f64::MAX, f64::min);
            self.wake = self.wake.min(first);
            return None;
        }
        let mut left = self.random.next_f64() * total;
        let chosen = weights.iter().position(|weight| {
            left -= weight;
            *weight > 0.0 && left < 0.0
        });
        chosen.or_else(|| weights.iter().rposition(|weight| *weight > 0.0))
    }

    /// Claims the samples of a job; those of another process are looked at again later, and
    /// those that another process has had answered are done.
    fn claim(
        &mut self,
        job: &Job,
        request: &Request,
        most: Option<f64>,
        now: f64,
    ) -> Result<Option<Job>> {
        let (mut ours, mut held) = (Vec::new(), Vec::new());
        let each = most.map(|most| most / job.samples.len() as f64);
        for sample in &job.samples {
            match self
                .ledger
                .claim(request, self.setup.purpose, *sample, each)?
            {
                Claim::Ours => ours.push(*sample),
                Claim::Held => held.push(*sample),
                Claim::Answered => {
                    self.done += 1;
                    self.asked.from_ledger += 1;
                }
            }
        }
        if !held.is_empty() {
            self.delay(
                Job {
                    samples: held,
                    ..job.clone()
                },
                now + TICK_SECONDS,
            );
        }
        if ours.is_empty() {
            return Ok(None);
        }
        Ok(Some(Job {
            samples: ours,
            ..job.clone()
        }))
    }

    fn delay(&mut self, job: Job, until: f64) {
        self.delayed.push(Reverse((micros(until), job)));
    }

    /// Writes down what came of a request.
    fn settle(&mut self, id: u64, came: Came, now: f64) -> Result<()> {
        let flight = self
            .flights
            .remove(&id)
            .expect("each flight comes back once");
        let base_url = &self.setup.access.end_points[flight.line].base_url;
        let pause = came.headers.pause(flight.tokens);
        if pause > LONGEST_PAUSE_SECONDS {
            let what =
                format!("asks to be left alone for {pause:.0} s; the same command goes on then");
            self.stopping
                .get_or_insert(Error::end_point(base_url, what));
        } else if pause > 0.0 {
            let line = &mut self.lines[flight.line];
            line.paused_until = line.paused_until.max(now + pause);
        }
        match came.answers {
            Ok(answers) => self.keep(&flight, answers, now),
            Err(failure) => self.fail(flight, failure, pause > 0.0, now),
        }
    }

    fn keep(
        &mut self,
        flight: &Flight,
        answers: Vec<crate::answer::Answer>,
        now: f64,
    ) -> Result<()> {
        self.lines[flight.line].broken_in_a_row = 0;
        self.last_answer = Some(micros(now));
        let base_url = &self.setup.access.end_points[flight.line].base_url;
        let n = answers.len();
        let (mut cost, mut tokens) = (0.0, 0);
        for (at, mut answer) in answers.into_iter().enumerate() {
            if answer.is_estimated {
                answer.prompt_tokens = if at == 0 { flight.prompt_tokens } else { 0 };
                answer.completion_tokens = (self.setup.count)(&answer.text) as u64;
            }
            answer.cost = self
                .purse
                .cost(answer.prompt_tokens, answer.completion_tokens);
            cost += answer.cost.unwrap_or(0.0);
            tokens += answer.prompt_tokens + answer.completion_tokens;
            let currency = self
                .purse
                .price
                .as_ref()
                .map(|price| price.currency.as_str());
            let seconds = now - flight.sent_at;
            let kept = Kept {
                answer: &answer,
                end_point: base_url,
                currency,
                seconds,
            };
            let sample = flight.job.samples[at];
            self.ledger.keep(&flight.hash, sample, &kept)?;
            self.done += 1;
            self.told.push(Event::Answered {
                id: flight.id.clone(),
                sample: sample as usize,
                prompt_tokens: answer.prompt_tokens,
                completion_tokens: answer.completion_tokens,
                cost: answer.cost,
            });
        }
        self.purse.settle(flight.most, cost);
        if let Some(bucket) = &mut self.tokens {
            bucket.take(tokens as f64 - flight.tokens);
        }
        // The end point gave fewer samples than it was asked for: the others one by one.
        for sample in &flight.job.samples[n..] {
            self.ledger.release(&flight.hash, *sample)?;
            let job = Job {
                question: flight.job.question,
                samples: vec![*sample],
                tries: 0,
                since: None,
            };
            self.fresh.push_front(job);
        }
        Ok(())
    }

    fn fail(&mut self, flight: Flight, failure: Failure, is_paused: bool, now: f64) -> Result<()> {
        let Failure { fault, what } = failure;
        *self.asked.faults.entry(fault.name().into()).or_default() += 1;
        for sample in &flight.job.samples {
            if fault.may_be_paid() {
                self.ledger.lose(&flight.hash, *sample, fault.name())?;
            } else {
                self.ledger.release(&flight.hash, *sample)?;
            }
        }
        let lost = if fault.may_be_paid() {
            flight.most.unwrap_or(0.0)
        } else {
            0.0
        };
        self.purse.settle(flight.most, lost);
        let base_url = self.setup.access.end_points[flight.line].base_url.clone();
        let mut job = flight.job;
        job.tries += 1;
        match fault {
            Fault::Fatal => {
                self.stopping
                    .get_or_insert(Error::end_point(base_url, what));
                return Ok(());
            }
            Fault::Rejected => {
                self.give_up(&job, &flight.id, &what);
                let is_hopeless = self.asked.failed.len() >= HOPELESS.min(self.asked.wanted);
                if self.last_answer.is_none() && is_hopeless {
                    self.stopping
                        .get_or_insert(Error::end_point(base_url, what));
                }
                return Ok(());
            }
            Fault::Unreached => {
                // It will not be there for the next request either.
                let line = &mut self.lines[flight.line];
                line.broken_in_a_row += 1;
                let tries = line.broken_in_a_row;
                let until = now + self.backoff(tries);
                let line = &mut self.lines[flight.line];
                line.paused_until = line.paused_until.max(until);
            }
            _ => {}
        }
        if job.tries < self.setup.options.retry.tries {
            let wait = if is_paused {
                0.0
            } else {
                self.backoff(job.tries)
            };
            self.delay(job, now + wait);
        } else if self.last_answer < job.since {
            // Not this request but the end point is at fault.
            let tries = job.tries;
            let what = format!(
                "does not answer: {tries} tries for `{}` failed and no other request was answered meanwhile, the last: {what}",
                flight.id
            );
            self.stopping
                .get_or_insert(Error::end_point(base_url, what));
        } else {
            self.give_up(&job, &flight.id, &what);
        }
        Ok(())
    }

    fn give_up(&mut self, job: &Job, id: &str, what: &str) {
        let failed = job
            .samples
            .iter()
            .map(|sample| (id.to_owned(), *sample, what.to_owned()));
        self.asked.failed.extend(failed);
    }

    /// The wait after so many failures: it doubles, and half of it is drawn by lot.
    fn backoff(&mut self, tries: u32) -> f64 {
        let retry = &self.setup.options.retry;
        let whole = retry.backoff_seconds * 2.0_f64.powi(tries.min(30).cast_signed() - 1);
        whole.min(retry.longest_seconds) * (0.5 + 0.5 * self.random.next_f64())
    }
}

#[expect(clippy::cast_sign_loss, reason = "clocks count up from 0")]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).ceil() as u64
}
