-- Version 3: probes of more settings than the precision, what they were allowed, and the speed of smaller sizes.

-- One probe of the batch-size search; `id` is the order of recording. Null: examples are not cut, all weights
-- are trained, no budget was known, or the probe is of an older version.
CREATE TABLE new_probe (
    id                     INTEGER PRIMARY KEY,
    precision              TEXT NOT NULL,
    max_length             INTEGER CHECK (max_length > 0),
    gradient_checkpointing INTEGER NOT NULL DEFAULT 0 CHECK (gradient_checkpointing IN (0, 1)),
    lora_rank              INTEGER CHECK (lora_rank > 0),
    micro_batch_size       INTEGER NOT NULL CHECK (micro_batch_size > 0),
    eval_micro_batch_size  INTEGER NOT NULL CHECK (eval_micro_batch_size > 0),
    budget_bytes           INTEGER CHECK (budget_bytes >= 0),
    measurement            INTEGER NOT NULL UNIQUE REFERENCES measurement (id)
) STRICT;
INSERT INTO new_probe (id, precision, micro_batch_size, eval_micro_batch_size, measurement)
    SELECT id, precision, micro_batch_size, micro_batch_size, measurement FROM probe;
DROP TABLE probe;
ALTER TABLE new_probe RENAME TO probe;

-- Nulls count as different, but a setting without a rank is one setting.
CREATE UNIQUE INDEX probed_once ON probe (
    precision, coalesce(max_length, 0), gradient_checkpointing, coalesce(lora_rank, 0), micro_batch_size
);

-- How fast steps of another micro-batch were.
CREATE TABLE speed (
    measurement      INTEGER NOT NULL REFERENCES measurement (id),
    micro_batch_size INTEGER NOT NULL CHECK (micro_batch_size > 0),
    tokens           INTEGER NOT NULL CHECK (tokens >= 0),
    seconds          REAL,
    PRIMARY KEY (measurement, micro_batch_size)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER probe_is_written_once BEFORE INSERT ON probe
WHEN EXISTS (
    SELECT 1 FROM probe
    WHERE id = NEW.id OR measurement = NEW.measurement
       OR (precision = NEW.precision AND micro_batch_size = NEW.micro_batch_size
           AND max_length IS NEW.max_length AND gradient_checkpointing = NEW.gradient_checkpointing
           AND lora_rank IS NEW.lora_rank)
)
BEGIN SELECT RAISE(ABORT, 'a probe never changes'); END;

CREATE TRIGGER probe_is_not_updated BEFORE UPDATE ON probe
BEGIN SELECT RAISE(ABORT, 'a probe never changes'); END;

CREATE TRIGGER probe_is_not_deleted BEFORE DELETE ON probe
BEGIN SELECT RAISE(ABORT, 'a probe never changes'); END;

CREATE TRIGGER ended_speeds_are_not_added_to BEFORE INSERT ON speed
WHEN (SELECT ended_at FROM measurement WHERE id = NEW.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_speeds_are_not_updated BEFORE UPDATE ON speed
WHEN EXISTS (
    SELECT 1 FROM measurement
    WHERE id IN (OLD.measurement, NEW.measurement) AND ended_at IS NOT NULL
)
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER ended_speeds_are_not_deleted BEFORE DELETE ON speed
WHEN (SELECT ended_at FROM measurement WHERE id = OLD.measurement) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;
