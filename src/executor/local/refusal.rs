//! Whether a foreign program died because it was refused memory: the one place that knows such messages.

use crate::space::DeviceSpec;
use crate::trial::Outcome;
use crate::units::Bytes;

/// What PyTorch, its allocators, Python and C++ write when memory is refused.
const MESSAGES: [&str; 8] = [
    "torch.cuda.OutOfMemoryError",
    "torch.OutOfMemoryError",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "HIP out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "MemoryError",
    "std::bad_alloc",
];

/// Whether a line of standard error says that memory was refused.
pub(super) fn is_told_by(line: &str) -> bool {
    MESSAGES.iter().any(|message| line.contains(message))
}

/// The outcome a tail of standard error tells of, if it tells of a refusal.
pub(super) fn of(stderr_tail: &str, device: DeviceSpec) -> Option<Outcome> {
    let line = stderr_tail.lines().rev().find(|line| is_told_by(line))?;
    Some(Outcome::OutOfMemory {
        requested: size_behind(line, "ried to allocate "),
        live: size_before(line, " memory in use").or(device.cap()).unwrap_or_default(),
        cap: device.cap(),
    })
}

/// "Tried to allocate 2.50 GiB", or "you tried to allocate 123 bytes".
fn size_behind(line: &str, words: &str) -> Option<Bytes> {
    let mut behind = line.split(words).nth(1)?.split_whitespace();
    size(behind.next()?, behind.next()?)
}

/// "this process has 77.25 GiB memory in use": the last such size, which is that of the process itself.
fn size_before(line: &str, words: &str) -> Option<Bytes> {
    let mut before = line.rsplit_once(words)?.0.split_whitespace().rev();
    let unit = before.next()?;
    size(before.next()?, unit)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size in a message is positive"
)]
fn size(number: &str, unit: &str) -> Option<Bytes> {
    let unit = match unit.trim_end_matches(['.', ',']) {
        "GiB" => 1_u32 << 30,
        "MiB" => 1 << 20,
        "KiB" => 1 << 10,
        "bytes" => 1,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| Bytes((number * f64::from(unit)) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tail: &str) -> Option<(Option<u64>, u64)> {
        match of(tail, DeviceSpec::Cpu { cap: Some(Bytes(77)) })? {
            Outcome::OutOfMemory { requested, live, cap: Some(Bytes(77)) } => {
                Some((requested.map(|bytes| bytes.0), live.0))
            }
            other => panic!("{other:?}"),
        }
    }

    /// The messages of PyTorch 2.15, 2.1, its processor's allocator, and Python.
    #[test]
    fn the_messages_of_pytorch_are_known_with_their_sizes() {
        let card = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity \
                    of 79.11 GiB of which 1.20 GiB is free. Including non-PyTorch memory, this process has 77.25 GiB \
                    memory in use. Of the allocated memory 70.00 GiB is allocated by PyTorch";
        let gib = |tenths: u64| tenths * (1 << 30) / 100;
        assert_eq!(told(card), Some((Some(gib(250)), gib(7725))));
        let older = "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 14.76 GiB total)";
        assert_eq!(told(older), Some((Some(20 << 20), 77)));
        let processor = "RuntimeError: [enforce fail at alloc_cpu.cpp:125] err == 0. DefaultCPUAllocator: can't \
                         allocate memory: you tried to allocate 4096 bytes. Error code 12 (Cannot allocate memory)";
        assert_eq!(told(processor), Some((Some(4096), 77)));
        assert_eq!(told("Traceback\nMemoryError\nbye"), Some((None, 77)));
    }

    #[test]
    fn any_other_end_is_no_refusal() {
        for tail in ["", "RuntimeError: CUDA error: device-side assert triggered", "ValueError: memory"] {
            assert_eq!(told(tail), None, "{tail}");
        }
    }
}
