//! Paths such as `crate::a::b` in a file's tokens, trees in braces spread out, `super` resolved.

use super::tokens::Token;

/// Words that may stand before a path without being part of it.
const BEFORE_PATHS: [&str; 12] =
    ["use", "return", "in", "as", "mut", "dyn", "impl", "match", "if", "else", "for", "where"];

/// One path, as it is written and as it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Segments from the root: of this crate if it is `inside`, else from an outside crate.
    pub(crate) segments: Vec<String>,
    /// Whether it was given by `crate`, `self` or `super`.
    pub(crate) inside: bool,
    /// Whether it names something even if it has one segment.
    pub(crate) in_use: bool,
    pub(crate) line: usize,
}

impl Path {
    pub(crate) fn first(&self) -> &str {
        self.segments.first().map_or("", String::as_str)
    }

    pub(crate) fn last(&self) -> &str {
        self.segments.last().map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> String {
        let root = if self.inside { "crate::" } else { "" };
        format!("{root}{}", self.segments.join("::"))
    }

    /// Whether it names `other` or something in it, or everything around it by `*`.
    pub(crate) fn reaches(&self, other: &str) -> bool {
        let other: Vec<&str> = other.split("::").collect();
        let shared = self.segments.iter().zip(&other).take_while(|(a, b)| a == b).count();
        shared == other.len() || self.segments.get(shared).is_some_and(|next| next == "*") && shared > 0
    }
}

/// Every path in the tokens of the file of `module`.
pub(crate) fn paths(tokens: &[Token], module: &[String]) -> Vec<Path> {
    let mut reader = Reader { tokens, module: module.to_vec(), found: Vec::new() };
    // Depths at which modules within the file were opened.
    let (mut opened, mut depth, mut at) = (Vec::new(), 0_usize, 0);
    while at < tokens.len() {
        match reader.text(at) {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if opened.last() == Some(&depth) {
                    opened.pop();
                    reader.module.pop();
                }
            }
            "mod" if reader.text(at + 2) == "{" => {
                reader.module.push(tokens[at + 1].text.clone());
                opened.push(depth);
            }
            _ => {}
        }
        at = reader.step(at);
    }
    reader.found
}

struct Reader<'a> {
    tokens: &'a [Token],
    module: Vec<String>,
    found: Vec<Path>,
}

impl Reader<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    fn is_word(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(Token::is_word)
    }

    /// Reads the path that begins `at`, if one does; gives where to go on.
    fn step(&mut self, at: usize) -> usize {
        let before = at.checked_sub(1).map_or("", |before| self.text(before)).to_owned();
        let in_use = before == "use" || before == "crate" && at > 1 && self.text(at - 2) == "extern";
        let separates = BEFORE_PATHS.contains(&before.as_str());
        let is_start = match self.text(at) {
            // From the root of all crates.
            "::" => separates || !self.is_word(at.wrapping_sub(1)) && !matches!(before.as_str(), ">" | ")"),
            "{" => in_use,
            word if BEFORE_PATHS.contains(&word) => false,
            _ => self.is_word(at) && before != "." && before != "::",
        };
        let first = at + usize::from(self.text(at) == "::");
        if is_start { self.tree(first, &[], in_use) } else { at + 1 }
    }

    fn tree(&mut self, mut at: usize, prefix: &[String], in_use: bool) -> usize {
        let mut segments = prefix.to_vec();
        while self.is_word(at) || self.text(at) == "*" {
            segments.push(self.text(at).to_owned());
            at += 1;
            let goes_on = self.is_word(at + 1) || matches!(self.text(at + 1), "{" | "*");
            if self.text(at) != "::" || !goes_on {
                self.found.extend(self.resolve(&segments, in_use, self.tokens[at - 1].line));
                return if in_use && self.text(at) == "as" { at + 2 } else { at };
            }
            at += 1;
        }
        if self.text(at) != "{" {
            return at + 1;
        }
        at += 1;
        while !matches!(self.text(at), "}" | "") {
            at = if self.text(at) == "," { at + 1 } else { self.tree(at, &segments, in_use) };
        }
        at + 1
    }

    fn resolve(&self, written: &[String], in_use: bool, line: usize) -> Option<Path> {
        let inside = matches!(written[0].as_str(), "crate" | "self" | "super" | "diapason");
        let mut segments = if inside { self.module.clone() } else { Vec::new() };
        for segment in written {
            match segment.as_str() {
                "crate" | "diapason" if inside => segments.clear(),
                "super" => drop(segments.pop()),
                "self" => {}
                _ => segments.push(segment.clone()),
            }
        }
        (in_use || written.len() > 1).then_some(Path { segments, inside, in_use, line })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    /// Paths of a made-up `src/a/b.rs`.
    fn check(source: &str, expected: &[&str]) {
        let found = paths(&tokens(source), &["a".to_owned(), "b".to_owned()]);
        assert_eq!(found.iter().map(Path::text).collect::<Vec<_>>(), expected, "{source}");
    }

    #[test]
    fn trees_are_spread_out_and_aliases_left_out() {
        check(
            "use crate::{c, d::{self as x, E}, f::*}; g",
            &["crate::c", "crate::d", "crate::d::E", "crate::f::*"],
        );
        check("use {csv, rand::{Rng as _, rng}};", &["csv", "rand::Rng", "rand::rng"]);
        check("use csv as c; pub use ::d; extern crate e;", &["csv", "d", "e"]);
    }

    #[test]
    fn self_and_super_are_resolved_from_the_module_they_stand_in() {
        check(
            "use super::c; use super::super::d::E; self::f::g();",
            &["crate::a::c", "crate::d::E", "crate::a::b::f::g"],
        );
        check(
            "mod inner { use super::x; fn f() { super::super::super::y::z() } } super::w::v()",
            &["crate::a::b::x", "crate::y::z", "crate::a::w::v"],
        );
        check("use super::super as root;", &["crate::"]);
    }

    #[test]
    fn paths_in_expressions_types_and_attributes_count_but_plain_names_do_not() {
        check("fn f(x: crate::c::D<::half::bf16>) { x.y(z); }", &["crate::c::D", "half::bf16"]);
        check(
            "#[derive(clap::Parser)] struct A; Vec::<crate::c::D>::new()",
            &["clap::Parser", "crate::c::D"],
        );
        check("html! { (crate::c::d(self.e)) }", &["crate::c::d"]);
    }

    #[test]
    fn a_star_reaches_what_it_brings() {
        let reaches = |written: &str, other| {
            paths(&tokens(&format!("use {written};")), &[]).iter().any(|path| path.reaches(other))
        };
        assert!(
            reaches("std::fs", "std::fs")
                && reaches("std::fs::File", "std::fs")
                && reaches("std::*", "std::fs")
        );
        assert!(!reaches("std::fmt", "std::fs") && !reaches("std::time", "std::time::Instant"));
        assert!(!reaches("other::*", "std::fs") && !reaches("std::fmt::*", "std::fs"));
    }
}
