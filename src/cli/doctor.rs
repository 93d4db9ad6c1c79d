//! `doctor`: the checks as a table, as JSON, or as the file for a bug report.

use std::env;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};

use super::args::DoctorOptions;
use super::progress::Progress;
use super::study::{read, stop_on_interrupt};
use super::{exit, print, print_json};
use crate::doctor::{Check, Order, Report, Secrets, Verdict, bundle, examine};
use crate::executor::Local;
use crate::files::write_bytes;
use crate::hub::Hub;

/// A child on the tiny model speaks every second; the first one on a card loads the driver's libraries.
const SILENCE: Duration = Duration::from_secs(40);
/// Where results of studies go that say nothing else.
const RESULTS: &str = "results";

/// Examines the machine and tells what was found; 1 where something is a problem.
pub(super) fn run(options: &DoctorOptions) -> Result<ExitCode> {
    let study = options.study.as_deref().map(read).transpose()?;
    let (hub, stop) = (Hub::from_env(), stop_on_interrupt()?);
    let folder = study.as_ref().map_or(Path::new(RESULTS), |study| &study.output);
    let order = Order { study: study.as_ref(), folder, hub: &hub };
    let report = examined(order, stop, options.quiet)?;
    let secrets = Secrets::of(variables(), hub.settings().token.as_deref());
    if let Some(file) = &options.bundle {
        let text = serde_json::to_string_pretty(&bundle(&report, variables(), &secrets))? + "\n";
        write_bytes(file, text.as_bytes())
            .with_context(|| format!("{}: can't be written", file.display()))?;
    }
    if options.json {
        let mut value = serde_json::to_value(&report)?;
        secrets.hide_in(&mut value);
        print_json(&value)?;
    } else {
        print(&secrets.hide(&table(&report)))?;
    }
    Ok(exit::of_examination(report.count(Verdict::Problem)))
}

fn examined(order: Order<'_>, stop: Arc<AtomicBool>, quiet: bool) -> Result<Report> {
    let worker = vec!["worker".to_owned()];
    let mut executor = Local::new(env::current_exe()?, worker, SILENCE, stop);
    let mut progress = Progress::new(quiet);
    let mut begins = |title: &str| {
        if quiet {
        } else if io::stderr().is_terminal() {
            progress.spin(title);
        } else {
            progress.line(&format!("  {title} …"));
        }
    };
    let report = examine(order, &mut executor, &mut begins);
    progress.finish();
    Ok(report?)
}

/// The variables that are text.
fn variables() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    };
    env::vars_os().filter_map(text).collect()
}

/// A line for each check, with the fix below what is not in order, and the sum of them.
fn table(report: &Report) -> String {
    let widest = |text: fn(&Check) -> &str| {
        report.checks.iter().map(|check| text(check).chars().count()).max().unwrap_or(0)
    };
    let (verdict, title) = (widest(|check| check.verdict.name()), widest(|check| &check.title));
    let mut lines = vec![format!("diapason {}\n", env!("CARGO_PKG_VERSION"))];
    for check in &report.checks {
        let measured = check.measured.replace('\n', " ");
        lines.push(format!("  {:<verdict$}  {:<title$}  {measured}", check.verdict.name(), check.title));
        if let Some(fix) = &check.fix {
            lines.push(format!("  {:verdict$}  {:title$}  → {fix}", "", ""));
        }
    }
    let counts = Verdict::ALL.map(|verdict| format!("{} {}", report.count(verdict), verdict.name()));
    lines.push(format!("\n  {} · {:.0} s", counts.join(", "), report.seconds));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn check(title: &str, verdict: Verdict, fix: Option<&str>) -> Check {
        Check {
            id: title.to_owned(),
            title: title.to_owned(),
            verdict,
            measured: "first\nsecond".to_owned(),
            fix: fix.map(str::to_owned),
            values: Value::Null,
        }
    }

    #[test]
    fn the_table_has_a_line_a_check_and_its_fix_below() {
        let checks = [
            check("disk", Verdict::Ok, None),
            check("memory", Verdict::Problem, Some("buy some")),
            check("card", Verdict::NotChecked, None),
        ];
        let mut report = Report::default();
        report.checks.extend(checks);
        report.seconds = 3.2;
        let text = table(&report);
        let expected = [
            "  ok           disk    first second",
            "  problem      memory  first second",
            "                       → buy some",
            "  not checked  card    first second",
            "",
            "  1 ok, 0 warning, 1 problem, 1 not checked · 3 s",
        ];
        assert_eq!(text.lines().skip(2).collect::<Vec<_>>(), expected, "{text}");
    }
}
