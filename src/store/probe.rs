//! Probes of the batch-size search, in the order they ended.

use rusqlite::{Connection, OptionalExtension, params};

use super::columns::Count;
use super::error::{Fault, StoreError};
use super::{Store, measurement};
use crate::space::Precision;
use crate::trial::ProbeRecord;

impl Store {
    /// Records an ended probe with all it measured.
    ///
    /// # Errors
    /// [`StoreError::ProbeRepeated`] if this setting was recorded before.
    pub fn record_probe(&self, probe: &ProbeRecord) -> Result<(), StoreError> {
        let ProbeRecord { precision, micro_batch_size, .. } = *probe;
        self.write(|connection| {
            if is_recorded(connection, precision, micro_batch_size)? {
                return Err(StoreError::ProbeRepeated { precision, micro_batch_size }.into());
            }
            let id = measurement::open(connection)?;
            measurement::add_all(connection, id, &probe.measurement)?;
            measurement::end(connection, id, &probe.outcome)?;
            let sql = "INSERT INTO probe (precision, micro_batch_size, measurement) VALUES (?1, ?2, ?3)";
            connection.execute(sql, params![precision, Count(micro_batch_size), id])?;
            Ok(())
        })
    }

    /// All probes in the order of recording.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn probes(&self) -> Result<Vec<ProbeRecord>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT precision, micro_batch_size, outcome_detail, measurement
                       FROM probe JOIN measurement ON measurement.id = probe.measurement ORDER BY probe.id";
            let mut statement = connection.prepare_cached(sql)?;
            let probes = statement.query_map([], |row| {
                Ok(ProbeRecord {
                    precision: row.get("precision")?,
                    micro_batch_size: row.get::<_, Count<usize>>("micro_batch_size")?.0,
                    outcome: row.get("outcome_detail")?,
                    measurement: measurement::read(connection, row.get("measurement")?)?,
                })
            })?;
            Ok(probes.collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn is_recorded(connection: &Connection, precision: Precision, micro: usize) -> Result<bool, Fault> {
    let sql = "SELECT 1 FROM probe WHERE precision = ?1 AND micro_batch_size = ?2";
    let found = connection.query_row(sql, params![precision, Count(micro)], |_| Ok(())).optional()?;
    Ok(found.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Folder, measurement, outcomes};
    use crate::trial::Outcome;

    fn probe(precision: Precision, micro_batch_size: usize, outcome: Outcome) -> ProbeRecord {
        ProbeRecord { precision, micro_batch_size, outcome, measurement: measurement(2.0 / 3.0) }
    }

    #[test]
    fn probes_are_read_back_in_the_order_of_recording() {
        let folder = Folder::new();
        let probes: Vec<ProbeRecord> = outcomes()
            .into_iter()
            .zip([8, 4, 16, 1, 2, 7, 3, 5])
            .map(|(outcome, micro)| probe(Precision::F32, micro, outcome))
            .chain([probe(Precision::Bf16, 8, Outcome::Finished)])
            .collect();
        for probe in &probes {
            folder.open().record_probe(probe).unwrap();
        }
        assert_eq!(folder.open().probes().unwrap(), probes);
    }

    #[test]
    fn a_setting_is_probed_once() {
        let folder = Folder::new();
        let store = folder.open();
        let first = probe(Precision::F32, 8, Outcome::Finished);
        store.record_probe(&first).unwrap();
        let error = store.record_probe(&probe(Precision::F32, 8, Outcome::Diverged { step: 1 })).unwrap_err();
        assert!(error.to_string().starts_with("f32 at micro-batch 8 was already probed"), "{error}");
        assert_eq!(store.probes().unwrap(), [first]);
        assert_eq!(folder.ask::<i64>("SELECT count(*) FROM measurement"), 1);
    }
}
