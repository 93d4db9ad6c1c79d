//! The command line: what was typed becomes calls, what happens becomes text.
//!
//! Data goes to standard output, messages to standard error. The only module that prints, and the
//! only door of clap, console and indicatif.

mod args;
mod deadline;
mod doctor;
mod estimate;
mod evaluate;
mod exit;
mod fetching;
mod progress;
mod quantize;
mod sentences;
mod study;
mod suggest;
mod tables;
mod usage;
mod view;
mod watch;

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{CommandFactory, Parser};

use args::{Arguments, Command};

/// Parses the command line, does what it says, prints an error once, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            // Without its causes: every error of this crate tells them in its own text.
            let _ = writeln!(io::stderr(), "error: {error}");
            exit::code_of(&error)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(options) => study::search(&options, study::Until::Report),
        Command::Fit(options) => study::fit(&options),
        Command::Estimate(options) => estimate::run(&options),
        Command::Tune(options) => study::search(&options, study::Until::Tune),
        Command::Train(options) => study::run(&options, study::Until::Train),
        Command::Report(options) => study::report(&options),
        Command::Status(options) => watch::run(&options),
        Command::Retry(options) => study::run(&options.study, study::Until::Retry),
        Command::Suggest => suggest::run(),
        Command::Eval(options) => evaluate::run(&options),
        Command::Quantize(options) => quantize::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "diapason", &mut script);
            io::stdout().write_all(&script)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Worker => {
            let file = stdout_file();
            crate::train::in_pool(|| {
                crate::worker::run(io::stdin().lock(), &mut io::stdout().lock(), file.as_ref())
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Launch { cap, command } => {
            let error = crate::worker::launch(&command, cap);
            let program = command.first().map(|program| program.display().to_string()).unwrap_or_default();
            Err(anyhow!("`{program}` of `trainer.command` can't be started: {error}"))
        }
    }
}

/// The file that standard output is written to, where it is one.
fn stdout_file() -> Option<File> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let file = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
        file.metadata().ok()?.is_file().then_some(file)
    }
    #[cfg(not(unix))]
    None
}

/// Prints a value as one JSON object.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string_pretty(value)?)?;
    Ok(())
}

/// Prints text for a person.
fn print(text: &str) -> Result<()> {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}
