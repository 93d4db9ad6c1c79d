//! Probes of the batch-size search, in the order they ended.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::Count;
use super::error::{Fault, StoreError};
use super::{Store, measurement};
use crate::space::HardwareSetting;
use crate::trial::ProbeRecord;
use crate::units::Bytes;

impl Store {
    /// Records an ended probe with all it measured.
    ///
    /// # Errors
    /// [`StoreError::ProbeRepeated`] if this size of the setting was recorded before.
    pub fn record_probe(&self, probe: &ProbeRecord) -> Result<(), StoreError> {
        let ProbeRecord { setting, micro_batch_size, eval_micro_batch_size, budget, .. } = *probe;
        self.write(|connection| {
            if is_recorded(connection, setting, micro_batch_size)? {
                return Err(StoreError::ProbeRepeated { setting, micro_batch_size }.into());
            }
            let id = measurement::open(connection)?;
            measurement::add_all(connection, id, &probe.measurement)?;
            measurement::end(connection, id, &probe.outcome)?;
            let sql = "INSERT INTO probe (precision, max_length, gradient_checkpointing, lora_rank,
                           micro_batch_size, eval_micro_batch_size, budget_bytes, measurement)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let HardwareSetting { precision, max_length, gradient_checkpointing, lora_rank } = setting;
            connection.execute(
                sql,
                params![
                    precision,
                    max_length.map(Count),
                    gradient_checkpointing,
                    lora_rank.map(Count),
                    Count(micro_batch_size),
                    Count(eval_micro_batch_size),
                    budget.map(|Bytes(bytes)| Count(bytes)),
                    id
                ],
            )?;
            Ok(())
        })
    }

    /// All probes in the order of recording.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn probes(&self) -> Result<Vec<ProbeRecord>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT probe.*, outcome_detail
                       FROM probe JOIN measurement ON measurement.id = probe.measurement ORDER BY probe.id";
            let mut statement = connection.prepare_cached(sql)?;
            let probes = statement.query_map([], |row| {
                Ok(ProbeRecord {
                    setting: setting(row)?,
                    micro_batch_size: row.get::<_, Count<usize>>("micro_batch_size")?.0,
                    eval_micro_batch_size: row.get::<_, Count<usize>>("eval_micro_batch_size")?.0,
                    budget: row.get::<_, Option<Count<u64>>>("budget_bytes")?.map(|count| Bytes(count.0)),
                    outcome: row.get("outcome_detail")?,
                    measurement: measurement::read(connection, row.get("measurement")?)?,
                })
            })?;
            Ok(probes.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The most a card held for a probe besides tensors.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn probed_overhead(&self) -> Result<Option<Bytes>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT max(overhead_bytes)
                       FROM probe JOIN measurement ON measurement.id = probe.measurement";
            let most =
                connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<Count<u64>>>(0));
            Ok(most?.map(measurement::bytes))
        })
    }
}

fn setting(row: &Row<'_>) -> rusqlite::Result<HardwareSetting> {
    let optional = |column| -> rusqlite::Result<Option<usize>> {
        Ok(row.get::<_, Option<Count<usize>>>(column)?.map(|count| count.0))
    };
    Ok(HardwareSetting {
        precision: row.get("precision")?,
        max_length: optional("max_length")?,
        gradient_checkpointing: row.get("gradient_checkpointing")?,
        lora_rank: optional("lora_rank")?,
    })
}

fn is_recorded(connection: &Connection, of: HardwareSetting, micro: usize) -> Result<bool, Fault> {
    let sql = "SELECT 1 FROM probe WHERE precision = ?1 AND micro_batch_size = ?2 AND max_length IS ?3
                   AND gradient_checkpointing = ?4 AND lora_rank IS ?5";
    let values = params![
        of.precision,
        Count(micro),
        of.max_length.map(Count),
        of.gradient_checkpointing,
        of.lora_rank.map(Count)
    ];
    Ok(connection.query_row(sql, values, |_| Ok(())).optional()?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Precision;
    use crate::store::testing::{Folder, measurement, outcomes};
    use crate::trial::Outcome;
    use crate::units::Bytes;

    fn probe(precision: Precision, micro_batch_size: usize, outcome: Outcome) -> ProbeRecord {
        let setting = HardwareSetting { lora_rank: Some(8), ..HardwareSetting::plain(precision) };
        ProbeRecord {
            setting,
            micro_batch_size,
            eval_micro_batch_size: 3,
            budget: Some(Bytes::gib(2)),
            outcome,
            measurement: measurement(2.0 / 3.0),
        }
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
        let most = probes.iter().filter_map(|probe| probe.measurement.overhead_bytes).max();
        assert!(most.is_some());
        assert_eq!(folder.open().probed_overhead().unwrap(), most);
    }

    #[test]
    fn a_size_of_a_setting_is_probed_once() {
        let folder = Folder::new();
        let store = folder.open();
        assert_eq!(store.probed_overhead().unwrap(), None);
        let first = probe(Precision::F32, 8, Outcome::Finished);
        store.record_probe(&first).unwrap();
        let error = store.record_probe(&probe(Precision::F32, 8, Outcome::Diverged { step: 1 })).unwrap_err();
        assert!(
            error.to_string().starts_with("f32, LoRA r=8 at micro-batch 8 was already probed"),
            "{error}"
        );
        assert_eq!(store.probes().unwrap(), std::slice::from_ref(&first));
        let setting = HardwareSetting { max_length: Some(64), gradient_checkpointing: true, ..first.setting };
        assert_eq!(folder.ask::<i64>("SELECT count(*) FROM measurement"), 1);
        let other = ProbeRecord { setting, budget: None, ..first.clone() };
        store.record_probe(&other).unwrap();
        assert_eq!(store.probes().unwrap(), [first, other]);
    }
}
