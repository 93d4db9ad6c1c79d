//! Facts about cards, read from stand-in libraries that are compiled here.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

use std::path::PathBuf;
use std::process::Command;

use diapason::device::nvml::{CardFacts, NvmlError, cards};
use diapason::units::Bytes;

/// Compiles the stand-in with a flag and reads its cards.
fn cards_of(flag: Option<&str>) -> Result<Vec<CardFacts>, NvmlError> {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libnvidia-ml.so.1");
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "fake_nvml", "-o"]);
    command.arg(&library).arg(source());
    if let Some(flag) = flag {
        command.args(["--cfg", flag]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cards(Some(library.as_os_str()))
}

fn source() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fake_nvml.rs")
}

#[test]
fn every_fact_a_card_tells_is_read() {
    let cards = cards_of(None).unwrap();
    assert_eq!(cards.len(), 2);
    let expected = CardFacts {
        index: 0,
        name: Some("Fake L4".to_owned()),
        uuid: Some("GPU-00000000-0000-0000-0000-000000000000".to_owned()),
        total: Some(Bytes::gib(24)),
        free: Some(Bytes::gib(20)),
        other_processes: Some(2),
        used_by_others: Some(Bytes::gib(3)),
        temperature_celsius: Some(41),
        power_watts: Some(72.5),
        driver: Some("580.95.05".to_owned()),
    };
    assert_eq!(cards[0], expected);
}

#[test]
fn a_fact_a_card_does_not_support_is_none_and_hides_no_other() {
    let second = cards_of(None).unwrap().swap_remove(1);
    assert_eq!(second.name.as_deref(), Some("Fake T4"));
    assert_eq!((second.temperature_celsius, second.power_watts), (None, None));
    assert_eq!((second.other_processes, second.used_by_others), (Some(1), None));
    assert_eq!(second.total, Some(Bytes::gib(24)));
}

#[test]
fn a_library_that_lacks_functions_gives_none_for_what_they_tell() {
    let cards = cards_of(Some("old_driver")).unwrap();
    let expected = CardFacts {
        index: 1,
        name: Some("Fake T4".to_owned()),
        uuid: Some("GPU-00000000-0000-0000-0000-000000000001".to_owned()),
        ..CardFacts::default()
    };
    assert_eq!(cards[1], expected);
}

#[test]
fn a_missing_library_is_said_with_what_follows_from_it() {
    let error = cards(Some("/nowhere/libnvidia-ml.so.1".as_ref())).unwrap_err();
    assert!(matches!(error, NvmlError::NoLibrary { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("NVML not found: "), "{text}");
    assert!(text.contains("/nowhere/libnvidia-ml.so.1"), "{text}");
    let consequence = "; memory is measured by the pool, temperature and power are unknown";
    assert!(text.ends_with(consequence), "{text}");
}

#[test]
fn a_library_without_its_driver_is_told_from_a_missing_library() {
    let error = cards_of(Some("no_driver")).unwrap_err();
    assert!(matches!(error, NvmlError::NoDriver { .. }), "{error:?}");
    assert!(error.to_string().contains("driver is not loaded"), "{error}");
}
