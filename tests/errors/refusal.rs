//! What every refusal has in common.

use crate::common::{Ran, TinyStudy};

/// Runs `diapason ARGUMENTS study.toml` and checks the refusal.
#[track_caller]
pub(crate) fn refused(study: &TinyStudy, arguments: &[&str], code: i32, told: &[&str]) {
    let ran = study.run(arguments);
    check(&ran, code, told);
    let files = study.files();
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let half = |path: &&std::path::PathBuf| {
        let name = name(path);
        name.starts_with(".writing-") || name.starts_with(".tmp") || name == "report.html"
    };
    assert_eq!(files.iter().find(half), None);
    assert!(!study.path("results/model").exists());
}

/// One message that tells all of `told` and a hint; nothing on standard output.
#[track_caller]
pub(crate) fn check(ran: &Ran, code: i32, told: &[&str]) {
    let Ran { stdout, stderr, .. } = ran;
    assert_eq!(ran.code, Some(code), "{stderr}");
    assert_eq!(stdout, "", "{stderr}");
    let errors = stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "{stderr}");
    let message = &stderr[stderr.find("error:").unwrap()..];
    assert_eq!(message.matches("hint: ").count(), 1, "{stderr}");
    for words in told {
        assert!(message.contains(words), "no `{words}` in: {message}");
    }
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 2, "what is wrong, and what would be right: {message}");
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
}
