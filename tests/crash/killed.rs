//! The driver is killed, or asked to stop.

use std::ops::RangeInclusive;
use std::thread;

use rustix::process::{Signal, kill_process_group};

use crate::found::{
    EPOCHS, Undisturbed, check_finishes_as, check_finishes_as_if_nothing_had_happened, cut_rungs, undisturbed,
};
use crate::running::{Running, study, tying_study};

#[test]
fn a_driver_killed_in_any_stage_leaves_no_child_and_loses_nothing() {
    let mut cut = 0;
    for (stage, words) in [
        ("prepare:", "prepare:"),
        ("fit:", "bf16   micro-batch    1"),
        ("tune:", "trial  1 rung 0"),
        ("tune:", "rung 1  bf16"),
        ("tune:", "eval loss"),
        ("train:", "rung 2"),
        ("train:", "eval loss"),
        ("quantize:", "base"),
        ("quantize:", ".gguf"),
    ] {
        let study = study(EPOCHS);
        let mut driver = Running::start(&study);
        driver.wait_for(stage, words);
        if words.contains("rung") {
            driver.wait_for_child();
        }
        driver.kill();
        check_finishes_as_if_nothing_had_happened(&study, &format!("killed at `{words}` of `{stage}`"));
        cut += cut_rungs(&study);
    }
    assert!(cut > 0, "no rung was ever cut");
}

#[test]
fn a_driver_killed_while_it_confirms_goes_on_with_the_same_seed() {
    let undisturbed = Undisturbed::of(&tying_study(EPOCHS));
    assert!(undisturbed.confirmations() >= 2, "the best two are told apart at once");
    let mut cut = 0;
    for words in ["seed 1", "eval loss", "peak"] {
        let study = tying_study(EPOCHS);
        let mut driver = Running::start(&study);
        driver.wait_for("confirm:", words);
        if words == "seed 1" {
            driver.wait_for_child();
        }
        driver.kill();
        check_finishes_as(&undisturbed, &study, &format!("killed at `{words}` of a confirmation"));
        cut += cut_rungs(&study);
    }
    assert!(cut > 0, "no confirmation was ever cut");
}

#[test]
fn a_study_that_is_killed_again_and_again_at_random_loses_nothing() {
    check_killed_at_random(1..=8);
}

#[test]
#[ignore = "minutes: cargo test --release --test crash -- --ignored"]
fn two_hundred_random_instants_lose_nothing() {
    for study in 0..25 {
        check_killed_at_random(8 * study + 1..=8 * study + 8);
    }
}

/// Kills one study at these of a sequence of instants, then finishes it.
fn check_killed_at_random(instants: RangeInclusive<u32>) {
    let study = study(EPOCHS);
    let mut moments = Vec::new();
    // Weyl's sequence: instants that fill the run evenly, the same in every test.
    for n in instants {
        let after = undisturbed().duration.mul_f64((f64::from(n) * 0.618_034).fract() * 0.4);
        let driver = Running::start(&study);
        thread::sleep(after);
        driver.kill();
        moments.push(after);
    }
    check_finishes_as_if_nothing_had_happened(&study, &format!("killed after {moments:?}"));
}

#[test]
fn ctrl_c_says_that_all_is_saved_and_the_same_command_goes_on() {
    let study = study(EPOCHS);
    let mut driver = Running::start(&study);
    driver.wait_for("tune:", "trial  2 rung 0");
    kill_process_group(driver.pid(), Signal::INT).unwrap();
    let ran = driver.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(130), ""), "{}", ran.stderr);
    for words in ["interrupted; everything finished is saved", "the same command goes on from here"] {
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
    check_finishes_as_if_nothing_had_happened(&study, "Ctrl-C");
}
