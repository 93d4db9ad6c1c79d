//! How this process becomes a foreign trainer that can neither outlive the driver nor its cap.

use std::ffi::OsString;
use std::io;

use crate::units::Bytes;

/// Becomes the program `command`; returns only if it can't be started.
///
/// It dies with the driver, and may hold at most `cap` bytes of data: more is refused as by a full machine. (Data is
/// what a process has for itself alone and may write, its threads' stacks included: `RLIMIT_DATA` of Linux.)
#[must_use]
pub fn launch(command: &[OsString], cap: Option<Bytes>) -> io::Error {
    let Some((program, arguments)) = command.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program to start");
    };
    super::die_with_parent();
    if let Err(error) = cap.map_or(Ok(()), limit) {
        return error;
    }
    become_program(program, arguments)
}

#[cfg(target_os = "linux")]
fn limit(cap: Bytes) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = Rlimit { current: Some(cap.0), maximum: Some(cap.0) };
    Ok(setrlimit(Resource::Data, limit)?)
}

/// Nowhere else is a limit of all data in force.
#[cfg(not(target_os = "linux"))]
fn limit(_: Bytes) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn become_program(program: &OsString, arguments: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt;
    std::process::Command::new(program).args(arguments).exec()
}

#[cfg(not(unix))]
fn become_program(program: &OsString, arguments: &[OsString]) -> io::Error {
    let status = std::process::Command::new(program).args(arguments).status();
    status.map_or_else(|error| error, |status| std::process::exit(status.code().unwrap_or(1)))
}
