-- The database of one study: version 1 of the schema, applied by `schema.rs` in one transaction.
--
-- Once released, this file is never edited: a change is a further migration. All times are UTC.
-- A look from the shell, one line an optimizer step:
--   SELECT trial, rung, step, loss_nats FROM rung JOIN step USING (measurement) ORDER BY 1, 2, 3;

-- What is studied; one row, written once.
CREATE TABLE study (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    digest     TEXT NOT NULL,
    definition TEXT NOT NULL CHECK (json_valid(definition)),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

-- Small results by name, such as the data report or the test loss; the one table that is overwritten.
CREATE TABLE fact (
    key        TEXT PRIMARY KEY,
    value      TEXT NOT NULL CHECK (json_valid(value)),
    written_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT, WITHOUT ROWID;

-- What a rung or a probe measured and how it ended; running while `ended_at` is null.
CREATE TABLE measurement (
    id             INTEGER PRIMARY KEY,
    device         TEXT NOT NULL DEFAULT '',
    version        TEXT NOT NULL DEFAULT '',
    outcome        TEXT GENERATED ALWAYS AS (json_extract(outcome_detail, '$.outcome')) VIRTUAL,
    outcome_detail TEXT CHECK (outcome_detail IS NULL OR json_valid(outcome_detail)),
    started_at     TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    ended_at       TEXT,
    CHECK ((ended_at IS NULL) = (outcome_detail IS NULL))
) STRICT;

-- One configuration. Numbers count from 0 without a gap.
CREATE TABLE trial (
    id                          INTEGER PRIMARY KEY CHECK (id >= 0),
    precision                   TEXT NOT NULL,
    micro_batch_size            INTEGER NOT NULL CHECK (micro_batch_size > 0),
    gradient_accumulation_steps INTEGER NOT NULL CHECK (gradient_accumulation_steps > 0),
    learning_rate               REAL NOT NULL,
    created_at                  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

-- One prefix of the full run that a trial was given; `attempts` counts how often it was started.
CREATE TABLE rung (
    trial        INTEGER NOT NULL REFERENCES trial (id),
    rung         INTEGER NOT NULL CHECK (rung >= 0),
    stop_at_step INTEGER NOT NULL CHECK (stop_at_step > 0),
    attempts     INTEGER NOT NULL DEFAULT 1,
    measurement  INTEGER NOT NULL UNIQUE REFERENCES measurement (id),
    PRIMARY KEY (trial, rung)
) STRICT, WITHOUT ROWID;

-- One probe of the batch-size search; `id` is the order of recording.
CREATE TABLE probe (
    id               INTEGER PRIMARY KEY,
    precision        TEXT NOT NULL,
    micro_batch_size INTEGER NOT NULL CHECK (micro_batch_size > 0),
    measurement      INTEGER NOT NULL UNIQUE REFERENCES measurement (id),
    UNIQUE (precision, micro_batch_size)
) STRICT;

-- SQLite knows no NaN: in the three tables below a null REAL is "not a number".

-- One optimizer step.
CREATE TABLE step (
    measurement   INTEGER NOT NULL REFERENCES measurement (id),
    step          INTEGER NOT NULL CHECK (step >= 0),
    loss_nats     REAL,
    learning_rate REAL,
    grad_norm     REAL,
    tokens        INTEGER NOT NULL CHECK (tokens >= 0),
    seconds       REAL,
    PRIMARY KEY (measurement, step)
) STRICT, WITHOUT ROWID;

-- One evaluation after so many optimizer steps.
CREATE TABLE eval (
    measurement INTEGER NOT NULL REFERENCES measurement (id),
    step        INTEGER NOT NULL CHECK (step >= 0),
    loss_nats   REAL,
    tokens      INTEGER NOT NULL CHECK (tokens >= 0),
    seconds     REAL,
    PRIMARY KEY (measurement, step)
) STRICT, WITHOUT ROWID;

-- The most bytes alive in one phase; the rowid keeps the order in which phases were first seen.
CREATE TABLE peak (
    measurement INTEGER NOT NULL REFERENCES measurement (id),
    phase       TEXT NOT NULL,
    peak_bytes  INTEGER NOT NULL CHECK (peak_bytes >= 0),
    UNIQUE (measurement, phase)
) STRICT;

-- History is append-only. The triggers below hold against any program that opens the file. Those
-- on INSERT stand against `INSERT OR REPLACE`, which deletes a row without firing its DELETE trigger.

CREATE TRIGGER study_is_written_once BEFORE INSERT ON study
WHEN EXISTS (SELECT 1 FROM study)
BEGIN SELECT RAISE(ABORT, 'a study never changes'); END;

CREATE TRIGGER study_is_not_updated BEFORE UPDATE ON study
BEGIN SELECT RAISE(ABORT, 'a study never changes'); END;

CREATE TRIGGER study_is_not_deleted BEFORE DELETE ON study
BEGIN SELECT RAISE(ABORT, 'a study never changes'); END;

CREATE TRIGGER trial_is_written_once BEFORE INSERT ON trial
WHEN EXISTS (SELECT 1 FROM trial WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a trial never changes'); END;

CREATE TRIGGER trial_is_not_updated BEFORE UPDATE ON trial
BEGIN SELECT RAISE(ABORT, 'a trial never changes'); END;

CREATE TRIGGER trial_is_not_deleted BEFORE DELETE ON trial
BEGIN SELECT RAISE(ABORT, 'a trial never changes'); END;

CREATE TRIGGER probe_is_written_once BEFORE INSERT ON probe
WHEN EXISTS (
    SELECT 1 FROM probe
    WHERE id = NEW.id OR measurement = NEW.measurement
       OR (precision = NEW.precision AND micro_batch_size = NEW.micro_batch_size)
)
BEGIN SELECT RAISE(ABORT, 'a probe never changes'); END;

CREATE TRIGGER probe_is_not_updated BEFORE UPDATE ON probe
BEGIN SELECT RAISE(ABORT, 'a probe never changes'); END;

CREATE TRIGGER probe_is_not_deleted BEFORE DELETE ON probe
BEGIN SELECT RAISE(ABORT, 'a probe never changes'); END;

CREATE TRIGGER rung_is_written_once BEFORE INSERT ON rung
WHEN EXISTS (
    SELECT 1 FROM rung
    WHERE (trial = NEW.trial AND rung = NEW.rung) OR measurement = NEW.measurement
)
BEGIN SELECT RAISE(ABORT, 'a rung is recorded once'); END;

-- Of a running rung only the number of attempts changes.
CREATE TRIGGER rung_keeps_its_place BEFORE UPDATE OF trial, rung, stop_at_step, measurement ON rung
BEGIN SELECT RAISE(ABORT, 'a rung is recorded once'); END;

CREATE TRIGGER ended_rung_is_not_updated BEFORE UPDATE ON rung
WHEN (SELECT ended_at FROM measurement WHERE id = OLD.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished rung never changes'); END;

CREATE TRIGGER rung_is_not_deleted BEFORE DELETE ON rung
BEGIN SELECT RAISE(ABORT, 'a rung is never deleted'); END;

CREATE TRIGGER measurement_is_written_once BEFORE INSERT ON measurement
WHEN EXISTS (SELECT 1 FROM measurement WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a measurement is recorded once'); END;

CREATE TRIGGER ended_measurement_is_not_updated BEFORE UPDATE ON measurement
WHEN OLD.ended_at IS NOT NULL OR NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER measurement_is_not_deleted BEFORE DELETE ON measurement
BEGIN SELECT RAISE(ABORT, 'a measurement is never deleted'); END;

CREATE TRIGGER ended_steps_are_not_added_to BEFORE INSERT ON step
WHEN (SELECT ended_at FROM measurement WHERE id = NEW.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_steps_are_not_updated BEFORE UPDATE ON step
WHEN EXISTS (
    SELECT 1 FROM measurement
    WHERE id IN (OLD.measurement, NEW.measurement) AND ended_at IS NOT NULL
)
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_steps_are_not_deleted BEFORE DELETE ON step
WHEN (SELECT ended_at FROM measurement WHERE id = OLD.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_evals_are_not_added_to BEFORE INSERT ON eval
WHEN (SELECT ended_at FROM measurement WHERE id = NEW.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_evals_are_not_updated BEFORE UPDATE ON eval
WHEN EXISTS (
    SELECT 1 FROM measurement
    WHERE id IN (OLD.measurement, NEW.measurement) AND ended_at IS NOT NULL
)
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_evals_are_not_deleted BEFORE DELETE ON eval
WHEN (SELECT ended_at FROM measurement WHERE id = OLD.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

-- Here a REPLACE could also hit an ended row by its rowid.
CREATE TRIGGER ended_peaks_are_not_added_to BEFORE INSERT ON peak
WHEN EXISTS (
    SELECT 1 FROM measurement
    WHERE ended_at IS NOT NULL
      AND id IN (NEW.measurement, (SELECT measurement FROM peak WHERE rowid = NEW.rowid))
)
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_peaks_are_not_updated BEFORE UPDATE ON peak
WHEN NEW.rowid <> OLD.rowid OR EXISTS (
    SELECT 1 FROM measurement
    WHERE id IN (OLD.measurement, NEW.measurement) AND ended_at IS NOT NULL
)
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_peaks_are_not_deleted BEFORE DELETE ON peak
WHEN (SELECT ended_at FROM measurement WHERE id = OLD.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;
