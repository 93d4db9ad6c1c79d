//! The table against facts that were not used to write it, names, and the device model.

use std::collections::BTreeMap;

use super::*;
use crate::space::GpuSection;

#[test]
fn the_table_has_cards_of_every_kind_and_each_names_its_sources() {
    let cards = all();
    assert!(cards.len() >= 28, "{}", cards.len());
    for kind in [Kind::Consumer, Kind::Workstation, Kind::DataCenter] {
        assert!(cards.iter().filter(|card| card.kind == kind).count() >= 8, "{kind:?}");
    }
    for card in &cards {
        assert!(card.sources.rates.len() > 20 && card.sources.visible.len() > 10, "{card:?}");
    }
}

#[test]
fn no_card_shows_more_than_its_box_says_nor_a_tenth_less() {
    for card in all() {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred GiB")]
        let share = card.visible.0 as f64 / f64::from(card.sticker_gb) / f64::from(1 << 30);
        assert!((0.90..=1.0).contains(&share), "{}: {share}", card.name);
    }
}

/// Multiprocessors, boost clock in MHz and operations of a multiprocessor per clock, f32 sums:
/// 1024 on chips of workstations and servers since Ampere (2048 on the A100, 4096 on the H100), half on
/// `GeForce` and the L40 as NVIDIA rates it; from the architecture whitepapers.
const CHIPS: [(&str, u32, u32, u32); 24] = [
    ("rtx-2080-ti", 68, 1545, 512),
    ("rtx-3060-12", 28, 1777, 512),
    ("rtx-3070", 46, 1725, 512),
    ("rtx-3080-10", 68, 1710, 512),
    ("rtx-3090", 82, 1695, 512),
    ("rtx-3090-ti", 84, 1860, 512),
    ("rtx-4060-ti-16", 34, 2535, 512),
    ("rtx-4070", 46, 2475, 512),
    ("rtx-4070-ti", 60, 2610, 512),
    ("rtx-4080", 76, 2505, 512),
    ("rtx-4090", 128, 2520, 512),
    ("rtx-5070", 48, 2512, 512),
    ("rtx-5080", 84, 2617, 512),
    ("rtx-5090", 170, 2407, 512),
    ("l40", 142, 2490, 512),
    ("rtx-a4000", 48, 1560, 1024),
    ("rtx-a5000", 64, 1695, 1024),
    ("rtx-a6000", 84, 1800, 1024),
    ("rtx-6000-ada", 142, 2505, 1024),
    ("a10", 72, 1695, 1024),
    ("a40", 84, 1740, 1024),
    ("a30", 56, 1440, 2048),
    ("a100-80", 108, 1410, 2048),
    ("h100-sxm", 132, 1830, 4096),
];

#[test]
fn rates_are_what_multiprocessors_and_clock_come_to() {
    for (name, processors, mhz, per_clock) in CHIPS {
        let expected = f64::from(processors) * f64::from(mhz) * f64::from(per_clock) / 1e6;
        let found = find(name).unwrap().rates.f16_tflops;
        assert!((found / expected - 1.0).abs() < 0.015, "{name}: {found}, not {expected}");
    }
}

#[test]
fn a_card_is_found_by_its_name_by_short_ones_and_by_that_of_the_driver() {
    for (typed, name) in [
        ("t4", "t4"),
        ("Tesla T4", "t4"),
        ("t4-16gb", "t4"),
        ("4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("rtx_4070_ti_super", "rtx-4070-ti-super"),
        ("3060", "rtx-3060-12"),
        ("A100-SXM4-80GB", "a100-80"),
        ("NVIDIA A100-SXM4-80GB", "a100-80"),
        ("NVIDIA A100 80GB PCIe", "a100-80-pcie"),
        ("NVIDIA A100-PCIE-40GB", "a100-40"),
        ("a100-80gb", "a100-80"),
        ("a100", "a100-40"),
        ("H100", "h100-pcie"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("Tesla V100-SXM2-32GB", "v100-32"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("a6000", "rtx-a6000"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx-pro-6000"),
        ("AMD Instinct MI300X", "mi300x"),
    ] {
        assert_eq!(find(typed).map(|card| card.name).as_deref(), Ok(name), "{typed}");
    }
}

#[test]
fn no_name_means_two_cards() {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    let rows = consumer::ROWS.iter().chain(workstation::ROWS).chain(data_center::ROWS);
    for row in rows {
        for key in lookup::keys(row) {
            let owner = *owners.entry(key.clone()).or_insert(row.name);
            assert_eq!(owner, row.name, "{key}");
        }
    }
}

#[test]
fn a_slip_is_answered_with_the_nearest_name_in_the_table() {
    for (typed, hint) in [("rtx-4009", "`rtx-4090`"), ("h100-smx", "`h100-sxm`"), ("abacus", "--gpu all")] {
        let error = find(typed).unwrap_err().to_string();
        assert!(error.contains(typed) && error.contains(hint), "{error}");
    }
}

fn section() -> GpuSection {
    toml::from_str(
        "memory = '23.5GiB'\nbandwidth = 900\nf32_tflops = 40\nbf16_tflops = 160\ncontext = '1GiB'",
    )
    .unwrap()
}

#[test]
fn a_list_is_selected_in_its_order_with_a_studys_own_cards() {
    let own = [Gpu::from_section("mine", &section()).unwrap()];
    let names =
        |list: &str| select(list, &own).map(|cards| cards.into_iter().map(|card| card.name).collect());
    let listed: Result<Vec<String>, GpuError> = names("l4, MINE");
    assert_eq!(listed.unwrap(), ["l4", "mine"]);
    assert_eq!(select("ALL", &own).unwrap().len(), all().len() + 1);
    assert!(select("l4,", &own).is_err());
}

#[test]
fn a_card_of_a_study_file_is_checked() {
    let card = Gpu::from_section("mine", &section()).unwrap();
    assert_eq!((card.kind, card.sticker_gb, card.context), (Kind::Own, 24, Some(Bytes::gib(1))));
    assert_eq!(card.tflops(Precision::F16).to_bits(), 160f64.to_bits());
    let wrong: [(&str, GpuSection); 4] = [
        ("memory", GpuSection { memory: "24".to_owned(), ..section() }),
        ("f32_tflops", GpuSection { f32_tflops: 0.0, ..section() }),
        ("bf16_tflops", GpuSection { bf16_tflops: Some(f64::NAN), ..section() }),
        ("compute_capability", GpuSection { compute_capability: Some("9".to_owned()), ..section() }),
    ];
    for (key, section) in wrong {
        let error = Gpu::from_section("mine", &section).unwrap_err().to_string();
        assert!(error.contains("[gpu.mine]") && error.contains(key) && error.contains("hint: "), "{error}");
    }
    assert!(toml::from_str::<GpuSection>("memory = '1GiB'\nspeed = 3").is_err());
}

#[test]
fn what_is_not_known_of_bf16_is_computed_in_f32() {
    let t4 = find("t4").unwrap();
    assert!(!t4.supports(Precision::Bf16) && t4.supports(Precision::F16));
    assert_eq!(t4.tflops(Precision::Bf16).to_bits(), t4.rates.f32_tflops.to_bits());
    assert!(!find("mi300x").unwrap().runs_cuda());
}

#[test]
fn the_terms_add_up_and_a_context_of_the_users_own_goes_first() {
    let peak = device_peak(&find("t4").unwrap(), Bytes::gib(9));
    assert_eq!((peak.context, peak.workspaces), (Bytes::mib(141), Bytes::mib(4)));
    assert_eq!((peak.live.0 + peak.rounding.0) % (32 << 20), 0);
    assert_eq!(peak.total().0, Bytes::mib(145).0 + Bytes::gib(9).0 + peak.rounding.0);
    let mine = Gpu::from_section("mine", &section()).unwrap();
    assert_eq!(device_peak(&mine, Bytes(1)).context, Bytes::gib(1));
}
