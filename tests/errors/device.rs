//! A device that is not there, or too small for anything.

use crate::common::TinyStudy;
use crate::refusal::refused;

#[test]
fn a_cap_nothing_fits_into_ends_with_its_own_code_and_the_way_out() {
    for cap in ["cpu:1MiB", "cpu:9MiB"] {
        let study = TinyStudy::new().set("study.device", cap);
        refused(
            &study,
            &["run"],
            3,
            &["nothing fits", "out of memory", "more than it may", "`study.device`", "` saves "],
        );
        let summary = study.run(&["status", "--json"]).json();
        assert!(summary["frontier"].as_array().unwrap().is_empty(), "{summary}");
    }
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_card_in_a_build_without_cuda_is_refused_before_anything_is_written() {
    let study = TinyStudy::new().set("study.device", "cuda:0");
    refused(&study, &["run"], 2, &["device cuda:0", "--features cuda"]);
    assert!(!study.path("results").exists());
}
