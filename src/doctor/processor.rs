//! The processor: which instructions the kernels use, of those it has, and how many threads.

use serde_json::json;

use super::check::{Check, Subject};
use crate::device;
use crate::model;

/// What was found out about the processor.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Instructions that the products use, by the name `DIAPASON_CPU` has for them.
    used: &'static str,
    /// The most they could use.
    detected: &'static str,
    /// What the processor has of what any kernel asks for.
    features: Vec<&'static str>,
    /// Threads the system gives.
    threads: usize,
    /// Threads the kernels use.
    used_threads: usize,
}

/// Looks at the processor.
pub(super) fn look() -> Found {
    let (used, detected) = model::instructions();
    Found {
        used,
        detected,
        features: features(),
        threads: device::threads(),
        used_threads: model::processor().threads,
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    vec![]
}

/// The line about instructions.
pub(super) fn instructions(found: &Found) -> Check {
    let Found { used, detected, features, .. } = found;
    let subject = Subject::new("cpu.instructions", "processor")
        .with_values(json!({ "used": used, "detected": detected, "features": features }));
    let has = if features.is_empty() { "no vector extensions".to_owned() } else { features.join(" ") };
    let measured = format!("products use {used}; it has {has}");
    if used != detected {
        return subject.warning(measured, format!("unset DIAPASON_CPU: this processor can do {detected}"));
    }
    if *used == "portable" {
        let fix = "training works, several times slower: use a processor with AVX2 and FMA, or a virtual \
                   machine that passes them on";
        return subject.warning(measured, fix);
    }
    subject.ok(measured)
}

/// The line about threads.
pub(super) fn threads(found: &Found) -> Check {
    let Found { threads, used_threads, .. } = found;
    let subject = Subject::new("cpu.threads", "threads")
        .with_values(json!({ "available": threads, "used": used_threads }));
    let measured = format!("{used_threads} used, {threads} available");
    if used_threads < threads {
        return subject.warning(measured, "unset RAYON_NUM_THREADS, or write `study.threads`");
    }
    if used_threads > threads {
        return subject.warning(measured, "threads share processors: lower RAYON_NUM_THREADS");
    }
    subject.ok(measured)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn found(used: &'static str, detected: &'static str) -> Found {
        Found { used, detected, features: vec!["avx2", "fma"], threads: 8, used_threads: 8 }
    }

    #[test]
    fn a_processor_held_to_less_or_without_vectors_is_a_warning() {
        assert_eq!(instructions(&found("avx2", "avx2")).verdict, Verdict::Ok);
        let held = instructions(&found("avx2", "avx512"));
        assert_eq!(held.verdict, Verdict::Warning);
        assert!(held.fix.unwrap().contains("DIAPASON_CPU"));
        assert_eq!(instructions(&found("portable", "portable")).verdict, Verdict::Warning);
    }

    #[test]
    fn threads_that_are_fewer_or_more_than_processors_are_a_warning() {
        for (used_threads, verdict) in [(7, Verdict::Warning), (8, Verdict::Ok), (9, Verdict::Warning)] {
            assert_eq!(threads(&Found { used_threads, ..found("avx2", "avx2") }).verdict, verdict);
        }
    }
}
