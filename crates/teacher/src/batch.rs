//! Asks through `OpenAI`'s batches: a file of requests is sent, and within a day a file of
//! answers comes back, in any order and perhaps not whole.
//!
//! A batch is entered in the ledger before it is sent, under a token that stands in its metadata
//! as well; a process that dies between the two finds it again and pays nothing twice. Whatever
//! a batch does not answer is asked for in the next one.

use std::collections::HashMap;

use serde_json::{Value, json};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::fs;
use stillhouse_core::random::Random;

use crate::answer::{self, Answer};
use crate::cost::{Allows, Purse, prompt_tokens};
use crate::error::{Error, Result};
use crate::http::{Client, Failure, Fault, refused};
use crate::ledger::{Batch, Claim, Kept, Ledger, Line, line_id};
use crate::rate::Headers;
use crate::request::{Questions, Request};
use crate::wanted::{Asked, Setup, missing};

/// A file of requests is no longer than this; it is in memory while it is sent.
const LONGEST_FILE: usize = 64 << 20;
/// How often a wish to stop is looked for.
const TICK_SECONDS: f64 = 0.25;

/// Asks every question for every sample that is not in the ledger, batch by batch.
pub(crate) fn ask(
    questions: &dyn Questions,
    ledger: &Ledger,
    setup: &Setup<'_>,
    observe: &mut Observer<'_>,
) -> Result<Asked> {
    let end_point = setup.access.end_points.first();
    let end_point = end_point.ok_or_else(|| Error::option("teacher.base_url", "is not set"))?;
    let client = Client::new(end_point, setup.access, &setup.options.timeouts, 1)?;
    let (_, from_ledger) = missing(questions, ledger, setup)?;
    let wanted = questions.n() * setup.options.n_samples();
    let asked = Asked {
        wanted,
        from_ledger,
        ..Asked::default()
    };
    let mut work = Work {
        questions,
        ledger,
        setup,
        client,
        url: &end_point.base_url,
        random: Random::new(setup.seed, "batches"),
        asked,
        tries: HashMap::new(),
        about: HashMap::new(),
        observe,
    };
    work.all()?;
    work.asked.check(setup.options)
}

struct Work<'a, 'o, 'e> {
    questions: &'a dyn Questions,
    ledger: &'a Ledger,
    setup: &'a Setup<'a>,
    client: Client,
    url: &'a str,
    random: Random,
    asked: Asked,
    /// Failed tries of a line, and why the last one failed.
    tries: HashMap<String, (u32, String)>,
    /// Which question a line of this process's batches is about.
    about: HashMap<String, String>,
    observe: &'o mut Observer<'e>,
}

impl Work<'_, '_, '_> {
    /// Merges what earlier processes sent, then sends what is missing, until nothing is.
    fn all(&mut self) -> Result<()> {
        loop {
            for batch in self.ledger.open_batches(self.setup.access.identity())? {
                self.finish(batch)?;
            }
            match self.send()? {
                Sent::Batch => {}
                Sent::Nothing => return Ok(()),
                Sent::Held => {
                    let text = "another process is asking for the rest; waiting for it".into();
                    tell(self.observe, Event::Note { text })?;
                    self.sleep(self.setup.options.batch.poll_seconds)?;
                }
            }
        }
    }

    /// Sends one batch with as much as is missing, fits and is allowed.
    fn send(&mut self) -> Result<Sent> {
        let options = self.setup.options;
        let identity = self.setup.access.identity();
        let model = &self.setup.access.end_points[0].model;
        let mut purse = Purse::open(options, self.setup.access, self.ledger)?;
        let (jobs, _) = missing(self.questions, self.ledger, self.setup)?;
        let (mut file, mut n, mut held, mut cap) = (String::new(), 0, 0, None);
        self.asked.failed.clear();
        self.ledger.begin()?;
        let id = self.ledger.begin_batch(identity)?;
        for job in jobs {
            let question = self.questions.question(job.question)?;
            let own = options.model.as_deref().unwrap_or_default();
            let request = Request::new(&question, own, identity, &options.sampling);
            let sample = job.samples[0];
            let name = line_id(&request.hash, sample);
            if let Some((tries, what)) = self.tries.get(&name)
                && *tries >= options.retry.tries
            {
                self.asked.failed.push((question.id, sample, what.clone()));
                continue;
            }
            let prompt = prompt_tokens(&request, self.setup.count);
            let most = purse.cost(prompt + prompt.div_ceil(10), options.sampling.max_tokens);
            match purse.allows(most) {
                Allows::Yes => {}
                // What this batch turns out to cost decides on the rest.
                Allows::Later => break,
                Allows::No(key, what) => {
                    cap = Some(Error::Cap { key, what });
                    break;
                }
            }
            let line = json!({
                "custom_id": name, "method": "POST", "url": "/v1/chat/completions",
                "body": request.wire(model, sample, 1),
            });
            let line = line.to_string();
            if n == options.batch.requests || file.len() + line.len() >= LONGEST_FILE {
                break;
            }
            match self
                .ledger
                .claim_for_batch(id, &request, self.setup.purpose, sample, most)?
            {
                Claim::Ours => {
                    self.about.insert(name, question.id);
                    file.push_str(&line);
                    file.push('\n');
                    purse.send(most);
                    n += 1;
                }
                Claim::Held => held += 1,
                Claim::Answered => {}
            }
        }
        let token =
            fs::sha256_of(format!("{id} {}\n{file}", self.ledger.path().display()).as_bytes());
        let token = token[..32].to_owned();
        self.ledger.name_batch(id, &token)?;
        self.ledger.count_sent(n as u64)?;
        if n == 0 {
            self.ledger.end_batch(id, "dropped")?;
        }
        self.ledger.commit()?;
        match (n, held, cap) {
            (0, _, Some(cap)) => return Err(cap),
            (0, 0, None) => return Ok(Sent::Nothing),
            (0, ..) => return Ok(Sent::Held),
            _ => {}
        }
        let sent = self.submit(&token, &file);
        match sent {
            Ok(remote) => {
                self.ledger.batch_is_sent(id, &remote)?;
                let text = format!(
                    "batch {remote} of {n} requests is sent; stop at any time, the same command goes on waiting"
                );
                tell(self.observe, Event::Note { text })?;
                Ok(Sent::Batch)
            }
            Err(Error::Core(stopped)) => Err(stopped.into()),
            Err(error) => {
                // Where it is not known whether it was sent, the next process looks for it.
                if self.find(&token).is_ok_and(|found| found.is_none()) {
                    self.ledger.begin()?;
                    self.ledger.end_batch(id, "dropped")?;
                    self.ledger.commit()?;
                }
                Err(error)
            }
        }
    }

    /// Uploads a file and makes a batch of it; returns the end point's number of the batch.
    fn submit(&mut self, token: &str, file: &str) -> Result<String> {
        const EDGE: &str = "stillhouse-0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        let body = format!(
            "--{EDGE}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
             --{EDGE}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{token}.jsonl\"\r\n\
             Content-Type: application/jsonl\r\n\r\n{file}\r\n--{EDGE}--\r\n"
        );
        let kind = format!("multipart/form-data; boundary={EDGE}");
        let uploaded =
            self.patiently(|work| work.client.call("/files", Some((&kind, body.as_bytes()))))?;
        let uploaded = self.text_of(&self.json(&uploaded)?, "id")?;
        let order = json!({
            "input_file_id": uploaded, "endpoint": "/v1/chat/completions",
            "completion_window": "24h", "metadata": { "stillhouse": token },
        })
        .to_string();
        let mut is_first = true;
        let token = token.to_owned();
        let made = self.patiently(|work| {
            // A try that failed may have arrived all the same.
            if !is_first && let Some(found) = work.find(&token)? {
                return Ok(found.to_string());
            }
            is_first = false;
            work.client
                .call("/batches", Some(("application/json", order.as_bytes())))
        })?;
        self.text_of(&self.json(&made)?, "id")
    }

    /// The batch with this token at the end point, if it is there.
    fn find(&self, token: &str) -> Result<Option<Value>, Failure> {
        let mut after = String::new();
        loop {
            let page = self
                .client
                .call(&format!("/batches?limit=100{after}"), None)?;
            let page: Value = serde_json::from_str(&page).map_err(|e| Failure {
                fault: Fault::Unreadable,
                what: format!("a list of batches that is no JSON ({e})"),
            })?;
            let batches = page["data"].as_array().map_or(&[][..], Vec::as_slice);
            let is_it = |batch: &&Value| batch["metadata"]["stillhouse"] == token;
            if let Some(found) = batches.iter().find(is_it) {
                return Ok(Some(found.clone()));
            }
            match batches.last().and_then(|last| last["id"].as_str()) {
                Some(last) if page["has_more"] == true => after = format!("&after={last}"),
                _ => return Ok(None),
            }
        }
    }

    /// Waits for a batch and merges what it brought.
    fn finish(&mut self, batch: Batch) -> Result<()> {
        let remote = match batch.remote {
            Some(remote) => remote,
            None => match self.patiently(|work| work.find(&batch.token))? {
                Some(found) => {
                    let remote = self.text_of(&found, "id")?;
                    self.ledger.batch_is_sent(batch.id, &remote)?;
                    remote
                }
                None => return self.end(batch.id, "dropped"),
            },
        };
        let mut since = None;
        let state = loop {
            let path = format!("/batches/{remote}");
            let state = self.patiently(|work| work.client.call(&path, None))?;
            let state = self.json(&state)?;
            let count = |key: &str| state["request_counts"][key].as_u64().unwrap_or(0) as usize;
            let done = count("completed") + count("failed");
            let progress = Event::Progress {
                unit: format!("requests of batch {remote}"),
                done,
                total: count("total").max(done),
            };
            tell(self.observe, progress)?;
            since.get_or_insert((self.setup.clock)());
            match state["status"].as_str().unwrap_or_default() {
                "completed" | "failed" | "expired" | "cancelled" => break state,
                _ => self.sleep(self.setup.options.batch.poll_seconds)?,
            }
        };
        let mut n_answers = 0;
        for key in ["output_file_id", "error_file_id"] {
            if let Some(file) = state[key].as_str() {
                let path = format!("/files/{file}/content");
                let text = self.patiently(|work| work.client.call(&path, None))?;
                n_answers += self.merge(batch.id, &text)?;
            }
        }
        let status = state["status"].as_str().unwrap_or_default().to_owned();
        let left = self.ledger.lines(batch.id)?;
        for name in left.into_keys() {
            self.count_failure(
                name,
                &status,
                format!("the batch is {status} without an answer"),
                false,
            );
        }
        self.end(batch.id, "done")?;
        let text = format!("batch {remote} is {status}: {n_answers} answers");
        tell(self.observe, Event::Note { text })?;
        if status == "failed" && n_answers == 0 {
            let first = &state["errors"]["data"][0]["message"];
            let what = format!(
                "batch {remote} failed: {}",
                answer::short(first.as_str().unwrap_or("no reason given"))
            );
            return Err(Error::end_point(self.url, what));
        }
        Ok(())
    }

    fn end(&self, id: i64, state: &str) -> Result<()> {
        self.ledger.begin()?;
        self.ledger.end_batch(id, state)?;
        self.ledger.commit()
    }

    /// Writes the answers of a result file into the ledger; a line that is known already, or
    /// not at all, is left out.
    fn merge(&mut self, id: i64, file: &str) -> Result<usize> {
        let mut lines = self.ledger.lines(id)?;
        let purse = Purse::open(self.setup.options, self.setup.access, self.ledger)?;
        let mut told = Vec::new();
        self.ledger.begin()?;
        for text in file.lines().filter(|line| !line.trim().is_empty()) {
            let Ok(result) = serde_json::from_str::<Value>(text) else {
                continue;
            };
            let name = result["custom_id"].as_str().unwrap_or_default();
            let Some(line) = lines.remove(name) else {
                continue;
            };
            match read(&result) {
                Ok(answer) => told.push(self.keep(&line, answer, &purse)?),
                Err(failure) => {
                    let is_final = failure.fault == Fault::Rejected;
                    self.count_failure(
                        name.to_owned(),
                        failure.fault.name(),
                        failure.what,
                        is_final,
                    );
                    if failure.fault.may_be_paid() {
                        self.ledger
                            .lose(&line.request, line.sample, failure.fault.name())?;
                    }
                }
            }
        }
        self.ledger.commit()?;
        let n = told.len();
        for event in told {
            tell(self.observe, event)?;
        }
        Ok(n)
    }

    fn keep(&self, line: &Line, mut answer: Answer, purse: &Purse) -> Result<Event> {
        if answer.is_estimated {
            answer.completion_tokens = (self.setup.count)(&answer.text) as u64;
        }
        answer.cost = purse.cost(answer.prompt_tokens, answer.completion_tokens);
        let currency = purse.price.as_ref().map(|price| price.currency.as_str());
        let kept = Kept {
            answer: &answer,
            end_point: self.url,
            currency,
            seconds: 0.0,
        };
        self.ledger.keep(&line.request, line.sample, &kept)?;
        let about = self.about.get(&line_id(&line.request, line.sample));
        Ok(Event::Answered {
            // An earlier process knew which question it was.
            id: about
                .cloned()
                .unwrap_or_else(|| line.request[..12].to_owned()),
            sample: line.sample as usize,
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
            cost: answer.cost,
        })
    }

    fn count_failure(&mut self, name: String, kind: &str, what: String, is_final: bool) {
        *self.asked.faults.entry(kind.to_owned()).or_default() += 1;
        let tries = self.tries.entry(name).or_default();
        tries.0 = if is_final {
            u32::MAX
        } else {
            tries.0.saturating_add(1)
        };
        tries.1 = what;
    }

    /// Repeats a call that can succeed later.
    fn patiently<T>(&mut self, mut call: impl FnMut(&Self) -> Result<T, Failure>) -> Result<T> {
        let retry = &self.setup.options.retry;
        for tries in 1.. {
            let Failure { fault, what } = match call(self) {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let is_over = matches!(fault, Fault::Rejected | Fault::Fatal) || tries >= retry.tries;
            if is_over {
                return Err(Error::end_point(self.url, what));
            }
            let whole = retry.backoff_seconds * 2.0_f64.powi(tries.min(30).cast_signed() - 1);
            let jitter = 0.5 + 0.5 * self.random.next_f64();
            self.sleep(whole.min(retry.longest_seconds) * jitter)?;
        }
        unreachable!("the loop ends by returning")
    }

    /// Waits, and looks for a wish to stop meanwhile.
    fn sleep(&mut self, seconds: f64) -> Result<()> {
        let until = (self.setup.clock)() + seconds;
        loop {
            let left = until - (self.setup.clock)();
            if left <= 0.0 {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_secs_f64(left.min(TICK_SECONDS)));
            let (done, total) = (self.asked.from_ledger, self.asked.wanted);
            let unit = "answers".into();
            tell(self.observe, Event::Progress { unit, done, total })?;
        }
    }

    fn json(&self, text: &str) -> Result<Value> {
        serde_json::from_str(text)
            .map_err(|_| Error::end_point(self.url, "answers with no JSON: does it know batches?"))
    }

    fn text_of(&self, value: &Value, key: &str) -> Result<String> {
        let text = value[key].as_str().map(str::to_owned);
        text.ok_or_else(|| {
            Error::end_point(
                self.url,
                format!("answers without `{key}`: does it know batches?"),
            )
        })
    }
}

/// What came of [`Work::send`].
enum Sent {
    /// A batch is on its way.
    Batch,
    /// Nothing is missing, or nothing that can be had.
    Nothing,
    /// All that is missing is being asked for by another process.
    Held,
}

/// One line of a result file.
fn read(result: &Value) -> Result<Answer, Failure> {
    if let Some(error) = result.get("error").filter(|error| !error.is_null()) {
        let what = answer::message_of(error);
        return Err(Failure {
            fault: Fault::Server,
            what,
        });
    }
    let body = result["response"]["body"].to_string();
    let status = result["response"]["status_code"].as_u64().unwrap_or(0);
    match u16::try_from(status).unwrap_or(0) {
        200..=299 => {
            let unreadable = |what| Failure {
                fault: Fault::Unreadable,
                what,
            };
            let answers = answer::read(&body, 1).map_err(unreadable)?;
            Ok(answers
                .into_iter()
                .next()
                .expect("a completion has a choice"))
        }
        status => match refused(status, &body, &Headers::default()) {
            Ok(what) => Ok(answer::filtered(&what)),
            // In a batch that was taken, the line is at fault and not the end point.
            Err(failure) if failure.fault == Fault::Fatal => Err(Failure {
                fault: Fault::Rejected,
                ..failure
            }),
            Err(failure) => Err(failure),
        },
    }
}
