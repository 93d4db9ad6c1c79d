-- Version 5: what ended runs sum up to, so that a history of many runs is read without their points.

-- One row for each ended measurement, in the order in which they ended: who has read up to a row reads on from it.
-- Sums are taken over steps, then over all evaluations but the last, which stands beside them as it is.
CREATE TABLE ended (
    id               INTEGER PRIMARY KEY,
    measurement      INTEGER NOT NULL UNIQUE REFERENCES measurement (id),
    steps            INTEGER NOT NULL,
    step_seconds     REAL,
    tokens           INTEGER NOT NULL,
    later_seconds    REAL,
    later_tokens     INTEGER NOT NULL,
    squared_gradient REAL,
    trace            REAL,
    evals            INTEGER NOT NULL,
    seconds          REAL,
    peak_bytes       INTEGER NOT NULL,
    eval_step        INTEGER,
    eval_loss_nats   REAL,
    eval_tokens      INTEGER,
    eval_seconds     REAL
) STRICT;

INSERT INTO ended (measurement, steps, step_seconds, tokens, later_seconds, later_tokens, squared_gradient, trace,
                   evals, seconds, peak_bytes, eval_step, eval_loss_nats, eval_tokens, eval_seconds)
WITH stepped AS (
    SELECT measurement, min(step) AS first FROM step GROUP BY measurement
), summed AS (
    SELECT measurement, count(*) AS steps, sum(seconds) AS step_seconds, sum(tokens) AS tokens,
           total(seconds) FILTER (WHERE step > first) AS later_seconds,
           coalesce(sum(tokens) FILTER (WHERE step > first), 0) AS later_tokens,
           total(noise_squared_gradient) AS squared_gradient, total(noise_trace) AS trace
    FROM step JOIN stepped USING (measurement) GROUP BY measurement
), evaluated AS (
    SELECT measurement, count(*) AS evals, max(step) AS last FROM eval GROUP BY measurement
)
SELECT m.id, coalesce(s.steps, 0), coalesce(s.step_seconds, 0.0), coalesce(s.tokens, 0),
       coalesce(s.later_seconds, 0.0), coalesce(s.later_tokens, 0),
       coalesce(s.squared_gradient, 0.0), coalesce(s.trace, 0.0), max(coalesce(e.evals, 0) - 1, 0),
       coalesce(s.step_seconds, 0.0)
           + (SELECT total(seconds) FROM eval WHERE eval.measurement = m.id AND step < e.last),
       coalesce((SELECT max(peak_bytes) FROM peak WHERE peak.measurement = m.id), 0),
       last.step, last.loss_nats, last.tokens, last.seconds
FROM measurement AS m
     LEFT JOIN summed AS s ON s.measurement = m.id
     LEFT JOIN evaluated AS e ON e.measurement = m.id
     LEFT JOIN eval AS last ON last.measurement = m.id AND last.step = e.last
WHERE m.ended_at IS NOT NULL ORDER BY m.ended_at, m.id;

-- Optimizer steps in the last checkpoint that the running child told of.
ALTER TABLE measurement ADD COLUMN checkpoint_step INTEGER;

CREATE TRIGGER sums_are_written_once BEFORE INSERT ON ended
WHEN EXISTS (SELECT 1 FROM ended WHERE id = NEW.id OR measurement = NEW.measurement)
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER sums_are_not_updated BEFORE UPDATE ON ended
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;

CREATE TRIGGER sums_are_not_deleted BEFORE DELETE ON ended
BEGIN SELECT RAISE(ABORT, 'a finished measurement never changes'); END;
