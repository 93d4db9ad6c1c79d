-- Version 2: the meters of a step. Null where a step has none, as all steps of version 1.
ALTER TABLE step ADD COLUMN update_ratio           REAL;
ALTER TABLE step ADD COLUMN noise_squared_gradient REAL;
ALTER TABLE step ADD COLUMN noise_trace            REAL;
