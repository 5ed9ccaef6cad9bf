"""Tables of the ledger. `PRAGMA user_version` counts the scripts that were run; a new ledger runs all of them.

To change the tables add a script; never edit one that was released.

runs        one call of the runner; state: running, done, paused, failed, interrupted; planned: its batches are complete
groups      every key that was ever planned; latest: number of its last version, champion: of the one that serves
batches     of a run; left: groups without a version of this run
plan        the groups of a batch in their order, with their rows and the hash of their content as planned
versions    one row per group and fit, fields as in `GroupResult`; shard and forecast are gone once collected
receipts    what the versions of one receipt share
tallies     groups of a run by state, so that progress costs nothing
files       content in the store; places: models in a shard
documents   names of single files, such as the job and the prior
lease       its token grows with each driver: one that holds an older token cannot commit
"""

from __future__ import annotations

#: Tells a ledger from any other SQLite file.
APPLICATION = 0x6D6D6C31

SCRIPTS = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE lease (one INTEGER PRIMARY KEY CHECK (one = 1), token INTEGER NOT NULL, holder TEXT NOT NULL);
    INSERT INTO lease VALUES (1, 0, '');
    CREATE TABLE files (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
        kind TEXT NOT NULL, places INTEGER NOT NULL);
    CREATE TABLE documents (
        name TEXT PRIMARY KEY, file INTEGER NOT NULL REFERENCES files) WITHOUT ROWID;
    CREATE INDEX documents_by_file ON documents (file);
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, began REAL NOT NULL, ended REAL, state TEXT NOT NULL,
        fingerprint TEXT NOT NULL, job TEXT NOT NULL, note TEXT NOT NULL, allowed REAL NOT NULL,
        planned INTEGER NOT NULL);
    CREATE TABLE groups (
        id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, key TEXT NOT NULL, latest INTEGER NOT NULL,
        champion INTEGER, FOREIGN KEY (id, champion) REFERENCES versions (group_id, number));
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, parts TEXT NOT NULL, left INTEGER NOT NULL);
    CREATE INDEX batches_by_run ON batches (run);
    CREATE TABLE plan (
        batch INTEGER NOT NULL REFERENCES batches, position INTEGER NOT NULL, group_id INTEGER NOT NULL
        REFERENCES groups, rows INTEGER NOT NULL, content TEXT NOT NULL, PRIMARY KEY (batch, position)) WITHOUT ROWID;
    CREATE INDEX plan_by_group ON plan (group_id);
    CREATE TABLE receipts (
        id INTEGER PRIMARY KEY, began REAL, ended REAL, peak INTEGER NOT NULL, worker TEXT NOT NULL);
    CREATE TABLE versions (
        group_id INTEGER NOT NULL REFERENCES groups, number INTEGER NOT NULL, run INTEGER REFERENCES runs,
        receipt INTEGER REFERENCES receipts, shard INTEGER REFERENCES files, place INTEGER NOT NULL,
        forecast INTEGER REFERENCES files, state TEXT NOT NULL, model TEXT NOT NULL, series INTEGER NOT NULL,
        rows INTEGER NOT NULL, content TEXT NOT NULL, until TEXT NOT NULL, loss REAL, baseline REAL, newest REAL,
        accepted INTEGER NOT NULL, reason TEXT NOT NULL, error TEXT NOT NULL, attempts INTEGER NOT NULL,
        seconds REAL, label TEXT NOT NULL, PRIMARY KEY (group_id, number)) WITHOUT ROWID;
    CREATE UNIQUE INDEX versions_by_run ON versions (run, group_id);
    CREATE INDEX versions_by_shard ON versions (shard);
    CREATE INDEX versions_by_forecast ON versions (forecast);
    CREATE TABLE tallies (
        run INTEGER NOT NULL REFERENCES runs, state TEXT NOT NULL, groups INTEGER NOT NULL,
        PRIMARY KEY (run, state)) WITHOUT ROWID;
    """,
)
VERSION = len(SCRIPTS)
