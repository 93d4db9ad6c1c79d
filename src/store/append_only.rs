//! Tests that history is append-only against any program, by raw SQL.

use super::testing::{Folder, events, hyperparams, measurement};
use crate::space::{HardwareSetting, Precision};
use crate::trial::{Outcome, ProbeRecord, RunKey};

/// An ended rung (measurement 1), a running one (measurement 2), a probe (measurement 3), an ended
/// confirmation (measurement 4) and a running one (measurement 5).
fn study() -> Folder {
    let folder = Folder::new();
    let store = folder.open();
    store.begin("d", "{}").unwrap();
    store.add_trial(0, &hyperparams(1e-3)).unwrap();
    for rung in 0..2 {
        store.start((0, rung), 10).unwrap();
        store.append((0, rung), &events(&measurement(2.0))).unwrap();
    }
    store.finish((0, 0), &Outcome::Finished).unwrap();
    let probe = ProbeRecord {
        setting: HardwareSetting::plain(Precision::F32),
        micro_batch_size: 8,
        eval_micro_batch_size: 8,
        budget: None,
        outcome: Outcome::Finished,
        measurement: measurement(1.0),
    };
    store.record_probe(&probe).unwrap();
    for seed in [7, 8] {
        let run = RunKey { trial: 0, rung: 0, seed: Some(seed) };
        store.start(run, 10).unwrap();
        store.append(run, &events(&measurement(2.0))).unwrap();
    }
    store.finish(RunKey { trial: 0, rung: 0, seed: Some(7) }, &Outcome::Finished).unwrap();
    folder
}

/// Each statement is refused by a trigger, and what the store reads stays the same.
fn check_refused(statements: &[&str]) {
    let folder = study();
    let all = || {
        let store = folder.open();
        (
            store.identity().unwrap(),
            store.history().unwrap(),
            store.probes().unwrap(),
            store.partial((0, 1)).unwrap(),
            store.confirmations().unwrap(),
        )
    };
    let before = all();
    for sql in statements {
        let refusal = folder.sql(sql).expect_err(sql);
        let is_trigger =
            ["never changes", "recorded once", "never deleted"].iter().any(|end| refusal.ends_with(end));
        assert!(is_trigger, "{sql}: {refusal}");
    }
    assert_eq!(all(), before);
}

#[test]
fn the_rows_of_an_ended_rung_or_probe_are_neither_changed_nor_deleted() {
    for table in ["step", "eval", "peak"] {
        for measurement in [1, 3] {
            check_refused(&[
                &format!("DELETE FROM {table} WHERE measurement = {measurement}"),
                &format!("UPDATE {table} SET measurement = 2 WHERE measurement = {measurement}"),
                &format!("UPDATE OR REPLACE {table} SET measurement = {measurement} WHERE measurement = 2"),
            ]);
        }
    }
    check_refused(&[
        "UPDATE step SET loss_nats = 0 WHERE measurement = 1",
        "UPDATE eval SET loss_nats = 0 WHERE measurement = 3",
        "UPDATE peak SET peak_bytes = 0 WHERE measurement = 1",
        "UPDATE OR REPLACE peak SET rowid = 1 WHERE measurement = 2",
    ]);
}

#[test]
fn no_row_is_added_to_an_ended_rung_or_probe() {
    check_refused(&[
        "INSERT INTO step (measurement, step, tokens) VALUES (1, 99, 1)",
        "INSERT OR REPLACE INTO step (measurement, step, tokens) VALUES (3, 1, 1)",
        "INSERT INTO eval (measurement, step, tokens) VALUES (3, 99, 1)",
        "INSERT OR REPLACE INTO eval (measurement, step, tokens) VALUES (1, 2, 1)",
        "INSERT INTO peak (measurement, phase, peak_bytes) VALUES (1, 'loss', 1)",
        "INSERT OR REPLACE INTO peak (measurement, phase, peak_bytes) VALUES (3, 'load', 1)",
        "INSERT OR REPLACE INTO peak (rowid, measurement, phase, peak_bytes) VALUES (1, 2, 'loss', 1)",
    ]);
}

#[test]
fn an_ended_rung_keeps_its_outcome_and_its_place() {
    check_refused(&[
        "UPDATE measurement SET outcome_detail = '{\"outcome\":\"diverged\",\"step\":1}' WHERE id = 1",
        "UPDATE measurement SET ended_at = NULL, outcome_detail = NULL WHERE id = 1",
        "UPDATE measurement SET device = 'other' WHERE id = 3",
        "UPDATE OR REPLACE measurement SET id = 1 WHERE id = 2",
        "INSERT OR REPLACE INTO measurement (id) VALUES (1)",
        "DELETE FROM measurement WHERE id = 1",
        "UPDATE ended SET eval_loss_nats = 0 WHERE measurement = 1",
        "DELETE FROM ended",
        "INSERT OR REPLACE INTO ended (measurement, steps, tokens, later_tokens, evals, peak_bytes)
             VALUES (1, 0, 0, 0, 0, 0)",
        "INSERT OR REPLACE INTO ended (id, measurement, steps, tokens, later_tokens, evals, peak_bytes)
             VALUES (1, 2, 0, 0, 0, 0, 0)",
        "UPDATE rung SET attempts = 7 WHERE rung = 0",
        "UPDATE rung SET stop_at_step = 7 WHERE rung = 0",
        "UPDATE rung SET measurement = 3 WHERE rung = 1",
        "INSERT OR REPLACE INTO rung (trial, rung, stop_at_step, measurement) VALUES (0, 0, 10, 2)",
        "INSERT OR REPLACE INTO rung (trial, rung, stop_at_step, measurement) VALUES (0, 2, 10, 1)",
        "DELETE FROM rung",
    ]);
}

#[test]
fn an_ended_confirmation_keeps_its_place_and_its_losses() {
    check_refused(&[
        "UPDATE confirmation SET attempts = 7 WHERE seed = 7",
        "UPDATE confirmation SET seed = 9 WHERE seed = 8",
        "UPDATE confirmation SET measurement = 4 WHERE seed = 8",
        "INSERT OR REPLACE INTO confirmation VALUES (0, 0, 7, 10, 1, 2)",
        "INSERT OR REPLACE INTO confirmation VALUES (0, 1, 7, 10, 1, 4)",
        "DELETE FROM confirmation WHERE seed = 8",
        "DELETE FROM examples WHERE measurement = 4",
        "UPDATE examples SET nats = '[]' WHERE measurement = 1",
        "UPDATE OR REPLACE examples SET measurement = 4 WHERE measurement = 5",
        "INSERT OR REPLACE INTO examples VALUES (3, '[]', '[]')",
    ]);
}

#[test]
fn studies_trials_and_probes_are_written_once() {
    check_refused(&[
        "UPDATE study SET digest = 'e'",
        "INSERT OR REPLACE INTO study (id, digest, definition) VALUES (1, 'e', '{}')",
        "DELETE FROM study",
        "UPDATE trial SET learning_rate = 1",
        "INSERT OR REPLACE INTO trial VALUES (0, 'f32', 1, 1, 1.0, '')",
        "DELETE FROM trial",
        "UPDATE probe SET micro_batch_size = 9",
        "INSERT OR REPLACE INTO probe VALUES (1, 'bf16', NULL, 0, NULL, 9, 9, NULL, 2)",
        "INSERT OR REPLACE INTO probe VALUES (NULL, 'f32', NULL, 0, NULL, 8, 8, NULL, 2)",
        "DELETE FROM probe",
    ]);
}

#[test]
fn a_running_rung_still_takes_changes() {
    let folder = study();
    folder.sql("UPDATE step SET loss_nats = 0.5 WHERE measurement = 2").unwrap();
    assert_eq!(folder.open().partial((0, 1)).unwrap().steps[0].loss_nats.to_bits(), 0.5f64.to_bits());
}
