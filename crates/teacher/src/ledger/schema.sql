-- The ledger, version 1 (PRAGMA user_version). Any SQLite tool can read it.

-- What was asked. The hash is the SHA-256 of `identity`, a line break, and `body`.
CREATE TABLE requests (
    hash     TEXT PRIMARY KEY,
    identity TEXT NOT NULL,           -- whose answers: the base URL of the first end point
    body     TEXT NOT NULL,           -- the JSON as sent, without `n`, with the seed of sample 0
    prompt   TEXT NOT NULL,           -- SHA-256 of the prompt
    purpose  TEXT NOT NULL            -- 'rationale' or 'judgement'
);

-- What came. Written, and committed, before anything uses it.
CREATE TABLE answers (
    request           TEXT NOT NULL REFERENCES requests (hash),
    sample            INTEGER NOT NULL,  -- counted from 0
    text              TEXT NOT NULL,
    finish_reason     TEXT,
    refusal           TEXT,
    reasoning         TEXT,              -- thoughts that came apart from the text
    logprobs          TEXT,              -- JSON, in the end point's own form
    response_id       TEXT,
    model             TEXT,              -- as the end point names it
    end_point         TEXT NOT NULL,     -- base URL
    prompt_tokens     INTEGER NOT NULL,  -- of several samples of one request, at the first
    completion_tokens INTEGER NOT NULL,
    is_estimated      INTEGER NOT NULL,  -- 1 where the end point gave no usage
    cost              REAL,
    currency          TEXT,
    seconds           REAL NOT NULL,     -- from sending to the whole answer
    run               TEXT NOT NULL,     -- the run that paid
    at                TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    PRIMARY KEY (request, sample)
) WITHOUT ROWID;

-- Processes that work or worked with this ledger; a living one holds a lock on the file
-- `<ledger>.sitting-<id>`.
CREATE TABLE sittings (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    run   TEXT NOT NULL,
    sent  INTEGER NOT NULL DEFAULT 0,    -- requests, repeated ones too
    state TEXT NOT NULL DEFAULT 'open',  -- 'open', 'ended', 'died'
    at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

-- What is being asked at this moment, so that no other process asks it too.
CREATE TABLE claims (
    request TEXT NOT NULL REFERENCES requests (hash),
    sample  INTEGER NOT NULL,
    sitting INTEGER REFERENCES sittings (id),  -- in flight in this process, or
    batch   INTEGER REFERENCES batches (id),   -- in this batch
    most    REAL,                              -- what it can cost at most
    PRIMARY KEY (request, sample)
) WITHOUT ROWID;

-- Answers that may have been paid and never arrived.
CREATE TABLE losses (
    request TEXT NOT NULL REFERENCES requests (hash),
    sample  INTEGER NOT NULL,
    kind    TEXT NOT NULL,  -- 'killed', 'cut', 'late', 'unreadable'
    most    REAL,           -- what it can have cost at most
    run     TEXT NOT NULL,
    at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

-- Batches that were sent. The token stands in the batch's metadata, so that a batch whose number
-- was lost with a process is found again.
CREATE TABLE batches (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    token    TEXT NOT NULL,
    identity TEXT NOT NULL,                      -- as in `requests`
    remote   TEXT,                               -- the end point's number of the batch
    run      TEXT NOT NULL,
    sitting  INTEGER NOT NULL REFERENCES sittings (id),  -- the process that sent it
    state    TEXT NOT NULL DEFAULT 'preparing',  -- 'preparing', 'sent', 'done', 'dropped'
    at       TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

CREATE INDEX answers_by_run ON answers (run);
CREATE INDEX losses_by_run ON losses (run);
CREATE INDEX claims_by_batch ON claims (batch);
PRAGMA user_version = 1;
