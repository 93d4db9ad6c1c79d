//! The rules against made-up sources: what must be found, and what must not.

use super::rules::{Rules, Table};
use super::source::Source;

const IMPORTS: &Table = &[("units", ""), ("search", "units"), ("store", "units")];
const DOORS: &Table = &[("rusqlite", "store"), (super::CUDA, "")];

const RULES: Rules = Rules {
    imports: IMPORTS,
    doors: DOORS,
    reserved: &[("argmin", "search")],
    pure: &["search"],
    printing: &["cli"],
    streams: &[("src/store/word.rs", "rustix::stdio::stdout")],
};

/// Uses all that the tables allow, so that nothing is left over.
const STORE: &str = "use crate::units::Bytes; use rusqlite::Connection;";

/// Findings in one file beside a whole crate that keeps to the rules.
fn findings(file: &str, text: &str) -> Vec<String> {
    let sources = [
        Source::new("src/store/mod.rs", STORE),
        Source::new("src/search/mod.rs", "use crate::units;"),
        Source::new(file, text),
    ];
    RULES.findings(&sources)
}

fn found(text: &str, expected: &str) {
    let findings = findings("src/search/plan.rs", text);
    assert!(findings.len() == 1 && findings[0].contains(expected), "{text}: {findings:?}");
}

fn fine(text: &str) {
    assert_eq!(findings("src/search/plan.rs", text), Vec::<String>::new(), "{text}");
}

#[test]
fn an_import_that_is_not_in_the_table_is_found_however_it_is_written() {
    found("use crate::store::Store;", "src/search/plan.rs:1: `crate::store::Store` in search: ");
    found("\n\nuse crate::{\n    units,\n    store::{Store as Memory},\n};", "plan.rs:5: `crate::store");
    found("use super::super::store;", "it may import only [units]");
    found("fn f(x: &crate::store::Store) {}", "plan.rs:1");
    found("mod inner { fn f() -> super::super::super::store::Fact { g() } }", "crate::store::Fact");
    found("macro_rules! m { () => { $crate::store::f() } }", "crate::store::f");
    found("use crate::*;", "`crate::*`");
    found("use crate as root;", "`crate::`");
}

#[test]
fn what_is_allowed_or_only_looks_like_an_import_is_fine() {
    fine("use crate::units::{Bytes, Tokens as T}; use super::sobol; use crate::search::plan as own;");
    fine("// use crate::store;\n/* crate::store */ /// [`crate::store`]\nstruct A;");
    fine(r##"const A: &str = "crate::store::x"; const B: &str = r#"use crate::"store";"#;"##);
    fine("#[cfg(test)] mod tests { use crate::store::Store; fn f() { println!(); } }");
    fine("#[cfg(test)] use crate::store::Store; fn f(store: u8) { store.write(); }");
}

#[test]
fn a_crate_outside_its_door_is_found() {
    found("use rusqlite::{Connection};", "the doors of rusqlite are [store] (DOORS)");
    found("use rusqlite as sql;", "`rusqlite`");
    found("fn f() { ::rusqlite::open() }", "rusqlite::open");
    found("use candle::cuda_backend::cudarc::driver;", "the doors of CUDA are []");
    fine("use argmin::solver; use std::collections::HashMap; fn f(rusqlite: u8) -> u8 { rusqlite }");
    let elsewhere = findings("src/store/fit.rs", "use argmin::solver;");
    assert!(
        elsewhere.len() == 1 && elsewhere[0].contains("the doors of argmin are [search]"),
        "{elsewhere:?}"
    );
}

#[test]
fn what_the_tables_list_but_nothing_uses_is_found() {
    let findings = RULES.findings(&[Source::new("src/store/mod.rs", "use crate::units::Bytes;")]);
    assert_eq!(
        findings,
        [
            "DOORS lets `store` use `rusqlite`, which nothing in it does: take it out",
            "IMPORTS lets `search` import `units`, which nothing in it does: take it out",
        ]
    );
}

#[test]
fn a_pure_module_that_touches_the_world_is_found() {
    for text in [
        "use std::fs;",
        "use std::{fmt, env as e};",
        "use std::*;",
        "fn f() { std::process::exit(1) }",
        "fn f() { rand::rng() }",
        "use std::time; fn f() { time::SystemTime::now() }",
        "fn f(x: &Path) -> bool { x.exists() }",
    ] {
        found(text, "a pure module touches no clock");
    }
    fine("use std::path::Path; use std::time::Duration; use rand_chacha::ChaCha8Rng; use std::fmt::*;");
    assert_eq!(findings("src/store/lock.rs", "use std::fs; use std::time::Instant;"), Vec::<String>::new());
}

#[test]
fn printing_outside_cli_is_found() {
    for text in [
        "fn f() { println!(\"x\") }",
        "fn f() { std::eprintln!(\"x\") }",
        "fn f() { dbg!(1); }",
        "fn f() { io::stdout() }",
        "use std::io::{self, stderr};",
        "fn f() { rustix::stdio::stdout() }",
    ] {
        found(text, "only cli prints");
    }
    fine("fn f(command: C) { command.stdout(Stdio::piped()); writeln!(out, \"println!\") }");
    assert_eq!(findings("src/cli/mod.rs", "fn f() { println!() }"), Vec::<String>::new());
    assert_eq!(findings("src/store/word.rs", "fn f() { rustix::stdio::stdout() }"), Vec::<String>::new());
}
