//! The replay of a step predicts what the core holds: a sample of `benches/estimate_error.rs`.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]
#![expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]

use diapason::device::CountingAllocator;
use diapason::space::Precision;
use diapason::trial::Outcome;

#[path = "common/measured.rs"]
mod measured;
#[path = "common/models.rs"]
mod models;

use measured::{MARGIN, Model, Setting, highest};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Of the settings of each family every so many-th, another one first each time: all occur.
const EVERY: usize = 10;

#[test]
fn predictions_are_right_to_half_a_percent_and_a_run_capped_at_one_finishes() {
    let mut errors = Vec::new();
    for (index, (name, config, dtype)) in models::all().into_iter().enumerate() {
        let model = Model::new(&config, dtype);
        // The first run of a process makes what later ones find there.
        let _ = model.measured(&Setting::full(Precision::F32, 1, 32));
        for setting in models::settings(&model.config).into_iter().skip(index).step_by(EVERY) {
            let (found, predicted) =
                (highest(&model.measured(&setting)), highest(&model.predicted(&setting)));
            assert!(
                found <= predicted + MARGIN.0,
                "{name}, {setting:?}: {found} bytes, {predicted} predicted"
            );
            errors.push((predicted as f64 / found as f64 - 1.0).abs());
            assert_eq!(model.capped(&setting), Some(Outcome::Finished), "{name}, {setting:?}");
        }
    }
    errors.sort_by(f64::total_cmp);
    assert!(errors.len() >= 12 && errors[errors.len() / 2] <= 0.005, "{errors:?}");
    assert!(errors[errors.len() - 1] <= 0.02, "{errors:?}");
}
