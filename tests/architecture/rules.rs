//! What files may name, and the findings where they do not keep to it.

use std::collections::BTreeSet;

use super::paths::Path;
use super::source::Source;

/// Names, each with the modules that go with it, parted by spaces.
pub(crate) type Table = [(&'static str, &'static str)];

/// What is never printed with, but in the modules that print.
const PRINTING_MACROS: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

/// What reads a clock, a file, the environment, another process or the global random generator.
const IMPURE_PATHS: [&str; 10] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::net",
    "std::thread",
    "std::io::stdin",
    "std::time::Instant",
    "std::time::SystemTime",
    "rand::rng",
    "rand::thread_rng",
];

/// The same, by words that mean nothing else: imported by halves, or methods of a path.
const IMPURE_WORDS: [&str; 10] = [
    "File",
    "OpenOptions",
    "Instant",
    "SystemTime",
    "thread_rng",
    "exists",
    "is_file",
    "is_dir",
    "read_dir",
    "canonicalize",
];

/// Paths into CUDA, however they are reached.
const CUDA_WORDS: [&str; 6] =
    ["cudarc", "cuda_backend", "CudaDevice", "CudaStorage", "new_cuda", "cuda_if_available"];

/// What is called CUDA in a table of doors.
pub(crate) const CUDA: &str = "CUDA";

/// The rules of one crate.
pub(crate) struct Rules {
    /// For each top module the others it imports, exactly.
    pub(crate) imports: &'static Table,
    /// For each outside crate the modules that use it, exactly.
    pub(crate) doors: &'static Table,
    /// As `doors`, but not used yet.
    pub(crate) reserved: &'static Table,
    /// Modules that are functions of their arguments.
    pub(crate) pure: &'static [&'static str],
    /// Modules that print.
    pub(crate) printing: &'static [&'static str],
    /// Files and the path by which they reach a standard stream all the same.
    pub(crate) streams: &'static [(&'static str, &'static str)],
}

impl Rules {
    /// Everything that breaks a rule, one line each.
    pub(crate) fn findings(&self, sources: &[Source]) -> Vec<String> {
        let mut findings = self.wrong_imports(sources);
        findings.extend(self.wrong_doors(sources));
        for source in sources {
            if self.pure.contains(&source.top()) {
                findings.extend(impure(source));
            }
            if !self.printing.contains(&source.top()) {
                findings.extend(self.printed(source));
            }
        }
        findings.sort();
        findings
    }

    /// Sibling modules; the crate's root as a whole has no name and is in no row.
    fn wrong_imports(&self, sources: &[Source]) -> Vec<String> {
        let mut findings = Vec::new();
        let mut used = BTreeSet::new();
        for source in sources {
            let allowed = row(self.imports, source.top()).unwrap_or_default();
            let others = source.paths.iter().filter(|path| path.inside && path.first() != source.top());
            for path in others {
                used.insert((source.top(), path.first()));
                if !allowed.contains(&path.first()) {
                    let rule = format!("it may import only [{}] (IMPORTS)", allowed.join(", "));
                    findings.push(finding(source, path.line, &path.text(), &rule));
                }
            }
        }
        let unused = pairs(self.imports).filter(|pair| !used.contains(pair));
        findings.extend(unused.map(|(module, other)| {
            format!("IMPORTS lets `{module}` import `{other}`, which nothing in it does: take it out")
        }));
        findings
    }

    /// Outside crates. The standard library and this crate's own types are in no table.
    fn wrong_doors(&self, sources: &[Source]) -> Vec<String> {
        let mut findings = Vec::new();
        let mut used = BTreeSet::new();
        for source in sources {
            for path in source.paths.iter().filter(|path| !path.inside) {
                let name = crate_of(path);
                let doors = row(self.doors, name).or_else(|| row(self.reserved, name));
                used.insert((name, source.top()));
                if let Some(doors) = doors.filter(|doors| !doors.contains(&source.top())) {
                    let rule = format!("the doors of {name} are [{}] (DOORS)", doors.join(", "));
                    findings.push(finding(source, path.line, &path.text(), &rule));
                }
            }
        }
        let unused = pairs(self.doors).filter(|pair| !used.contains(pair));
        findings.extend(unused.map(|(name, module)| {
            format!("DOORS lets `{module}` use `{name}`, which nothing in it does: take it out")
        }));
        findings
    }

    fn printed(&self, source: &Source) -> Vec<String> {
        let macros = source.tokens.windows(2).filter(|two| two[1].text == "!");
        let macros = macros.filter(|two| PRINTING_MACROS.contains(&two[0].text.as_str()));
        let macros = macros.map(|two| (two[0].line, format!("{}!", two[0].text)));
        let is_stream = |path: &&Path| matches!(path.last(), "stdout" | "stderr");
        let is_allowed = |path: &str| self.streams.contains(&(source.file.as_str(), path));
        let streams = source.paths.iter().filter(is_stream).map(|path| (path.line, path.text()));
        let streams = streams.filter(|(_, path)| !is_allowed(path));
        let rule = "only cli prints; others emit events or write to what they are given";
        macros.chain(streams).map(|(line, name)| finding(source, line, &name, rule)).collect()
    }
}

/// Clocks, files and the like in a file that must be a function of its arguments.
fn impure(source: &Source) -> Vec<String> {
    let paths = source.paths.iter().filter(|path| IMPURE_PATHS.iter().any(|impure| path.reaches(impure)));
    let paths = paths.map(|path| (path.line, path.text()));
    let words = source.tokens.iter().filter(|token| IMPURE_WORDS.contains(&token.text.as_str()));
    let words = words.map(|token| (token.line, token.text.clone()));
    let rule = "a pure module touches no clock, file, process, environment or global random generator";
    paths.chain(words).map(|(line, name)| finding(source, line, &name, rule)).collect()
}

fn crate_of(path: &Path) -> &str {
    let is_cuda = path.segments.iter().any(|segment| CUDA_WORDS.contains(&segment.as_str()));
    if is_cuda { CUDA } else { path.first() }
}

/// The modules that go with a name; none where the name is in no row.
pub(crate) fn row(table: &'static Table, name: &str) -> Option<Vec<&'static str>> {
    table.iter().find(|(known, _)| *known == name).map(|(_, row)| row.split_whitespace().collect())
}

/// Each name with each of its modules.
fn pairs(table: &'static Table) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.iter().flat_map(|(name, row)| row.split_whitespace().map(move |module| (*name, module)))
}

fn finding(source: &Source, line: usize, name: &str, rule: &str) -> String {
    format!("{}:{line}: `{name}` in {}: {rule}", source.file, source.top())
}
