//! `diapason suggest`: the sampler as a service, one JSON object a line.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use anyhow::Result;

use crate::search::Service;

/// Answers every line of standard input on standard output, until the input ends.
pub(super) fn run() -> Result<ExitCode> {
    let mut service = Service::new();
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = service.answer(&line);
        // The program on the other side waits for it.
        match writeln!(output, "{answer}").and_then(|()| output.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
