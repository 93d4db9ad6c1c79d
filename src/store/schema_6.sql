-- Version 6: what the device of a run held besides its tensors, what it had set aside for them, and what it drew.

ALTER TABLE measurement ADD COLUMN overhead_bytes INTEGER;
ALTER TABLE measurement ADD COLUMN reserved_bytes INTEGER;

-- {"joules": …, "seconds": …, "mean_sm_mhz": …, "max_celsius": …, "slowed": ["heat", …]}, as of the run's beginning.
ALTER TABLE measurement ADD COLUMN power TEXT CHECK (power IS NULL OR json_valid(power));
