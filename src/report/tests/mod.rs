//! The written report, for a realistic study and for every degenerate one.

mod example;
mod written;

use std::fs;
use std::path::Path;

use self::example::{empty, probe, refused_probe, study, with_trials};
use self::written::{plots, written};
use super::{ConfirmationTable, ContestRow, QuantizedRow, Setting, write};
use crate::space::Precision;
use crate::trial::{Confirmation, FailureClass, History, NoiseSample, Outcome, Power, RungRecord, Slowdown};
use crate::units::Bytes;

#[test]
fn a_study_gives_a_page_and_seven_plots() {
    let written = written("study", &study());
    let expected = [
        "full-run",
        "learning-curves",
        "learning-rate",
        "memory",
        "size-and-loss",
        "throughput",
        "trial-history",
    ];
    assert_eq!(written.names(), expected);
}

#[test]
fn the_page_shows_the_numbers_it_was_given() {
    let report = study();
    let html = written("numbers", &report).html;
    let best = report.history.best().unwrap();
    for shown in [
        "4.912 → <strong>3.871</strong>",
        "−1.041 nats per token",
        "perplexity 136 → 48.0",
        "smallest file: q2_k, 5.00 MiB (0.10×), +0.266 nats",
        "<strong>37</strong> <small>f32</small> · <strong>66</strong> <small>bf16</small>",
        &format!("trial {}, validation loss {:.3} at rung 2", best.0.id, best.1),
        "13.4 M",
        "13,370,112 parameters",
        "1,620",
        "1 h 12 min",
        "search-spaces/quickstart/devils-dictionary.csv",
        "sha256:07aa31…9c",
        "under a cap of 1.00 GiB",
        "diverged at step 11",
        "out of memory: 96.0 MiB more than the 971 MiB held",
        "crashed (signal 9): memory allocation of 1048576 bytes failed",
    ] {
        assert!(html.contains(shown), "`{shown}` is missing");
    }
    assert_eq!(html.matches("<span class=\"default\">default</span>").count(), 4);
}

#[test]
fn the_critical_batch_is_shown_for_the_trials_whose_gradients_told_of_it() {
    let mut report = study();
    assert!(!written("no-noise", &report).html.contains("critical batch"));
    let trial = &mut report.history.trials[2];
    for (index, step) in trial.rungs[0].measurement.steps.iter_mut().enumerate() {
        let squared_gradient = if index % 2 == 0 { 0.75 } else { -0.25 };
        step.noise = Some(NoiseSample { squared_gradient, trace: 309.5 });
    }
    trial.rungs[0].measurement.steps.truncate(2);
    let html = written("noise", &report).html;
    assert!(html.contains("critical batch</th>") && html.contains("<td class=\"n\">1,238</td>"));
}

#[test]
fn energy_is_shown_where_a_card_told_it_with_what_slowed_it() {
    let mut report = study();
    assert!(!written("no-energy", &report).html.contains("energy"));
    for (trial, joules) in [(1, 7200.0), (2, 3600.0)] {
        report.history.trials[trial].rungs[0].measurement.power = Some(Power {
            joules,
            seconds: 60.0,
            mean_sm_mhz: None,
            max_celsius: Some(80 + u32::try_from(trial).unwrap()),
            slowed: vec![Slowdown::PowerCap],
        });
    }
    let html = written("energy", &report).html;
    for shown in [
        "energy</th>",
        "<td class=\"n\">2.00 Wh</td>",
        "3.00 Wh for all trials, 90.0 W on average, 82 °C at the most. At times the card was slowed by: power cap.",
    ] {
        assert!(html.contains(shown), "`{shown}` is missing");
    }
}

#[test]
fn the_confirmation_is_told_with_its_intervals_and_its_runs() {
    let mut report = study();
    assert!(!written("unconfirmed", &report).html.contains("Confirmation"));
    let row =
        |rival, low, high| ContestRow { leader: 2, rival, runs: [2, 1], difference_nats: 0.012, low, high };
    let diverged =
        RungRecord { outcome: Outcome::Diverged { step: 31 }, ..report.history.trials[2].rungs[0].clone() };
    report.confirmation = Some(ConfirmationTable {
        sentence: "trial 2 beats trial 4 by 0.012 ± 0.004 nats".to_owned(),
        contests: vec![row(4, 0.008, 0.016), row(6, -0.001, 0.025), row(7, 0.0, 0.0), row(8, f64::NAN, 0.0)],
        runs: vec![Confirmation { trial: 2, seed: 4711, record: diverged }],
    });
    report.stopped = Some("the time is up".to_owned());
    report.cut_short = Some("the full run was cut short at step 4 of 9".to_owned());
    let html = written("confirmed", &report).html;
    for shown in [
        "Trial 2 beats trial 4 by 0.012 ± 0.004 nats.",
        "0.0080 … 0.0160",
        "−0.0010 … 0.0250",
        "2 and 1",
        "4,711",
        "diverged at step 31",
        "interval of trial 2 against trial 6",
        "stopped: the time is up",
        "the full run was cut short at step 4 of 9",
    ] {
        assert!(html.contains(shown), "`{shown}` is missing");
    }
}

#[test]
fn trials_are_listed_best_first_and_failures_last() {
    let report = study();
    let html = written("sorted", &report).html;
    let table = html.split("<h2>Trials</h2>").nth(1).unwrap();
    let rows: Vec<&str> = table.split("<tr").skip(2).take(report.history.trials.len()).collect();
    assert!(rows[0].contains("· best"), "{}", rows[0]);
    assert!(rows.last().unwrap().contains("crashed") || rows.last().unwrap().contains("diverged"));
}

#[test]
fn a_study_that_has_not_begun_says_so_instead_of_drawing_empty_axes() {
    let written = written("empty", &empty());
    assert!(written.plots.is_empty() && !written.html.contains("<svg role"));
    for shown in [
        "No trial has finished a rung.",
        "No probe has measured memory.",
        "No model has been tested yet.",
        "No full run has been recorded yet.",
        "No trial has been suggested yet.",
        "No micro-batch has been probed.",
    ] {
        assert!(written.html.contains(shown), "`{shown}` is missing");
    }
}

#[test]
fn one_trial_and_one_probe_are_enough_for_a_plot() {
    let mut report = with_trials(1);
    report.probes = vec![probe(Precision::F32, 3)];
    report.frontier.truncate(1);
    report.quantized.clear();
    assert_eq!(written("one", &report).plots.len(), 7);
}

#[test]
fn two_hundred_trials_and_many_batches_stay_legible() {
    let mut report = with_trials(200);
    for trial in &mut report.history.trials {
        trial.hyperparams.batch.micro_batch_size = 4 + trial.id as usize % 23;
    }
    assert_eq!(written("many", &report).plots.len(), 7);
}

#[test]
fn when_every_trial_failed_the_table_says_how() {
    let mut report = with_trials(6);
    for trial in &mut report.history.trials {
        trial.rungs.truncate(1);
        trial.rungs[0].outcome = Outcome::TimedOut { seconds: 60, stderr_tail: String::new() };
        trial.rungs[0].measurement.evals.clear();
    }
    report.best = None;
    let written = written("all-failed", &report);
    assert_eq!(written.names(), ["memory", "size-and-loss", "throughput"]);
    assert_eq!(written.html.matches("timed out after 60 s of silence").count(), 6);
}

#[test]
fn equal_values_are_drawn_on_a_range_that_is_not_empty() {
    let mut report = with_trials(8);
    for trial in &mut report.history.trials {
        trial.hyperparams.learning_rate = 1e-4;
        trial.rungs.truncate(1);
        trial.rungs[0].outcome = Outcome::Finished;
        trial.rungs[0].measurement.steps.iter_mut().for_each(|step| step.loss_nats = 2.0);
        trial.rungs[0].measurement.evals.truncate(1);
        trial.rungs[0].measurement.evals.iter_mut().for_each(|eval| eval.loss_nats = 2.0);
    }
    report.best = Some(0);
    report.probes = vec![probe(Precision::Bf16, 4); 5];
    for row in &mut report.quantized {
        (row.bytes, row.test_loss_nats) = (Bytes::mib(51), 3.8714);
    }
    assert_eq!(written("equal", &report).plots.len(), 7);
}

#[test]
fn absurd_numbers_neither_panic_nor_loop() {
    for value in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300, f64::MIN_POSITIVE] {
        let mut report = with_trials(4);
        for trial in &mut report.history.trials {
            trial.hyperparams.learning_rate = value;
            let measurements = trial.rungs.iter_mut().map(|record| &mut record.measurement);
            for measurement in measurements {
                measurement.steps.iter_mut().for_each(|step| (step.loss_nats, step.seconds) = (value, value));
                measurement.evals.iter_mut().for_each(|eval| eval.loss_nats = value);
            }
        }
        for probe in &mut report.probes {
            probe.micro_batch_size = usize::MAX;
            probe.measurement.peaks.iter_mut().for_each(|peak| peak.peak_bytes = Bytes(u64::MAX));
            probe.measurement.steps.iter_mut().for_each(|step| step.seconds = value);
        }
        report.quantized.iter_mut().for_each(|row| (row.bytes, row.test_loss_nats) = (Bytes(0), value));
        report.provenance.cap = Some(Bytes(u64::MAX));
        report.provenance.wall_seconds = value;
        written("absurd", &report);
    }
}

#[test]
fn a_loss_far_above_the_others_is_put_at_the_edge_and_counted() {
    let mut report = study();
    report.history.trials[1].rungs[0].measurement.evals.iter_mut().for_each(|eval| eval.loss_nats = 5000.0);
    let written = written("outlier", &report);
    assert!(written.plot("trial-history").contains("higher than shown (1)"));
    assert!(!written.plot("trial-history").contains("5,000"));
    assert!(written.html.contains("5,000.000"), "the table tells the true loss");
}

#[test]
fn the_cap_the_refusals_and_the_knees_are_named_in_the_legends() {
    let written = written("legends", &study());
    for name in ["cap 1.00 GiB", "f32 out of memory", "bf16 out of memory"] {
        assert!(written.plot("memory").contains(name), "`{name}` is missing");
    }
    for name in ["f32 saturates at 8", "bf16 saturates at 16"] {
        assert!(written.plot("throughput").contains(name), "`{name}` is missing");
    }
    assert!(written.plot("size-and-loss").contains("base model at 4.912"));
}

#[test]
fn three_precisions_are_told_apart_by_form_and_in_the_legends() {
    let mut report = study();
    report.probes.extend([
        probe(Precision::F16, 4),
        probe(Precision::F16, 9),
        refused_probe(Precision::F16, 70),
    ]);
    for (trial, precision) in report.history.trials.iter_mut().zip(Precision::ALL.into_iter().cycle()) {
        trial.hyperparams.precision = precision;
    }
    let written = written("three-precisions", &report);
    for name in ["memory", "throughput", "learning-rate"] {
        let legend: Vec<bool> =
            Precision::ALL.map(|precision| written.plot(name).contains(&format!("\n{precision}\n"))).to_vec();
        assert_eq!(legend, [true; 3], "{name}");
    }
    assert!(written.plot("memory").contains("f16 out of memory"));
}

#[test]
fn a_best_trial_the_history_lacks_is_not_invented() {
    let mut report = study();
    report.best = Some(999);
    assert!(written("unknown-best", &report).html.contains("No trial has been chosen."));
}

#[test]
fn hostile_names_are_escaped_everywhere() {
    let hostile = "</style><script>alert(1)</script>\"'&\u{1}\u{1b}";
    let mut report = study();
    report.study = hostile.to_owned();
    report.data.source = hostile.to_owned();
    report.settings.push(Setting { key: hostile.to_owned(), value: hostile.to_owned(), is_default: true });
    report.quantized.push(QuantizedRow {
        gguf_type: hostile.to_owned(),
        path: hostile.to_owned(),
        bytes: Bytes::mib(20),
        test_loss_nats: 4.2,
    });
    report.history.trials[0].rungs[0].outcome =
        Outcome::Failed { class: FailureClass::Data, message: hostile.to_owned() };
    let written = written("hostile", &report);
    assert!(written.html.contains("&lt;script&gt;"));
    assert!(written.plot("size-and-loss").contains("&lt;/style&gt;"));
    assert!(!written.plot("size-and-loss").contains('\u{1}'));
}

#[test]
fn a_precision_in_which_nothing_fits_is_said_to_fit_nothing() {
    let mut report = study();
    report.frontier.clear();
    report.probes = vec![refused_probe(Precision::F32, 1)];
    report.history = History::default();
    let written = written("nothing-fits", &report);
    assert!(written.html.contains("no micro-batch fits"));
    assert!(written.names().contains(&"memory") && !written.names().contains(&"throughput"));
}

#[test]
fn a_largest_size_that_met_no_boundary_is_called_a_lower_bound() {
    let mut report = study();
    for row in &mut report.frontier {
        row.is_lower_bound = true;
    }
    let html = written("unbounded", &report).html;
    assert!(html.contains("≥ <strong>37</strong>") && html.contains("the search ended there"));
    assert!(!written("bounded", &study()).html.contains('≥'));
}

#[test]
fn a_plot_of_an_earlier_report_does_not_outlive_its_data() {
    let folder = tempfile::tempdir().unwrap();
    write(&study(), folder.path()).unwrap();
    write(&empty(), folder.path()).unwrap();
    assert!(plots(&folder.path().join("plots")).is_empty());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plots"), "a file in the way").unwrap();
    let error = write(&study(), folder.path()).unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains("plots") && error.contains("hint"), "{error}");
}

#[test]
fn the_same_study_gives_the_same_bytes() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let read = |folder: &Path| fs::read_to_string(write(&study(), folder).unwrap()).unwrap();
    assert_eq!(read(first.path()), read(second.path()));
}

#[test]
fn a_model_that_got_worse_is_not_praised() {
    let mut report = study();
    if let Some(tuned) = &mut report.tuned {
        tuned.test_loss_nats = 5.5;
    }
    let html = written("worse", &report).html;
    assert!(html.contains("+0.588 nats per token: no improvement"));
}
