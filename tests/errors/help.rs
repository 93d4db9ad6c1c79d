//! What the program says about itself.

use crate::common::{Ran, diapason};

fn said(arguments: &[&str]) -> String {
    let ran = Ran::of(diapason(arguments).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    ran.stdout
}

#[test]
fn the_help_of_every_command_says_what_it_is_for() {
    for (command, purpose) in [
        ("run", "fit, tune, full fine-tune, quantize, report"),
        ("fit", "largest micro-batch"),
        ("tune", "learning rate by short trials"),
        ("train", "best configuration"),
        ("eval", "nats per token"),
        ("quantize", "GGUF"),
        ("report", "plots"),
        ("status", "how far a study is"),
        ("doctor", "devices"),
        ("completions", "completion script"),
    ] {
        let help = said(&[command, "--help"]);
        assert!(help.contains(purpose) && help.contains("Usage: diapason"), "{help}");
        assert!(said(&["--help"]).contains(command));
    }
    for code in ["0 done", "2 the command line", "3 nothing fits", "130 interrupted"] {
        assert!(said(&["--help"]).contains(code), "{code}");
    }
    assert_eq!(said(&["--version"]), format!("diapason {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_are_scripts_of_the_shell() {
    for (shell, sign) in
        [("bash", "complete -F _diapason"), ("zsh", "#compdef diapason"), ("fish", "complete -c diapason")]
    {
        assert!(said(&["completions", shell]).contains(sign), "{shell}");
    }
}

#[test]
fn output_that_nobody_reads_is_no_reason_to_panic() {
    for arguments in [&["completions", "bash"][..], &["doctor", "--json", "--quiet"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Ran::of(diapason(arguments).stdout(writer).output().unwrap());
        assert_eq!(ran.code, Some(1));
        assert!(
            ran.stderr.starts_with("error: Broken pipe") && ran.stderr.lines().count() == 1,
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_command_line_that_cannot_be_understood_shows_the_usage() {
    for arguments in [&["run"][..], &["rnu", "study.toml"], &["run", "study.toml", "--jsn"], &[]] {
        let ran = Ran::of(diapason(arguments).output().unwrap());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ran.stderr.contains("Usage: diapason"), "{}", ran.stderr);
    }
}
