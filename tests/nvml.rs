//! Facts about cards, read from stand-in libraries that are compiled here.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use diapason::device::nvml::{CardFacts, Meter, NvmlError, cards};
use diapason::trial::{Power, Slowdown};
use diapason::units::Bytes;
use tempfile::TempDir;

/// Compiles the stand-in with a flag and reads its cards.
fn cards_of(flag: Option<&str>) -> Result<Vec<CardFacts>, NvmlError> {
    let (_folder, library) = stand_in(flag);
    cards(Some(library.as_os_str()))
}

/// The stand-in, compiled with a flag, and the folder it lies in.
fn stand_in(flag: Option<&str>) -> (TempDir, PathBuf) {
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
    (folder, library)
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
        power_limit_watts: Some(75.0),
        compute_capability: Some("8.9".to_owned()),
        sm_mhz: Some(1500),
        memory_mhz: Some(6251),
        slowed: Some(vec![Slowdown::PowerCap]),
        ecc: Some(true),
        uncorrected_errors: Some(3),
        mig: Some(false),
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

const FIRST: &str = "GPU-00000000-0000-0000-0000-000000000000";

/// Meters a card of the stand-in until `is_enough`, and says what it told and whether it had ended by itself.
fn metered(flag: Option<&str>, uuid: &str, is_enough: impl Fn(&Meter) -> bool) -> (Option<Power>, bool) {
    let (_folder, library) = stand_in(flag);
    let meter = Meter::start(Some(library.as_os_str()), uuid, Duration::from_millis(20));
    let asked = Instant::now();
    while !is_enough(&meter) {
        assert!(asked.elapsed() < Duration::from_mins(1), "{:?}", meter.read());
        thread::sleep(Duration::from_millis(2));
    }
    (meter.read(), meter.has_ended())
}

fn has_told(joules: f64) -> impl Fn(&Meter) -> bool {
    move |meter| meter.read().is_some_and(|power| power.joules >= joules)
}

#[test]
fn energy_is_what_the_counter_has_gone_up_by_while_it_was_watched() {
    let (power, has_ended) = metered(None, FIRST, has_told(100.0));
    let power = power.unwrap();
    assert!(power.joules >= 120.0 && power.joules % 40.0 == 0.0, "{power:?}");
    assert!(power.seconds >= 0.06, "{power:?}");
    assert!((power.mean_sm_mhz.unwrap() - 1500.0).abs() < 1e-9, "{power:?}");
    assert_eq!(power.max_celsius, Some(41));
    assert_eq!(power.slowed, [Slowdown::PowerCap]);
    assert!(!has_ended);
}

#[test]
fn a_card_without_a_counter_is_metered_by_its_power() {
    let (power, _) = metered(Some("no_counter"), FIRST, has_told(0.1));
    let watts = power.unwrap().watts().unwrap();
    assert!((watts - 72.5).abs() < 1e-9, "{watts}");
}

#[test]
fn a_card_that_falls_off_the_bus_ends_the_meter_and_keeps_what_it_drew() {
    let (power, has_ended) = metered(Some("falls_off"), FIRST, Meter::has_ended);
    // Four looks, three spans between them.
    assert_eq!((power.map(|power| power.joules), has_ended), (Some(120.0), true));
}

#[test]
fn what_tells_no_power_is_not_metered_and_nothing_fails() {
    let second = "GPU-00000000-0000-0000-0000-000000000001";
    let (_folder, library) = stand_in(None);
    let meter = Meter::start(Some(library.as_os_str()), second, Duration::from_millis(1));
    thread::sleep(Duration::from_millis(50));
    assert_eq!((meter.read(), meter.has_ended()), (None, false));
    for (flag, uuid) in [(None, "GPU-unknown"), (Some("no_driver"), FIRST), (Some("old_driver"), FIRST)] {
        assert_eq!(metered(flag, uuid, Meter::has_ended), (None, true));
    }
}
