-- Version 4: runs that confirm a candidate by another seed, and losses example by example.

-- A trial once more by another seed, from its beginning to the end of a rung. Running while its measurement is.
CREATE TABLE confirmation (
    trial        INTEGER NOT NULL REFERENCES trial (id),
    rung         INTEGER NOT NULL CHECK (rung >= 0),
    seed         INTEGER NOT NULL CHECK (seed >= 0),
    stop_at_step INTEGER NOT NULL CHECK (stop_at_step > 0),
    attempts     INTEGER NOT NULL DEFAULT 1,
    measurement  INTEGER NOT NULL UNIQUE REFERENCES measurement (id),
    PRIMARY KEY (trial, rung, seed)
) STRICT, WITHOUT ROWID;

-- The last evaluation of a rung, in the order in which the data set keeps its validation examples:
--   SELECT key, value FROM examples, json_each(nats) WHERE measurement = 7;
CREATE TABLE examples (
    measurement INTEGER PRIMARY KEY REFERENCES measurement (id),
    nats        TEXT NOT NULL CHECK (json_type(nats) = 'array'),
    tokens      TEXT NOT NULL CHECK (json_type(tokens) = 'array')
) STRICT;

CREATE TRIGGER confirmation_is_written_once BEFORE INSERT ON confirmation
WHEN EXISTS (
    SELECT 1 FROM confirmation
    WHERE (trial = NEW.trial AND rung = NEW.rung AND seed = NEW.seed) OR measurement = NEW.measurement
)
BEGIN SELECT RAISE(ABORT, 'a confirmation is recorded once'); END;

-- Of a running confirmation only the number of attempts changes.
CREATE TRIGGER confirmation_keeps_its_place
BEFORE UPDATE OF trial, rung, seed, stop_at_step, measurement ON confirmation
BEGIN SELECT RAISE(ABORT, 'a confirmation is recorded once'); END;

CREATE TRIGGER ended_confirmation_is_not_updated BEFORE UPDATE ON confirmation
WHEN (SELECT ended_at FROM measurement WHERE id = OLD.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished confirmation never changes'); END;

CREATE TRIGGER confirmation_is_not_deleted BEFORE DELETE ON confirmation
BEGIN SELECT RAISE(ABORT, 'a confirmation is never deleted'); END;

CREATE TRIGGER ended_examples_are_not_added_to BEFORE INSERT ON examples
WHEN (SELECT ended_at FROM measurement WHERE id = NEW.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_examples_are_not_updated BEFORE UPDATE ON examples
WHEN EXISTS (
    SELECT 1 FROM measurement
    WHERE id IN (OLD.measurement, NEW.measurement) AND ended_at IS NOT NULL
)
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_examples_are_not_deleted BEFORE DELETE ON examples
WHEN (SELECT ended_at FROM measurement WHERE id = OLD.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;
