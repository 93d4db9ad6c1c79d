//! The map of `src/lib.rs` as a test: who may import whom, and each outside crate's doors.
//!
//! The tables are exact. What is not in them must not be used, and what is in them must be: a row
//! says what a module needs, not what it might. Tests are free; only the product is looked at.
#![expect(clippy::expect_used, reason = "what can't be read fails the test that wanted it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "architecture/items.rs"]
mod items;
#[path = "architecture/made_up.rs"]
mod made_up;
#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/tokens.rs"]
mod tokens;

use rules::{CUDA, Rules, Table, row};
use source::{Tree, files_below};

/// The modules in the order of the map, each with the modules above it that it imports.
const IMPORTS: &Table = &[
    ("units", ""),
    ("files", "units"),
    ("fingerprint", ""),
    ("spelling", ""),
    ("space", "units spelling"),
    ("trial", "units space"),
    ("search", "units spelling space trial"),
    ("arch", "space"),
    ("memory", "units spelling space trial arch"),
    ("device", "units space trial memory"),
    ("data", "files fingerprint spelling space arch"),
    ("model", "files space trial arch memory data"),
    ("hub", "units fingerprint data model"),
    ("train", "units space trial arch memory device data model"),
    ("quantize", "units files arch data model"),
    ("worker", "units space trial arch device data model train quantize"),
    ("executor", "units files fingerprint space trial device"),
    ("store", "units space trial"),
    ("report", "units files space trial"),
    (
        "study",
        "units files fingerprint space trial search arch memory device data model hub quantize executor store report",
    ),
    ("doctor", "units files space trial arch memory device data model hub train quantize executor"),
    (
        "cli",
        "units files space trial search arch memory device data model hub train quantize worker executor store study doctor",
    ),
    // The program: it hands over to cli, and sets the allocator that counts.
    ("main", "device cli"),
];

/// Each outside crate with the modules that use it, in the order of `Cargo.toml`.
const DOORS: &Table = &[
    ("anyhow", "cli"),
    ("argmin", "search"),
    ("candle_core", "device model train quantize"),
    ("clap", "cli"),
    ("clap_complete", "cli"),
    ("console", "cli"),
    ("csv", "data"),
    ("ctrlc", "cli"),
    ("half", "model"),
    ("hf_hub", "hub"),
    ("indicatif", "cli"),
    ("jiff", "cli"),
    ("libm", "search"),
    ("maud", "report"),
    ("multiversion", "model train"),
    ("nalgebra", "search"),
    ("nvml_wrapper", "device"),
    ("plotters", "report"),
    ("rand", "model"),
    ("rand_chacha", "data model search"),
    ("rayon", "data model train quantize"),
    ("rusqlite", "store"),
    ("rustix", "files device worker executor"),
    ("safetensors", "data model"),
    ("sha2", "fingerprint"),
    ("sobol_burley", "search"),
    ("strsim", "spelling"),
    ("tempfile", "files doctor"),
    ("tokenizers", "data"),
    ("toml", "space"),
    // Not a line of Cargo.toml: reached through candle_core.
    (CUDA, "device"),
];

/// Crates that no line names: they only make another one compute with plain vectors.
const RESERVED: &Table = &[("argmin_math", "search")];

/// Crates that are a way to write any module, not a part of the world.
const ANYWHERE: [&str; 3] = ["serde", "serde_json", "thiserror"];

const RULES: Rules = Rules {
    imports: IMPORTS,
    doors: DOORS,
    reserved: RESERVED,
    pure: &["units", "space", "trial", "search", "arch", "memory"],
    printing: &["cli"],
    streams: &[
        // The last word of a process that was refused memory: nothing may be allocated any more,
        // so it can be neither returned nor handed to a writer.
        ("src/device/last_word.rs", "rustix::stdio::stdout"),
    ],
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn map_of_lib() -> Vec<String> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | [`")?.split_once("`] |"));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn modules_keep_to_the_tables() {
    let findings = RULES.findings(&Tree::read(root()).sources);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_module_has_a_line_in_the_map_and_a_row_here_in_the_same_order() {
    let table: Vec<&str> = IMPORTS.iter().map(|(name, _)| *name).filter(|name| *name != "main").collect();
    assert_eq!(table, map_of_lib());
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let declared: BTreeSet<String> = items::declared_modules(&tokens::tokens(&lib)).into_iter().collect();
    assert_eq!(declared, map_of_lib().into_iter().collect());
}

#[test]
fn a_row_names_only_modules_above_it() {
    let place = |name: &str| IMPORTS.iter().position(|(other, _)| *other == name);
    for (module, _) in IMPORTS {
        let imports = row(IMPORTS, module).unwrap_or_default();
        let above: Vec<Option<usize>> = imports.iter().map(|name| place(name)).collect();
        let is_above = |other: &Option<usize>| other.is_some() && *other < place(module);
        assert!(above.iter().all(is_above), "{module} may not import all of {imports:?}");
        assert!(above.is_sorted(), "{module}: {imports:?} is not in the order of the map");
    }
}

#[test]
fn every_dependency_has_its_doors() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let listed = manifest["dependencies"].as_table().expect("dependencies").keys();
    let listed: BTreeSet<String> = listed.map(|name| name.replace('-', "_")).collect();
    let doors = DOORS.iter().chain(RESERVED).map(|(name, _)| *name).filter(|name| *name != CUDA);
    assert_eq!(listed, doors.chain(ANYWHERE).map(str::to_owned).collect());
}

/// What is not reached is not compiled, and none of the rules has looked at it.
#[test]
fn every_file_is_reached_and_tests_are_left_out() {
    let tree = Tree::read(root());
    let mut files = files_below(root(), "src");
    assert_eq!(tree.reached, files);
    for source in &tree.sources {
        files.remove(&source.file);
    }
    let tests: Vec<&String> = files.iter().collect();
    assert!(tests.contains(&&"src/report/tests/mod.rs".to_owned()), "{tests:?}");
    let names = ["tests", "testing", "fixture", "append_only"];
    let is_test = |file: &str| file.split(['/', '.']).any(|part| names.contains(&part));
    assert!(tests.iter().all(|file| is_test(file)), "{tests:?}");
}
