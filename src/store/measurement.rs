//! What a child measured: rows of `measurement`, `step`, `eval`, `peak`, `speed` and `examples`.

use rusqlite::{Connection, Row, params};

use super::columns::{Count, Json, Real};
use super::condensed;
use crate::trial::{
    EvalPoint, Event, ExampleLosses, Measurement, NoiseSample, Outcome, Phase, PhasePeak, Power, SpeedPoint,
    StepPoint,
};
use crate::units::Bytes;

/// Opens an empty measurement and returns its number.
pub(super) fn open(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("INSERT INTO measurement DEFAULT VALUES")?.insert([])
}

/// Adds what an event measured; a step that is already there is overwritten.
pub(super) fn add(connection: &Connection, id: i64, event: &Event) -> rusqlite::Result<()> {
    match event {
        Event::Started { device, version, resumed_at_step, overhead_bytes, .. } => {
            set_origin(connection, id, device, version, *overhead_bytes)?;
            forget_after(connection, id, *resumed_at_step)
        }
        Event::Step(step) => put_step(connection, id, step),
        Event::Eval(eval) => put_eval(connection, id, eval),
        Event::Memory { phase, peak_bytes, reserved_bytes, .. } => {
            raise_peak(connection, id, *phase, *peak_bytes)?;
            raise_reserved(connection, id, *reserved_bytes)
        }
        Event::Timed(speed) => put_speed(connection, id, speed),
        Event::Examples(examples) => put_examples(connection, id, examples),
        Event::Power(power) => set_power(connection, id, power),
        Event::Checkpoint { step, .. } => set_checkpoint(connection, id, *step),
        // A last word is the outcome.
        Event::Finished | Event::OutOfMemory { .. } | Event::Diverged { .. } | Event::Failed { .. } => Ok(()),
    }
}

/// Adds all of a measurement that was folded elsewhere.
pub(super) fn add_all(connection: &Connection, id: i64, whole: &Measurement) -> rusqlite::Result<()> {
    set_origin(connection, id, &whole.device, &whole.version, whole.overhead_bytes)?;
    for step in &whole.steps {
        put_step(connection, id, step)?;
    }
    for eval in &whole.evals {
        put_eval(connection, id, eval)?;
    }
    for speed in &whole.timed {
        put_speed(connection, id, speed)?;
    }
    for peak in &whole.peaks {
        raise_peak(connection, id, peak.phase, peak.peak_bytes)?;
    }
    raise_reserved(connection, id, whole.reserved_bytes)?;
    whole.power.as_ref().map_or(Ok(()), |power| set_power(connection, id, power))?;
    whole.examples.as_ref().map_or(Ok(()), |examples| put_examples(connection, id, examples))
}

/// Ends a measurement; from here on its rows never change.
pub(super) fn end(connection: &Connection, id: i64, outcome: &Outcome) -> rusqlite::Result<()> {
    let sql = "UPDATE measurement
               SET outcome_detail = ?2, ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![id, outcome])?;
    condensed::write(connection, id)
}

/// Reads a measurement, running or ended.
pub(super) fn read(connection: &Connection, id: i64) -> rusqlite::Result<Measurement> {
    let mut own = connection.prepare_cached("SELECT * FROM measurement WHERE id = ?1")?;
    let own = own.query_row([id], |row| {
        Ok(Measurement {
            device: row.get("device")?,
            version: row.get("version")?,
            overhead_bytes: row.get::<_, Option<Count<u64>>>("overhead_bytes")?.map(bytes),
            reserved_bytes: row.get::<_, Option<Count<u64>>>("reserved_bytes")?.map(bytes),
            power: row.get::<_, Option<Json<Power>>>("power")?.map(|Json(power)| power),
            ..Measurement::default()
        })
    })?;
    Ok(Measurement {
        steps: rows(connection, "SELECT * FROM step WHERE measurement = ?1 ORDER BY step", id, step)?,
        evals: evals_of(connection, id)?,
        peaks: rows(connection, "SELECT * FROM peak WHERE measurement = ?1 ORDER BY rowid", id, peak)?,
        timed: rows(
            connection,
            "SELECT * FROM speed WHERE measurement = ?1 ORDER BY micro_batch_size DESC",
            id,
            speed,
        )?,
        examples: examples_of(connection, id)?,
        ..own
    })
}

/// Its evaluations in the order of steps.
pub(super) fn evals_of(connection: &Connection, id: i64) -> rusqlite::Result<Vec<EvalPoint>> {
    rows(connection, "SELECT * FROM eval WHERE measurement = ?1 ORDER BY step", id, eval)
}

/// What the last evaluation lost, example by example.
pub(super) fn examples_of(connection: &Connection, id: i64) -> rusqlite::Result<Option<ExampleLosses>> {
    Ok(rows(connection, "SELECT * FROM examples WHERE measurement = ?1", id, examples)?.pop())
}

fn set_origin(
    connection: &Connection,
    id: i64,
    device: &str,
    version: &str,
    overhead: Option<Bytes>,
) -> rusqlite::Result<()> {
    let sql = "UPDATE measurement SET device = ?2, version = ?3, overhead_bytes = ?4, checkpoint_step = NULL
               WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![id, device, version, overhead.map(count)])?;
    Ok(())
}

pub(super) const fn bytes(count: Count<u64>) -> Bytes {
    Bytes(count.0)
}

const fn count(bytes: Bytes) -> Count<u64> {
    Count(bytes.0)
}

fn raise_reserved(connection: &Connection, id: i64, reserved: Option<Bytes>) -> rusqlite::Result<()> {
    let Some(reserved) = reserved else { return Ok(()) };
    let sql = "UPDATE measurement SET reserved_bytes = max(coalesce(reserved_bytes, 0), ?2) WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![id, count(reserved)])?;
    Ok(())
}

/// As of the beginning of the run, so the last one holds.
fn set_power(connection: &Connection, id: i64, power: &Power) -> rusqlite::Result<()> {
    let sql = "UPDATE measurement SET power = ?2 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![id, Json(power)])?;
    Ok(())
}

/// The row that makes the transaction of a checkpoint one that is written, and so all before it durable.
fn set_checkpoint(connection: &Connection, id: i64, step: usize) -> rusqlite::Result<()> {
    let sql = "UPDATE measurement SET checkpoint_step = ?2 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![id, Count(step)])?;
    Ok(())
}

/// Drops what an earlier attempt measured after the checkpoint from which the child goes on: the
/// run that is recorded is then one run, even if it ends sooner this time.
fn forget_after(connection: &Connection, id: i64, resumed_at_step: usize) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM step WHERE measurement = ?1 AND step > ?2",
        "DELETE FROM eval WHERE measurement = ?1 AND step > ?2",
        // They belong to the last step of the rung: a child that has it in its checkpoint says them again.
        "DELETE FROM examples WHERE measurement = ?1 AND ?2 >= 0",
    ] {
        connection.prepare_cached(sql)?.execute(params![id, Count(resumed_at_step)])?;
    }
    Ok(())
}

fn put_step(connection: &Connection, id: i64, step: &StepPoint) -> rusqlite::Result<()> {
    let sql = "INSERT INTO step (measurement, step, loss_nats, learning_rate, grad_norm, tokens, seconds,
                   update_ratio, noise_squared_gradient, noise_trace)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               ON CONFLICT (measurement, step) DO UPDATE SET
                   loss_nats = excluded.loss_nats, learning_rate = excluded.learning_rate,
                   grad_norm = excluded.grad_norm, tokens = excluded.tokens, seconds = excluded.seconds,
                   update_ratio = excluded.update_ratio, noise_trace = excluded.noise_trace,
                   noise_squared_gradient = excluded.noise_squared_gradient";
    connection.prepare_cached(sql)?.execute(params![
        id,
        Count(step.step),
        Real(step.loss_nats),
        Real(step.learning_rate),
        step.grad_norm.map(Real),
        Count(step.tokens),
        Real(step.seconds),
        step.update_ratio.map(Real),
        step.noise.map(|noise| Real(noise.squared_gradient)),
        step.noise.map(|noise| Real(noise.trace)),
    ])?;
    Ok(())
}

fn put_eval(connection: &Connection, id: i64, eval: &EvalPoint) -> rusqlite::Result<()> {
    let sql = "INSERT INTO eval (measurement, step, loss_nats, tokens, seconds) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (measurement, step) DO UPDATE SET
                   loss_nats = excluded.loss_nats, tokens = excluded.tokens, seconds = excluded.seconds";
    connection.prepare_cached(sql)?.execute(params![
        id,
        Count(eval.step),
        Real(eval.loss_nats),
        Count(eval.tokens),
        Real(eval.seconds),
    ])?;
    Ok(())
}

fn put_speed(connection: &Connection, id: i64, speed: &SpeedPoint) -> rusqlite::Result<()> {
    let sql = "INSERT INTO speed (measurement, micro_batch_size, tokens, seconds) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (measurement, micro_batch_size) DO UPDATE SET
                   tokens = excluded.tokens, seconds = excluded.seconds";
    let values = params![id, Count(speed.micro_batch_size), Count(speed.tokens), Real(speed.seconds)];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn put_examples(connection: &Connection, id: i64, examples: &ExampleLosses) -> rusqlite::Result<()> {
    let sql = "INSERT INTO examples (measurement, nats, tokens) VALUES (?1, ?2, ?3)
               ON CONFLICT (measurement) DO UPDATE SET nats = excluded.nats, tokens = excluded.tokens";
    connection.prepare_cached(sql)?.execute(params![id, Json(&examples.nats), Json(&examples.tokens)])?;
    Ok(())
}

fn raise_peak(connection: &Connection, id: i64, phase: Phase, peak_bytes: Bytes) -> rusqlite::Result<()> {
    let sql = "INSERT INTO peak (measurement, phase, peak_bytes) VALUES (?1, ?2, ?3)
               ON CONFLICT (measurement, phase) DO UPDATE SET peak_bytes = excluded.peak_bytes
               WHERE excluded.peak_bytes > peak_bytes";
    connection.prepare_cached(sql)?.execute(params![id, phase, Count(peak_bytes.0)])?;
    Ok(())
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    id: i64,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map([id], read)?.collect()
}

pub(super) fn step(row: &Row<'_>) -> rusqlite::Result<StepPoint> {
    let optional = |column| -> rusqlite::Result<Option<f64>> {
        Ok(row.get::<_, Option<Real>>(column)?.map(|value| value.0))
    };
    let noise = |(squared_gradient, trace)| NoiseSample { squared_gradient, trace };
    Ok(StepPoint {
        step: row.get::<_, Count<usize>>("step")?.0,
        loss_nats: row.get::<_, Real>("loss_nats")?.0,
        learning_rate: row.get::<_, Real>("learning_rate")?.0,
        grad_norm: optional("grad_norm")?,
        update_ratio: optional("update_ratio")?,
        noise: optional("noise_squared_gradient")?.zip(optional("noise_trace")?).map(noise),
        tokens: row.get::<_, Count<u64>>("tokens")?.0,
        seconds: row.get::<_, Real>("seconds")?.0,
    })
}

fn eval(row: &Row<'_>) -> rusqlite::Result<EvalPoint> {
    Ok(EvalPoint {
        step: row.get::<_, Count<usize>>("step")?.0,
        loss_nats: row.get::<_, Real>("loss_nats")?.0,
        tokens: row.get::<_, Count<u64>>("tokens")?.0,
        seconds: row.get::<_, Real>("seconds")?.0,
    })
}

fn speed(row: &Row<'_>) -> rusqlite::Result<SpeedPoint> {
    Ok(SpeedPoint {
        micro_batch_size: row.get::<_, Count<usize>>("micro_batch_size")?.0,
        tokens: row.get::<_, Count<u64>>("tokens")?.0,
        seconds: row.get::<_, Real>("seconds")?.0,
    })
}

fn peak(row: &Row<'_>) -> rusqlite::Result<PhasePeak> {
    Ok(PhasePeak { phase: row.get("phase")?, peak_bytes: Bytes(row.get::<_, Count<u64>>("peak_bytes")?.0) })
}

fn examples(row: &Row<'_>) -> rusqlite::Result<ExampleLosses> {
    Ok(ExampleLosses { nats: row.get::<_, Json<_>>("nats")?.0, tokens: row.get::<_, Json<_>>("tokens")?.0 })
}
