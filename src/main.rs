//! The `diapason` program: see [`diapason::cli`].

use std::process::ExitCode;

/// Counts every byte, so that a trial's peak is exact and its cap real.
#[global_allocator]
static ALLOCATOR: diapason::device::CountingAllocator = diapason::device::CountingAllocator;

fn main() -> ExitCode {
    diapason::cli::main()
}
