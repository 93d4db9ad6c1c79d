//! Items of a file: which are compiled into the product, and which modules are declared.

use super::tokens::Token;

/// Items that end with a semicolon even if they hold braces.
const STATEMENTS: [&str; 5] = ["use", "static", "type", "let", "const"];

/// The tokens without what stands under `#[cfg(test)]`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match attribute_end(tokens, at) {
            Some(end) if is_test_only(&tokens[at..end]) => at = item_end(tokens, end),
            _ => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// Names in `mod name;`: modules with files of their own.
pub(crate) fn declared_modules(tokens: &[Token]) -> Vec<String> {
    let declared = tokens.windows(3).filter(|three| three[0].text == "mod" && three[2].text == ";");
    declared.map(|three| three[1].text.clone()).collect()
}

/// Where the attribute that begins `at` ends.
fn attribute_end(tokens: &[Token], at: usize) -> Option<usize> {
    let text = |index: usize| tokens.get(index).map(|token| token.text.as_str());
    (text(at) == Some("#") && text(at + 1) == Some("[")).then(|| group_end(tokens, at + 1))
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]`; not what is compiled without tests too.
fn is_test_only(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.text == word);
    has("cfg") && has("test") && !has("not") && !has("any")
}

/// One behind the bracket that closes the one `at`.
fn group_end(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// One behind the item that begins `at`, its further attributes included.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while let Some(end) = attribute_end(tokens, at) {
        at = end;
    }
    let is_statement = is_statement(&tokens[at..]);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" => return at + 1,
            // Of what the item stood in; a field has no end of its own.
            "}" => return at,
            "{" if !is_statement => return group_end(tokens, at),
            "(" | "[" | "{" => at = group_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}

fn is_statement(item: &[Token]) -> bool {
    let visibility = match item {
        [first, second, ..] if first.text == "pub" && second.text == "(" => group_end(item, 1),
        [first, ..] if first.text == "pub" => 1,
        _ => 0,
    };
    match &item[visibility..] {
        [first, second, ..] if second.text == "fn" => first.text != "const",
        [first, ..] => STATEMENTS.contains(&first.text.as_str()),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    fn check(source: &str, expected: &str) {
        let words: Vec<String> = without_tests(&tokens(source)).into_iter().map(|token| token.text).collect();
        assert_eq!(words.join(" "), expected, "{source}");
    }

    #[test]
    fn whole_items_under_test_are_cut_out() {
        check("a; #[cfg(test)] mod tests { fn f() { {} } } b", "a ; b");
        check("#[cfg(test)] mod testing; b", "b");
        check("#[cfg(test)] use a::{b, c}; d", "d");
        check("#[cfg(test)] pub(super) const A: B = B { c: 1 }; d", "d");
        check("#[cfg(test)] pub const fn a() -> [u8; 2] { b() } d", "d");
        check("#[cfg(test)] struct A(u8); #[cfg(all(test, unix))] impl A {} d", "d");
    }

    #[test]
    fn other_attributes_between_belong_to_the_item() {
        check("#[cfg(test)] #[cfg(unix)] mod tests { a } b", "b");
        check("#[cfg(unix)] #[cfg(test)] mod tests { a } b", "# [ cfg ( unix ) ] b");
    }

    #[test]
    fn what_is_also_compiled_without_tests_stays() {
        for kept in ["# [ cfg ( not ( test ) ) ] mod a { }", "# [ cfg ( feature = \" ) ] mod a ;"] {
            check(&kept.replace('"', "\"x\""), kept);
        }
    }

    #[test]
    fn modules_with_files_are_found() {
        assert_eq!(declared_modules(&tokens("mod a; pub mod b; mod c {} // mod d;\nuse x::y;")), ["a", "b"]);
    }
}
