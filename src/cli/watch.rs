//! `status`: a study as it is now, and with `--watch` as it goes on.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use console::{Term, truncate_str};
use jiff::tz::TimeZone;

use super::args::StatusOptions;
use super::{print, print_json, study, tables, view};
use crate::store::EndedRun;
use crate::study::{Look, Watcher};

/// Between two looks. A look at a study of many trials takes some hundredths of it.
const EVERY: Duration = Duration::from_secs(1);

/// Shows what a study remembers and does.
pub(super) fn run(options: &StatusOptions) -> Result<ExitCode> {
    let study = study::read(&options.study)?;
    let mut watcher = Watcher::open(&study)?;
    if options.watch {
        watch(&mut watcher)?;
    } else {
        let look = watcher.look()?;
        if options.json {
            print_json(&look)?;
        } else {
            print(&tables::summary(&look.summary))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Until nobody runs the study any more. Ctrl-C ends it at any moment: nothing is held that had to be given back.
fn watch(watcher: &mut Watcher<'_>) -> Result<()> {
    let zone = TimeZone::system();
    let mut screen = Screen::new();
    loop {
        let look = watcher.look()?;
        screen.show(&look, &zone)?;
        if look.driver.is_none() {
            return print(&tables::summary(&look.summary));
        }
        thread::sleep(EVERY);
    }
}

/// Where lines go: in place on a terminal, else one after another.
struct Screen {
    terminal: Option<Term>,
    shown: Vec<String>,
    log: Vec<EndedRun>,
}

impl Screen {
    fn new() -> Self {
        let terminal = io::stdout().is_terminal().then(Term::stdout);
        Self { terminal, shown: Vec::new(), log: Vec::new() }
    }

    fn show(&mut self, look: &Look, zone: &TimeZone) -> Result<()> {
        let lines = view::lines(look, zone);
        if let Some(terminal) = &self.terminal {
            let (rows, columns) = terminal.size();
            let lines = fitting(&lines, rows.into(), columns.into());
            let text = redrawn(&self.shown, &lines);
            self.shown = lines;
            write!(io::stdout(), "{text}")?;
            return Ok(io::stdout().flush()?);
        }
        if self.shown.is_empty() {
            print(&lines.join("\n"))?;
            self.shown = lines;
        } else {
            for one in news(&self.log, &look.log) {
                print(&view::ended(one, zone))?;
            }
        }
        self.log.clone_from(&look.log);
        Ok(())
    }
}

/// What ended since `known` was the end of the log.
fn news<'a>(known: &[EndedRun], log: &'a [EndedRun]) -> &'a [EndedRun] {
    let last = known.last().and_then(|last| log.iter().rposition(|one| one == last));
    &log[last.map_or(0, |last| last + 1)..]
}

/// As much of the lines as the terminal has room for: what lies beyond could not be drawn over.
fn fitting(lines: &[String], rows: usize, columns: usize) -> Vec<String> {
    let wide = columns.saturating_sub(1);
    let cut = |line: &String| truncate_str(line, wide, "…").into_owned();
    lines.iter().take(rows.saturating_sub(1)).map(cut).collect()
}

/// What turns the lines that are shown, the cursor below them, into others; nothing where they are the same.
fn redrawn(shown: &[String], lines: &[String]) -> String {
    if shown == lines {
        return String::new();
    }
    let mut text = if shown.is_empty() { String::new() } else { format!("\x1b[{}A\r", shown.len()) };
    for (place, line) in lines.iter().enumerate() {
        if shown.get(place) != Some(line) {
            text.push_str("\x1b[2K");
            text.push_str(line);
        }
        text.push_str("\r\n");
    }
    if shown.len() > lines.len() {
        text.push_str("\x1b[J");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Outcome;

    fn lines(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn only_lines_that_changed_are_drawn_again() {
        assert_eq!(redrawn(&[], &lines("a|b")), "\x1b[2Ka\r\n\x1b[2Kb\r\n");
        assert_eq!(redrawn(&lines("a|b|c"), &lines("a|x|c")), "\x1b[3A\r\r\n\x1b[2Kx\r\n\r\n");
        assert_eq!(redrawn(&lines("a|b"), &lines("a|b")), "");
        assert_eq!(redrawn(&lines("a|b|c"), &lines("a")), "\x1b[3A\r\r\n\x1b[J");
        assert_eq!(redrawn(&lines("a"), &lines("a|b")), "\x1b[1A\r\r\n\x1b[2Kb\r\n");
    }

    #[test]
    fn lines_are_cut_to_the_terminal() {
        assert_eq!(fitting(&lines("abcdef|b|c"), 3, 5), ["abc…", "b"]);
        assert_eq!(fitting(&lines("░░░░░░"), 3, 5), ["░░░…"]);
    }

    #[test]
    fn the_log_goes_on_behind_what_was_printed() {
        let one = |trial: u32| EndedRun {
            ended_at: String::new(),
            run: Some((trial, 0).into()),
            micro_batch_size: None,
            outcome: Outcome::Finished,
            eval_loss_nats: None,
        };
        let log = [one(1), one(2), one(3)];
        assert_eq!(news(&log[..2], &log), &log[2..]);
        assert_eq!(news(&log, &log), []);
        assert_eq!(news(&[], &log), log);
        assert_eq!(news(&[one(0)], &log), log, "more ended than the log holds");
    }
}
