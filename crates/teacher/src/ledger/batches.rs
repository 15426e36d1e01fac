//! Batches in the ledger: their claims outlive the process that sent them.

use std::collections::HashMap;

use rusqlite::params;

use super::{Claim, Ledger};
use crate::error::Result;
use crate::request::Request;

/// A batch that was begun and is not merged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) id: i64,
    /// Stands in the batch's metadata at the end point.
    pub(crate) token: String,
    /// The end point's number of it; none while it is not known to have been sent.
    pub(crate) remote: Option<String>,
    sitting: i64,
}

/// A line of a batch: one sample of one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) request: String,
    pub(crate) sample: u32,
    pub(crate) most: Option<f64>,
}

/// The name by which a line is known: short enough for every end point.
pub(crate) fn line_id(request: &str, sample: u32) -> String {
    format!("{}-{sample}", &request[..32])
}

impl Ledger {
    /// The batches at `identity` that are not merged, without those that another living process
    /// is preparing.
    pub(crate) fn open_batches(&self, identity: &str) -> Result<Vec<Batch>> {
        let query = "SELECT id, token, remote, sitting FROM batches
            WHERE identity = ?1 AND state IN ('preparing', 'sent') ORDER BY id";
        let mut statement = self
            .connection
            .prepare_cached(query)
            .map_err(|e| self.wrap(&e))?;
        let rows = statement.query_map(params![identity], |row| {
            let (id, token, remote, sitting) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Batch {
                id,
                token,
                remote,
                sitting,
            })
        });
        let rows = rows.map_err(|e| self.wrap(&e))?;
        let mut batches: Vec<Batch> = rows
            .collect::<rusqlite::Result<_>>()
            .map_err(|e| self.wrap(&e))?;
        for at in (0..batches.len()).rev() {
            let Batch {
                remote, sitting, ..
            } = &batches[at];
            let is_ours = *sitting == self.sitting().id;
            if remote.is_none() && !is_ours && !self.has_ended(*sitting)? {
                batches.remove(at);
            }
        }
        Ok(batches)
    }

    fn has_ended(&self, sitting: i64) -> Result<bool> {
        let query = "SELECT state <> 'open' FROM sittings WHERE id = ?1";
        let ended = self.one(query, params![sitting], |row| row.get(0))?;
        Ok(ended.unwrap_or(true))
    }

    /// Begins a batch. Within a transaction.
    pub(crate) fn begin_batch(&self, identity: &str) -> Result<i64> {
        let insert = "INSERT INTO batches (token, identity, run, sitting) VALUES ('', ?1, ?2, ?3)";
        let sitting = self.sitting();
        self.execute(insert, params![identity, sitting.run, sitting.id])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Gives a batch the name under which it is found again. Within a transaction.
    pub(crate) fn name_batch(&self, id: i64, token: &str) -> Result<()> {
        self.execute(
            "UPDATE batches SET token = ?1 WHERE id = ?2",
            params![token, id],
        )?;
        Ok(())
    }

    /// Claims one sample for a batch. Within a transaction.
    pub(crate) fn claim_for_batch(
        &self,
        id: i64,
        request: &Request,
        purpose: &str,
        sample: u32,
        most: Option<f64>,
    ) -> Result<Claim> {
        let claim = self.claim(request, purpose, sample, most)?;
        if claim == Claim::Ours {
            let update =
                "UPDATE claims SET sitting = NULL, batch = ?1 WHERE request = ?2 AND sample = ?3";
            self.execute(update, params![id, request.hash, sample])?;
        }
        Ok(claim)
    }

    /// Writes down the end point's number of a batch.
    pub(crate) fn batch_is_sent(&self, id: i64, remote: &str) -> Result<()> {
        let update = "UPDATE batches SET remote = ?1, state = 'sent' WHERE id = ?2";
        self.execute(update, params![remote, id])?;
        Ok(())
    }

    /// The lines of a batch that have no answer yet, by their names.
    pub(crate) fn lines(&self, id: i64) -> Result<HashMap<String, Line>> {
        let query = "SELECT request, sample, most FROM claims WHERE batch = ?1";
        let mut statement = self
            .connection
            .prepare_cached(query)
            .map_err(|e| self.wrap(&e))?;
        let rows = statement.query_map(params![id], |row| {
            let (request, sample, most): (String, u32, _) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((
                line_id(&request, sample),
                Line {
                    request,
                    sample,
                    most,
                },
            ))
        });
        let rows = rows.map_err(|e| self.wrap(&e))?;
        rows.collect::<rusqlite::Result<_>>()
            .map_err(|e| self.wrap(&e))
    }

    /// Ends a batch: what has no answer may be asked for again. Within a transaction.
    pub(crate) fn end_batch(&self, id: i64, state: &str) -> Result<()> {
        self.execute("DELETE FROM claims WHERE batch = ?1", params![id])?;
        self.execute(
            "UPDATE batches SET state = ?1 WHERE id = ?2",
            params![state, id],
        )?;
        Ok(())
    }
}
