//! Foreign trainers, in the shape of shell scripts: the whole tuner, and what can go wrong.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use diapason::store::Store;
use diapason::trial::Outcome;
use toml::{Table, Value as Toml};

use crate::common::{Ran, TinyStudy};

/// Its loss is the learning rate, and five examples fit.
const WHOLE: &str = r#"
task=$1 folder=$2 stop=$3 best=$4 model=$5 rate=$6 micro=$7
say() { printf '%s\n' "$1"; }
say "Loading weights... 100%"
say '{"event":"started","device":"a shell"}'
if [ $task = probe ]; then
    [ $micro -gt 5 ] && say '{"event":"out_of_memory"}' && exit 0
    say '{"event":"memory","phase":"backward","peak_bytes":'$((micro * 1000000))'}'
    say '{"event":"step","step":1,"loss_nats":4,"tokens":100,"seconds":0.1}'
    say '{"event":"finished"}'; exit 0
fi
say '{"event":"step","step":'$stop',"loss_nats":'$rate',"tokens":100}'
say '{"event":"eval","step":'$stop',"loss_nats":'$rate'}'
mkdir -p "$folder" "$best"; cp "$model"/* "$best"; say '{"event":"finished"}'
"#;

/// The placeholders in the order of a script's arguments.
const ARGUMENTS: [&str; 7] = [
    "{task}",
    "{checkpoint}",
    "{stop_at_step}",
    "{best}",
    "{model}",
    "{learning_rate}",
    "{micro_batch_size}",
];

/// A study whose trainer is `script`, in a file beside the study file.
fn study(script: &str) -> TinyStudy {
    let study = TinyStudy::new().set("space.precision", "f32").set("quantize.types", "q8_0");
    study.write("train.sh", script.as_bytes());
    let words = ["sh", "train.sh"].into_iter().chain(ARGUMENTS).map(Toml::from);
    study.set("trainer.command", words.collect::<Vec<Toml>>())
}

/// The same with data of its own: 60 examples, a name that is no path, and one full run for each trial.
fn own(script: &str) -> TinyStudy {
    let mut study = study(script).set("trainer.examples", 60).set("trainer.probes", false);
    study = study.set("trainer.metrics_file", "{checkpoint}/metrics.jsonl").set("search.rungs", 1);
    study = study
        .set("quantize", Table::new())
        .set("data.source", "owner/data")
        .set("model.source", "owner/model");
    let space = "micro_batch_size = [2, 4]\nlearning_rate = { low = 1e-3, high = 1e-2, log = true }";
    study.set("space", space.parse::<Table>().unwrap())
}

fn outcomes(study: &TinyStudy) -> Vec<Outcome> {
    let store = Store::open_read_only(&study.path("results/study.db")).unwrap();
    let trials = store.history().unwrap().trials;
    trials.iter().filter_map(|trial| Some(trial.last()?.outcome.clone())).collect()
}

fn check(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{}", ran.stderr);
    for words in words {
        assert!(ran.stderr.contains(words), "`{words}` is not in: {}", ran.stderr);
    }
}

#[test]
fn a_trainer_of_a_few_lines_gets_the_whole_tuner() {
    let study = study(WHOLE);
    let ran = study.run(&["run", "--json"]);
    let summary = ran.json();
    assert_eq!(summary["frontier"][0]["max_micro_batch"], 5, "{summary}");
    assert_eq!(summary["frontier"][0]["boundary"], "refused");
    assert_eq!(summary["trials"]["finished"], 3, "{summary}");
    assert!(summary["device"].as_str().unwrap().starts_with("a shell"), "{summary}");
    // The scripts copy the base model, which this program then judges and quantizes.
    let losses = &summary["test_loss_nats"];
    assert!(losses["base"].as_f64().is_some() && losses["base"] == losses["tuned"], "{losses}");
    assert_eq!(summary["quantized"][0]["type"], "q8_0");
    assert!(study.path("results/report.html").is_file());
}

#[test]
fn a_program_that_only_writes_metrics_is_tuned_on_data_of_its_own() {
    let script = r#"folder=$2 stop=$3 best=$4; mkdir -p "$folder" "$best"; echo "$5 $6 $7" > "$best/weights"
        echo '{"step":'$stop',"loss":'$6'}' >> "$folder/metrics.jsonl"
        echo '{"step":'$stop',"eval_loss":'$6'}' >> "$folder/metrics.jsonl"; pwd > started-in"#;
    let study = own(script);
    let ran = study.run(&["run"]);
    check(
        &ran,
        0,
        &[
            "the trainer's own: 60 examples",
            "left out: the largest micro-batch",
            "left out: GGUF files and test losses",
        ],
    );
    let summary = study.run(&["status", "--json"]).json();
    assert_eq!(summary["trials"]["finished"], 3, "{summary}");
    let best = &summary["best"];
    assert_eq!(
        best["eval_loss_nats"], best["hyperparameters"]["learning_rate"],
        "the loss is the rate: {best}"
    );
    let left = fs::read_to_string(study.path("results/model/weights")).unwrap();
    assert!(left.starts_with("owner/model 0.00"), "the model is the trainer's own business: {left}");
    assert!(study.path("started-in").is_file(), "it is started in the folder of the study file");
    let page = fs::read_to_string(study.path("results/report.html")).unwrap();
    assert!(page.contains("60 examples an epoch"), "{page}");
}

#[test]
fn a_full_run_that_is_cut_counts_with_what_the_trainer_has_left() {
    // The second rung of a trial is its full run, which goes on for ever.
    let script = |leaves: &str| {
        format!(
            r#"folder=$2 stop=$3 best=$4; mkdir -p "$folder"
            tell() {{ echo '{{"step":'$1',"eval_loss":2.5}}' >> "$folder/metrics.jsonl"; }}
            [ -e "$folder/metrics.jsonl" ] || {{ tell $stop; exit 0; }}
            {leaves}; tell $((stop - 1)); sleep 300"#
        )
    };
    let cut = |leaves: &str| {
        let study = own(&script(leaves)).set("search.rungs", 2);
        let ran = study.run(&["run", "--for", "20s"]);
        check(&ran, 4, &["cut off: its time is up", "the full run was cut short at step", "trainer's own"]);
        (study, ran.stderr)
    };
    let (study, told) = cut("mkdir -p $best; echo mine > $best/weights");
    assert!(!told.contains("is all there is"), "{told}");
    assert_eq!(fs::read_to_string(study.path("results/model/weights")).unwrap(), "mine\n");
    let (study, told) = cut(":");
    assert!(
        told.contains("before the trainer had left a model") && told.contains("is all there is"),
        "{told}"
    );
    assert!(!study.path("results/model").exists());
    assert!(study.path("results/report.html").is_file());
}

#[test]
fn a_trainer_that_always_dies_stops_the_study_with_its_own_words() {
    let script =
        "[ $1 = probe ] && echo '{\"event\":\"finished\"}' && exit 0; echo 'no such tokenizer' >&2; exit 3";
    let study = study(script);
    check(&study.run(&["run"]), 2, &["all failed", "exit code 3", "no such tokenizer"]);
    assert!(outcomes(&study).iter().all(|end| matches!(end, Outcome::Crashed { exit_code: Some(3), .. })));
    let study = self::study("echo 'no module named torch' >&2; exit 1");
    check(&study.run(&["run"]), 1, &["the probe of micro-batch 1", "no module named torch"]);
}

#[test]
fn a_trial_that_dies_prints_garbage_or_writes_half_a_line_does_not_end_the_study() {
    let faulty = r#"
        printf '\377\376\0garbage\n{"event":\n[1]\n{"event":"step"}\n'
        n=$(cat count 2>/dev/null || echo 0); echo $((n + 1)) > count
        mkdir -p "$2"
        [ $n = 0 ] && printf '{"step":1,"eval_loss":5.0}\n{"step":2,"eval_l' >> "$2/metrics.jsonl" && kill -9 $$
        [ $n = 1 ] && echo '{"step":1,"loss":NaN}' >> "$2/metrics.jsonl" && sleep 60
        echo '{"step":'$3',"eval_loss":'$6'}' >> "$2/metrics.jsonl""#;
    let study = own(faulty).set("search.trials", 5);
    let ran = study.run(&["run"]);
    check(&ran, 0, &["crashed", "diverged"]);
    let outcomes = outcomes(&study);
    assert!(matches!(outcomes[0], Outcome::Crashed { signal: Some(9), .. }), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Diverged { step: 1 });
    assert!(outcomes[2..].iter().all(|outcome| *outcome == Outcome::Finished), "{outcomes:?}");
    let store = Store::open_read_only(&study.path("results/study.db")).unwrap();
    let told = &store.history().unwrap().trials[0].rungs[0].measurement.evals;
    assert_eq!(told.iter().map(|eval| eval.step).collect::<Vec<_>>(), [1], "what it told before it died");
}

#[test]
fn a_trainer_that_can_not_be_started_is_named() {
    let study = study(WHOLE).set("trainer.command", vec![Toml::from("no-such-python")]);
    check(
        &study.run(&["run"]),
        1,
        &["`no-such-python` of `trainer.command` can't be started", "No such file"],
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_trainer_may_hold_what_the_study_allows_and_dies_with_the_driver() {
    let study = study("ulimit -d > limit; echo $$ > pid; sleep 60");
    let mut driver = study.start(&["run"]);
    let began = Instant::now();
    let pid = loop {
        match fs::read_to_string(study.path("pid")) {
            Ok(pid) if pid.ends_with('\n') => break pid,
            _ if began.elapsed() > Duration::from_mins(1) => panic!("it was not started"),
            _ => thread::sleep(Duration::from_millis(20)),
        }
    };
    // 256 MiB less the margin of probes, in KiB.
    assert_eq!(fs::read_to_string(study.path("limit")).unwrap().trim(), (248 * 1024).to_string());
    driver.kill().unwrap();
    driver.wait().unwrap();
    let is_alive = || {
        let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
        status.contains("State:") && !status.contains("zombie")
    };
    while is_alive() {
        assert!(began.elapsed() < Duration::from_mins(1), "it outlives the driver");
        thread::sleep(Duration::from_millis(20));
    }
}
