//! What an ended measurement sums up to: one row of `ended`, from which a history is read.

use rusqlite::{Connection, Row, params};

use super::columns::{Count, Json, Real};
use super::measurement;
use crate::trial::{EvalPoint, Measurement, Power, Totals};
use crate::units::Bytes;

/// Sums up a measurement that ends.
pub(super) fn write(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    let condensed = measurement::read(connection, id)?.condense();
    let totals = &condensed.condensed;
    let eval = condensed.evals.last();
    let sql = "INSERT INTO ended (measurement, steps, step_seconds, tokens, later_seconds, later_tokens,
                   squared_gradient, trace, evals, seconds, peak_bytes,
                   eval_step, eval_loss_nats, eval_tokens, eval_seconds)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    connection.prepare_cached(sql)?.execute(params![
        id,
        Count(totals.steps),
        Real(totals.step_seconds),
        Count(totals.tokens),
        Real(totals.later_seconds),
        Count(totals.later_tokens),
        Real(totals.squared_gradient),
        Real(totals.trace),
        Count(totals.evals),
        Real(totals.seconds),
        Count(totals.peak_bytes.0),
        eval.map(|eval| Count(eval.step)),
        eval.map(|eval| Real(eval.loss_nats)),
        eval.map(|eval| Count(eval.tokens)),
        eval.map(|eval| Real(eval.seconds)),
    ])?;
    Ok(())
}

/// The columns that [`read`] takes, from `ended` joined with `measurement`.
pub(super) const COLUMNS: &str = "device, version, steps, step_seconds, tokens, later_seconds, later_tokens,
    squared_gradient, trace, evals, seconds, peak_bytes, eval_step, eval_loss_nats, eval_tokens, eval_seconds,
    overhead_bytes, reserved_bytes, power";

/// The measurement without its points, from the columns that begin at `at`: by place, for there are many rows.
pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Measurement> {
    let real = |place: usize| -> rusqlite::Result<f64> { Ok(row.get::<_, Real>(at + place)?.0) };
    let count = |place: usize| -> rusqlite::Result<u64> { Ok(row.get::<_, Count<u64>>(at + place)?.0) };
    let number = |place: usize| -> rusqlite::Result<usize> { Ok(row.get::<_, Count<usize>>(at + place)?.0) };
    let eval = row.get::<_, Option<Count<usize>>>(at + 12)?.map(|step| -> rusqlite::Result<EvalPoint> {
        Ok(EvalPoint { step: step.0, loss_nats: real(13)?, tokens: count(14)?, seconds: real(15)? })
    });
    Ok(Measurement {
        device: row.get(at)?,
        version: row.get(at + 1)?,
        evals: eval.transpose()?.into_iter().collect(),
        overhead_bytes: row.get::<_, Option<Count<u64>>>(at + 16)?.map(measurement::bytes),
        reserved_bytes: row.get::<_, Option<Count<u64>>>(at + 17)?.map(measurement::bytes),
        power: row.get::<_, Option<Json<Power>>>(at + 18)?.map(|Json(power)| power),
        condensed: Totals {
            steps: number(2)?,
            step_seconds: real(3)?,
            tokens: count(4)?,
            later_seconds: real(5)?,
            later_tokens: count(6)?,
            squared_gradient: real(7)?,
            trace: real(8)?,
            evals: number(9)?,
            seconds: real(10)?,
            peak_bytes: Bytes(count(11)?),
        },
        ..Measurement::default()
    })
}
