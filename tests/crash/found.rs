//! What a study found, to the last bit, and the comparison with the study that nobody disturbed.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use diapason::files::UNFINISHED;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::common::TinyStudy;
use crate::running::{Running, study};

/// Enough for the loss to rise again.
pub(crate) const EPOCHS: i64 = 30;

/// Finishes a study that was stopped, and holds it against the one that was not.
pub(crate) fn check_finishes_as_if_nothing_had_happened(study: &TinyStudy, moment: &str) {
    check_finishes_as(undisturbed(), study, moment);
}

/// The same against another study that was never disturbed.
pub(crate) fn check_finishes_as(undisturbed: &Undisturbed, study: &TinyStudy, moment: &str) {
    let before = ended_rungs(study);
    let found = result(&Running::start(study).end().json());
    assert_eq!(found, undisturbed.result, "{moment}");
    assert_eq!(curves(study), undisturbed.curves, "{moment}");
    let after = ended_rungs(study);
    for rung in &before {
        assert!(after.contains(rung), "{moment}: {rung} was run again: {after:?}");
    }
    let half_written =
        |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(UNFINISHED);
    assert_eq!(study.files().into_iter().find(half_written), None, "{moment}");
}

/// The study that was never disturbed.
pub(crate) struct Undisturbed {
    result: Value,
    curves: Vec<String>,
    pub(crate) duration: Duration,
}

pub(crate) fn undisturbed() -> &'static Undisturbed {
    static ONCE: OnceLock<Undisturbed> = OnceLock::new();
    ONCE.get_or_init(|| Undisturbed::of(&study(EPOCHS)))
}

impl Undisturbed {
    pub(crate) fn of(study: &TinyStudy) -> Self {
        let started = Instant::now();
        let summary = Running::start(study).end().json();
        Self { result: result(&summary), curves: curves(study), duration: started.elapsed() }
    }

    /// How many runs by other seeds it took.
    pub(crate) fn confirmations(&self) -> usize {
        self.result["confirmation"]["runs"].as_array().map_or(0, Vec::len)
    }
}

/// A summary without what a clock or a folder's name decides.
fn result(summary: &Value) -> Value {
    let each = |list: &str, keys: &[&str]| -> Vec<Value> {
        let rows = summary[list].as_array().unwrap().iter();
        rows.flat_map(|row| keys.iter().map(|key| row[*key].clone())).collect()
    };
    json!({
        "trials": summary["trials"],
        "best": summary["best"],
        "confirmation": summary["confirmation"],
        "stopped": summary["stopped"],
        "test_loss_nats": summary["test_loss_nats"],
        "quantized": each("quantized", &["type", "test_loss_nats", "bytes"]),
        "frontier": each("frontier", &["precision", "max_micro_batch"]),
    })
}

/// All that training measured.
fn curves(study: &TinyStudy) -> Vec<String> {
    let losses = |(table, run, seed): (&str, &str, &str)| {
        format!(
            "SELECT concat_ws(' ', '{table}', trial, rung, {seed}, step, format('%!.17g', loss_nats)) AS line
             FROM {run} JOIN {table} USING (measurement)"
        )
    };
    let parts = [
        ("step", "rung", "'own'"),
        ("eval", "rung", "'own'"),
        ("step", "confirmation", "seed"),
        ("eval", "confirmation", "seed"),
    ];
    let examples = "SELECT concat_ws(' ', 'examples', trial, rung, seed, nats, tokens) AS line
                    FROM confirmation JOIN examples USING (measurement)";
    ask(study, &format!("{} UNION ALL {examples} ORDER BY line", parts.map(losses).join(" UNION ALL ")))
}

/// The ended rungs, with when and at which attempt.
pub(crate) fn ended_rungs(study: &TinyStudy) -> Vec<String> {
    ask(
        study,
        "SELECT concat_ws(' ', trial, rung, attempts, outcome, started_at, ended_at) AS line FROM rung
             JOIN measurement ON measurement.id = measurement WHERE ended_at IS NOT NULL
         UNION ALL
         SELECT concat_ws(' ', trial, rung, seed, attempts, outcome, started_at, ended_at) AS line
             FROM confirmation JOIN measurement ON measurement.id = measurement WHERE ended_at IS NOT NULL
         ORDER BY line",
    )
}

/// How many rungs were started more than once.
pub(crate) fn cut_rungs(study: &TinyStudy) -> usize {
    let sql = "SELECT 'cut' FROM rung WHERE attempts > 1
               UNION ALL SELECT 'cut' FROM confirmation WHERE attempts > 1";
    ask(study, sql).len()
}

/// Each line of a query's answer; none where the database was not yet made.
fn ask(study: &TinyStudy, sql: &str) -> Vec<String> {
    let Ok(database) = Connection::open(study.path("results/study.db")) else { return vec![] };
    let Ok(mut statement) = database.prepare(sql) else { return vec![] };
    let lines = statement.query_map([], |row| row.get(0)).unwrap();
    lines.map(Result::unwrap).collect()
}
