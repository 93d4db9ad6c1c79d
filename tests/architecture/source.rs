//! The files of the crate, found as the compiler finds them: from `mod` to `mod`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path as FilePath, PathBuf};

use super::items::{declared_modules, without_tests};
use super::paths::{Path, paths};
use super::tokens::{Token, tokens};

/// One file without its tests.
pub(crate) struct Source {
    /// Path from the package's root.
    pub(crate) file: String,
    /// The module it is, from the crate's root: `["search", "plan"]`; empty for `lib` and `main`.
    pub(crate) module: Vec<String>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) paths: Vec<Path>,
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let module = module_of(file);
        let tokens = without_tests(&tokens(text));
        let paths = paths(&tokens, &module);
        Self { file: file.to_owned(), module, tokens, paths }
    }

    /// The top module it belongs to, or `lib` or `main`.
    pub(crate) fn top(&self) -> &str {
        let root = || self.file.trim_start_matches("src/").trim_end_matches(".rs");
        self.module.first().map_or_else(root, String::as_str)
    }
}

/// The module a file is, by its name.
fn module_of(file: &str) -> Vec<String> {
    let name = file.trim_start_matches("src/").trim_end_matches(".rs");
    let name = name.strip_suffix("/mod").unwrap_or(name);
    let is_root = matches!(name, "lib" | "main");
    name.split('/').filter(|_| !is_root).map(str::to_owned).collect()
}

/// The product's files, and the names of all files that any `mod` leads to.
pub(crate) struct Tree {
    pub(crate) sources: Vec<Source>,
    pub(crate) reached: BTreeSet<String>,
}

impl Tree {
    /// Reads the crate at `root` from `src/lib.rs` and `src/main.rs`.
    pub(crate) fn read(root: &FilePath) -> Self {
        let mut tree = Self { sources: Vec::new(), reached: BTreeSet::new() };
        for start in ["src/lib.rs", "src/main.rs"] {
            tree.add(root, start, false);
        }
        tree
    }

    fn add(&mut self, root: &FilePath, file: &str, test_only: bool) {
        let text = fs::read_to_string(root.join(file)).expect("a module has a file");
        self.reached.insert(file.to_owned());
        let source = Source::new(file, &text);
        let in_product: BTreeSet<String> = declared_modules(&source.tokens).into_iter().collect();
        let folder = [&["src".to_owned()], source.module.as_slice()].concat().join("/");
        if !test_only {
            self.sources.push(source);
        }
        for name in declared_modules(&tokens(&text)) {
            let alone = format!("{folder}/{name}.rs");
            let child = if root.join(&alone).exists() { alone } else { format!("{folder}/{name}/mod.rs") };
            self.add(root, &child, test_only || !in_product.contains(&name));
        }
    }
}

/// Every Rust file below `src`.
pub(crate) fn files_below(root: &FilePath, folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root.join(folder)).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let mut files = BTreeSet::new();
    for name in names {
        let path = format!("{folder}/{name}");
        if root.join(&path).is_dir() {
            files.extend(files_below(root, &path));
        } else if PathBuf::from(&path).extension().is_some_and(|extension| extension == "rs") {
            files.insert(path);
        }
    }
    files
}
