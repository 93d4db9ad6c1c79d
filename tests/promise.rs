//! What `fit` promises holds on a capped processor: a sample of `benches/fit_promises.rs`.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

#[path = "common/promise.rs"]
mod promise;

use diapason::search::Boundary;
use diapason::trial::Outcome;

/// What threads may or may not hold at a peak.
const SCRATCH: u64 = 1 << 20;

#[test]
fn what_is_returned_was_run_one_more_is_over_and_a_full_fine_tune_never_runs_out_of_memory() {
    let (mut probes, mut refusals, settings) = (0, 0, 6);
    for seed in 1000..1000 + settings {
        let kept = promise::kept(seed, true);
        let point = kept.point.as_ref().unwrap_or_else(|| panic!("{}: nothing fits", kept.setting));
        let is_over = kept.one_more.as_ref().is_some_and(|outcome| *outcome != Outcome::Finished)
            || kept.room.is_some_and(|room| room.0 < SCRATCH);
        assert!(is_over || point.boundary == Boundary::Limit, "{kept:?}");
        assert_eq!(kept.full_run, Some(Outcome::Finished), "{kept:?}");
        probes += kept.probes;
        refusals += kept.refusals;
    }
    assert!(probes as u64 * 10 <= settings * 35 && refusals as u64 * 2 <= settings, "{probes}, {refusals}");
}
