//! The machine's memory, and the limit that a container sets to it.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::check::{Check, Subject};
use crate::device::Device;
use crate::units::Bytes;

/// Below it nothing but the smallest models can be trained.
const LITTLE: Bytes = Bytes::gib(1);
/// Below it not even the tiny model of these checks has room.
const TOO_LITTLE: Bytes = Bytes::mib(256);

/// Where Linux says what a control group may hold; the second is the first version's.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// What was found out about memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    total: Option<Bytes>,
    free: Option<Bytes>,
    /// Of the control group, where it is less than the machine has.
    limit: Option<Bytes>,
}

/// Looks at the memory of the machine that `cpu` is the processor of.
pub(super) fn look(cpu: &dyn Device) -> Found {
    let limit = LIMITS.iter().find_map(|file| limit_in(&fs::read_to_string(Path::new(file)).ok()?));
    let total = cpu.total();
    Found { total, free: cpu.free(), limit: limit.filter(|limit| total.is_some_and(|total| *limit < total)) }
}

/// The number in such a file; `max` is none.
fn limit_in(text: &str) -> Option<Bytes> {
    text.trim().parse().ok().map(Bytes)
}

/// The line about it.
pub(super) fn verdict(found: Found) -> Check {
    let Found { total, free, limit } = found;
    let subject = Subject::new("memory", "memory")
        .with_values(json!({ "total_bytes": total, "free_bytes": free, "limit_bytes": limit }));
    let (Some(total), Some(free)) = (total, free) else {
        return subject.not_checked("this system does not tell how much there is");
    };
    let measured = format!("{total}, {free} free");
    if free < TOO_LITTLE {
        return subject.problem(measured, "end other programs: a trial needs more than this");
    }
    if let Some(limit) = limit {
        let measured = format!("{measured}, but this container may hold {limit}");
        let cap = Bytes(limit.0 / 10 * 8).0 >> 20;
        let fix = format!("past the limit the kernel kills a trial: write `study.device = \"cpu:{cap}MiB\"`");
        return subject.warning(measured, fix);
    }
    if free < LITTLE {
        return subject.warning(measured, "end other programs before you train");
    }
    subject.ok(measured)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn of(free: Bytes, limit: Option<Bytes>) -> Verdict {
        verdict(Found { total: Some(Bytes::gib(8)), free: Some(free), limit }).verdict
    }

    #[test]
    fn little_free_memory_is_a_warning_and_too_little_a_problem() {
        assert_eq!(of(LITTLE, None), Verdict::Ok);
        assert_eq!(of(Bytes(LITTLE.0 - 1), None), Verdict::Warning);
        assert_eq!(of(TOO_LITTLE, None), Verdict::Warning);
        assert_eq!(of(Bytes(TOO_LITTLE.0 - 1), None), Verdict::Problem);
        assert_eq!(verdict(Found::default()).verdict, Verdict::NotChecked);
    }

    #[test]
    fn the_limit_of_a_container_is_told_with_a_cap_below_it() {
        let found =
            Found { total: Some(Bytes::gib(8)), free: Some(Bytes::gib(7)), limit: Some(Bytes::gib(2)) };
        let check = verdict(found);
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.fix.unwrap().contains("\"cpu:1638MiB\""));
        assert_eq!(limit_in("max\n"), None);
        assert_eq!(limit_in("2147483648\n"), Some(Bytes::gib(2)));
    }
}
