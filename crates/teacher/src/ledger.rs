//! Every answer that was ever paid, in one `SQLite` database that runs share.
//!
//! An answer is known by the hash of its exact request and the number of its sample; it is
//! committed before anything uses it. What is in flight is claimed, so that two processes never
//! ask for the same; the claims of a process that died are counted as losses.
//! `ledger/schema.sql` says what stands in each table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};
use stillhouse_core::fs;

use crate::answer::Answer;
use crate::error::{Error, Result};
use crate::request::Request;

mod batches;

pub(crate) use batches::{Batch, Line, line_id};

/// The schema's version.
const VERSION: i64 = 1;

/// How long one process waits for another's transaction.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);
/// Between two tries of what SQLite does not wait for itself.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    connection: Connection,
    sitting: Option<Sitting>,
}

/// This process's work in the ledger.
#[derive(Debug)]
struct Sitting {
    id: i64,
    run: String,
    lock: PathBuf,
    _held: fs::Lock,
}

/// What a run has spent so far, over all of its sittings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spent {
    /// Answers that it paid.
    pub answers: u64,
    /// Requests that it sent, repeated ones too.
    pub requests: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// What its answers cost, in the price's currency.
    pub cost: f64,
    /// The same by what was asked for: "rationale", "judgement".
    pub cost_by_purpose: BTreeMap<String, f64>,
    /// What the lost answers can have cost at most.
    pub lost_cost: f64,
    /// Answers that may have been paid and never arrived, by kind.
    pub losses: BTreeMap<String, u64>,
}

/// Whether a sample may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours to ask.
    Ours,
    /// Its answer is in the ledger.
    Answered,
    /// Another process, or a batch, is asking.
    Held,
}

impl Ledger {
    /// Opens or makes a ledger to work with; `run` is the name under which it is paid.
    pub fn open(path: &Path, run: &str) -> Result<Self> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            fs::create_folder(folder)?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut ledger = Self::connect(path, flags)?;
        ledger.prepare()?;
        ledger.sit(run)?;
        Ok(ledger)
    }

    /// Opens a ledger only to look at it; `None` where there is none.
    pub fn look(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let ledger = Self::connect(path, flags)?;
        ledger.check_version()?;
        Ok(Some(ledger))
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self> {
        let wrap = |e: rusqlite::Error| wrap(path, &e);
        let connection = Connection::open_with_flags(path, flags).map_err(wrap)?;
        connection.busy_timeout(PATIENCE).map_err(wrap)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self {
            path: path.to_owned(),
            connection,
            sitting: None,
        })
    }

    fn wrap(&self, error: &rusqlite::Error) -> Error {
        wrap(&self.path, error)
    }

    fn check_version(&self) -> Result<i64> {
        let version = |row: &Row<'_>| row.get(0);
        let version = self
            .connection
            .query_row("PRAGMA user_version", [], version);
        let version: i64 = version.map_err(|e| self.wrap(&e))?;
        if version > VERSION {
            let what = format!(
                "is of version {version}, this program reads version {VERSION}; use a newer program or another teacher.ledger"
            );
            return Err(Error::Ledger {
                path: self.path.clone(),
                what,
            });
        }
        Ok(version)
    }

    fn prepare(&mut self) -> Result<()> {
        self.set_journal()?;
        self.batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
        self.begin()?;
        if self.check_version()? == 0 {
            let tables = "SELECT count(*) FROM sqlite_master";
            let n: i64 = self
                .connection
                .query_row(tables, [], |row| row.get(0))
                .map_err(|e| self.wrap(&e))?;
            if n > 0 {
                let what = "is a database of something else; name another teacher.ledger".into();
                return Err(Error::Ledger {
                    path: self.path.clone(),
                    what,
                });
            }
            self.batch(include_str!("ledger/schema.sql"))?;
        }
        self.commit()
    }

    /// Waits for others by itself: SQLite does not wait for the lock that this change takes, and two
    /// processes may begin at once.
    fn set_journal(&self) -> Result<()> {
        let mut tries = PATIENCE.as_millis() / PAUSE.as_millis();
        loop {
            match self.connection.execute_batch("PRAGMA journal_mode = WAL;") {
                Ok(()) => return Ok(()),
                Err(e) if tries > 0 && e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                    tries -= 1;
                    std::thread::sleep(PAUSE);
                }
                Err(e) => return Err(self.wrap(&e)),
            }
        }
    }

    /// Enters this process, and takes over from those that died.
    fn sit(&mut self, run: &str) -> Result<()> {
        self.begin()?;
        self.execute("INSERT INTO sittings (run) VALUES (?1)", params![run])?;
        let id = self.connection.last_insert_rowid();
        let lock = self.lock_of(id);
        // Before the commit, so that no one sees this sitting without its lock.
        let held = fs::Lock::take(&lock)?.ok_or_else(|| Error::Ledger {
            path: lock.clone(),
            what: "is locked by another process; remove it if there is none".into(),
        })?;
        for other in self.ids(
            "SELECT id FROM sittings WHERE state = 'open' AND id <> ?1",
            id,
        )? {
            let lock = self.lock_of(other);
            if fs::Lock::take(&lock)?.is_some() {
                self.bury(other)?;
                fs::remove(&lock)?;
            }
        }
        self.commit()?;
        self.sitting = Some(Sitting {
            id,
            run: run.to_owned(),
            lock,
            _held: held,
        });
        Ok(())
    }

    fn lock_of(&self, sitting: i64) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".sitting-{sitting}"));
        self.path.with_file_name(name)
    }

    /// Counts what a dead process had in flight.
    fn bury(&self, sitting: i64) -> Result<()> {
        let lost = "INSERT INTO losses (request, sample, kind, most, run)
            SELECT c.request, c.sample, 'killed', c.most, s.run
            FROM claims c JOIN sittings s ON s.id = c.sitting WHERE c.sitting = ?1";
        self.execute(lost, params![sitting])?;
        self.execute("DELETE FROM claims WHERE sitting = ?1", params![sitting])?;
        self.execute(
            "UPDATE sittings SET state = 'died' WHERE id = ?1",
            params![sitting],
        )?;
        Ok(())
    }

    fn ids(&self, query: &str, but: i64) -> Result<Vec<i64>> {
        let mut statement = self
            .connection
            .prepare_cached(query)
            .map_err(|e| self.wrap(&e))?;
        let rows = statement
            .query_map(params![but], |row| row.get(0))
            .map_err(|e| self.wrap(&e))?;
        rows.collect::<rusqlite::Result<_>>()
            .map_err(|e| self.wrap(&e))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to write; no other process writes until [`Ledger::commit`].
    pub(crate) fn begin(&self) -> Result<()> {
        self.batch("BEGIN IMMEDIATE")
    }

    /// Puts what was written since [`Ledger::begin`] on the disk.
    pub(crate) fn commit(&self) -> Result<()> {
        self.batch("COMMIT")
    }

    fn batch(&self, sql: &str) -> Result<()> {
        self.connection
            .execute_batch(sql)
            .map_err(|e| self.wrap(&e))
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        let statement = self.connection.prepare_cached(sql);
        statement
            .and_then(|mut statement| statement.execute(values))
            .map_err(|e| self.wrap(&e))
    }

    fn one<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let statement = self.connection.prepare_cached(sql);
        statement
            .and_then(|mut statement| statement.query_row(values, read).optional())
            .map_err(|e| self.wrap(&e))
    }

    fn sitting(&self) -> &Sitting {
        self.sitting
            .as_ref()
            .expect("a ledger opened only to look at is never written to")
    }

    /// Whether the answer is there.
    pub(crate) fn has(&self, request: &str, sample: u32) -> Result<bool> {
        let query = "SELECT 1 FROM answers WHERE request = ?1 AND sample = ?2";
        Ok(self
            .one(query, params![request, sample], |_| Ok(()))?
            .is_some())
    }

    /// The answer, if it is there.
    pub(crate) fn answer(&self, request: &str, sample: u32) -> Result<Option<Answer>> {
        let query = "SELECT text, finish_reason, refusal, reasoning, logprobs, response_id, model,
            prompt_tokens, completion_tokens, is_estimated, cost
            FROM answers WHERE request = ?1 AND sample = ?2";
        self.one(query, params![request, sample], |row| {
            let logprobs: Option<String> = row.get(4)?;
            Ok(Answer {
                text: row.get(0)?,
                finish_reason: row.get(1)?,
                refusal: row.get(2)?,
                reasoning: row.get(3)?,
                logprobs: logprobs.and_then(|text| serde_json::from_str(&text).ok()),
                response_id: row.get(5)?,
                model: row.get(6)?,
                prompt_tokens: row.get::<_, i64>(7)?.unsigned_abs(),
                completion_tokens: row.get::<_, i64>(8)?.unsigned_abs(),
                is_estimated: row.get(9)?,
                cost: row.get(10)?,
            })
        })
    }

    /// Claims one sample; `most` is what it can cost. Within a transaction.
    pub(crate) fn claim(
        &self,
        request: &Request,
        purpose: &str,
        sample: u32,
        most: Option<f64>,
    ) -> Result<Claim> {
        if self.has(&request.hash, sample)? {
            return Ok(Claim::Answered);
        }
        let claimed = "SELECT sitting FROM claims WHERE request = ?1 AND sample = ?2";
        let holder = self.one(claimed, params![request.hash, sample], |row| {
            row.get::<_, Option<i64>>(0)
        })?;
        match holder {
            None => {}
            // Its claims become losses, this one with them, and it can be claimed again.
            Some(Some(sitting)) if self.is_dead(sitting)? => self.bury(sitting)?,
            Some(_) => return Ok(Claim::Held),
        }
        self.enter(request, purpose)?;
        let claim = "INSERT INTO claims (request, sample, sitting, most) VALUES (?1, ?2, ?3, ?4)";
        self.execute(
            claim,
            params![request.hash, sample, self.sitting().id, most],
        )?;
        Ok(Claim::Ours)
    }

    fn enter(&self, request: &Request, purpose: &str) -> Result<()> {
        let insert = "INSERT INTO requests (hash, identity, body, prompt, purpose)
            VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        let Request {
            hash,
            identity,
            prompt,
            ..
        } = request;
        self.execute(
            insert,
            params![hash, identity, request.text(), prompt, purpose],
        )?;
        Ok(())
    }

    fn is_dead(&self, sitting: i64) -> Result<bool> {
        if sitting == self.sitting().id {
            return Ok(false);
        }
        let lock = self.lock_of(sitting);
        let is_dead = fs::Lock::take(&lock)?.is_some();
        if is_dead {
            fs::remove(&lock)?;
        }
        Ok(is_dead)
    }

    /// Counts requests as sent. Within a transaction.
    pub(crate) fn count_sent(&self, n: u64) -> Result<()> {
        let update = "UPDATE sittings SET sent = sent + ?1 WHERE id = ?2";
        self.execute(update, params![n.cast_signed(), self.sitting().id])?;
        Ok(())
    }

    /// Gives claims back: nothing came of them, and nothing can have been paid.
    pub(crate) fn release(&self, request: &str, sample: u32) -> Result<()> {
        let delete = "DELETE FROM claims WHERE request = ?1 AND sample = ?2";
        self.execute(delete, params![request, sample])?;
        Ok(())
    }

    /// Gives a claim back whose answer may have been paid. Within a transaction.
    pub(crate) fn lose(&self, request: &str, sample: u32, kind: &str) -> Result<()> {
        let insert = "INSERT INTO losses (request, sample, kind, most, run)
            SELECT request, sample, ?3, most, ?4 FROM claims WHERE request = ?1 AND sample = ?2";
        self.execute(insert, params![request, sample, kind, self.sitting().run])?;
        self.release(request, sample)
    }

    /// Writes an answer and gives its claim back. Within a transaction.
    pub(crate) fn keep(&self, request: &str, sample: u32, kept: &Kept<'_>) -> Result<()> {
        let insert = "INSERT INTO answers (request, sample, text, finish_reason, refusal,
            reasoning, logprobs, response_id, model, end_point, prompt_tokens, completion_tokens,
            is_estimated, cost, currency, seconds, run)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
            ON CONFLICT DO NOTHING";
        let answer = kept.answer;
        let logprobs = answer.logprobs.as_ref().map(ToString::to_string);
        let (prompt_tokens, completion_tokens) = (
            answer.prompt_tokens.cast_signed(),
            answer.completion_tokens.cast_signed(),
        );
        let run = &self.sitting().run;
        self.execute(
            insert,
            params![
                request,
                sample,
                answer.text,
                answer.finish_reason,
                answer.refusal,
                answer.reasoning,
                logprobs,
                answer.response_id,
                answer.model,
                kept.end_point,
                prompt_tokens,
                completion_tokens,
                answer.is_estimated,
                answer.cost,
                answer.cost.and(kept.currency),
                kept.seconds,
                run
            ],
        )?;
        self.release(request, sample)
    }

    /// What the run of this sitting has spent so far.
    pub fn spent(&self) -> Result<Spent> {
        let run = &self.sitting().run;
        let sums = "SELECT count(*), coalesce(sum(prompt_tokens), 0),
            coalesce(sum(completion_tokens), 0), coalesce(sum(cost), 0.0)
            FROM answers WHERE run = ?1";
        let mut spent = self
            .one(sums, params![run], |row| {
                Ok(Spent {
                    answers: row.get::<_, i64>(0)?.unsigned_abs(),
                    prompt_tokens: row.get::<_, i64>(1)?.unsigned_abs(),
                    completion_tokens: row.get::<_, i64>(2)?.unsigned_abs(),
                    cost: row.get(3)?,
                    ..Spent::default()
                })
            })?
            .unwrap_or_default();
        let sent = "SELECT coalesce(sum(sent), 0) FROM sittings WHERE run = ?1";
        let sent: Option<i64> = self.one(sent, params![run], |row| row.get(0))?;
        spent.requests = sent.unwrap_or(0).unsigned_abs();
        let costs = "SELECT r.purpose, 0, coalesce(sum(a.cost), 0.0)
            FROM answers a JOIN requests r ON r.hash = a.request WHERE a.run = ?1 GROUP BY 1";
        for (purpose, _, cost) in self.grouped(costs)? {
            spent.cost_by_purpose.insert(purpose, cost);
        }
        let losses = "SELECT kind, count(*), coalesce(sum(most), 0.0) FROM losses
            WHERE run = ?1 GROUP BY 1";
        for (kind, n, most) in self.grouped(losses)? {
            spent.losses.insert(kind, n.unsigned_abs());
            spent.lost_cost += most;
        }
        Ok(spent)
    }

    /// The rows of a query that groups what this run did: name, count, sum.
    fn grouped(&self, query: &str) -> Result<Vec<(String, i64, f64)>> {
        let wrap = |e: rusqlite::Error| self.wrap(&e);
        let mut statement = self.connection.prepare_cached(query).map_err(wrap)?;
        let rows = statement.query_map(params![self.sitting().run], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        });
        let rows = rows.map_err(wrap)?;
        rows.collect::<rusqlite::Result<_>>().map_err(wrap)
    }

    /// How long answers of a teacher for one purpose and their requests were so far: their number,
    /// the mean and the standard deviation of their tokens, and the mean of their seconds.
    pub(crate) fn lengths(
        &self,
        identity: &str,
        model: &str,
        purpose: &str,
    ) -> Result<Option<Lengths>> {
        let query = "SELECT count(*), avg(completion_tokens),
            avg(completion_tokens * completion_tokens), coalesce(avg(nullif(seconds, 0)), 0.0)
            FROM (SELECT a.completion_tokens, a.seconds FROM answers a
                JOIN requests r ON r.hash = a.request
                WHERE r.identity = ?1 AND json_extract(r.body, '$.model') = ?2
                    AND r.purpose = ?3 AND NOT a.is_estimated
                LIMIT 1000)";
        let found = self.one(query, params![identity, model, purpose], |row| {
            let n: i64 = row.get(0)?;
            if n == 0 {
                return Ok(None);
            }
            let (mean, square): (f64, f64) = (row.get(1)?, row.get(2)?);
            Ok(Some(Lengths {
                n: n.unsigned_abs(),
                mean,
                deviation: (square - mean * mean).max(0.0).sqrt(),
                seconds: row.get(3)?,
            }))
        })?;
        Ok(found.flatten())
    }
}

/// What is known of a teacher's answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lengths {
    pub(crate) n: u64,
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
    pub(crate) seconds: f64,
}

/// An answer on its way into the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept<'a> {
    pub(crate) answer: &'a Answer,
    pub(crate) end_point: &'a str,
    pub(crate) currency: Option<&'a str>,
    pub(crate) seconds: f64,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(sitting) = &self.sitting {
            // Best effort: the next process finds an open sitting without its lock as well. What
            // is still claimed here was in flight when an error ended the work.
            let _ = self.batch("ROLLBACK");
            let _ = self.begin();
            let ended = self.bury(sitting.id).and_then(|()| {
                self.execute(
                    "UPDATE sittings SET state = 'ended' WHERE id = ?1",
                    params![sitting.id],
                )
            });
            let _ = ended.and_then(|_| self.commit());
            let _ = fs::remove(&sitting.lock);
        }
    }
}

fn wrap(path: &Path, error: &rusqlite::Error) -> Error {
    let what = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => "is no SQLite database".into(),
        Some(rusqlite::ErrorCode::DiskFull) => "the disk is full".into(),
        _ => error.to_string(),
    };
    Error::Ledger {
        path: path.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests;
