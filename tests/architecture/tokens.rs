//! Rust text as words: comments are gone, and what stands in quotes names nothing.

/// A word, `::`, or one other character, with the line it stands in, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    /// Identifiers and keywords.
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(starts_word)
    }
}

/// What stands for a literal.
const LITERAL: &str = "\"";

fn starts_word(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn in_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The words of a source text.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (length, text) = next(rest, first);
        let (taken, after) = rest.split_at(length);
        if let Some(text) = text {
            tokens.push(Token { text: text.to_owned(), line });
        }
        line += taken.matches('\n').count();
        rest = after;
    }
    tokens
}

/// Length of what comes next, and the word it is.
fn next(rest: &str, first: char) -> (usize, Option<&str>) {
    if first.is_whitespace() {
        (first.len_utf8(), None)
    } else if rest.starts_with("//") {
        (rest.find('\n').unwrap_or(rest.len()), None)
    } else if rest.starts_with("/*") {
        (block_comment(rest), None)
    } else if let Some(length) = literal(rest) {
        (length, Some(LITERAL))
    } else if let Some(raw) = rest.strip_prefix("r#") {
        let length = word(raw);
        (2 + length, Some(&raw[..length]))
    } else if first == '\'' {
        (1 + word(&rest[1..]), None)
    } else if in_word(first) {
        let length = word(rest);
        (length, Some(&rest[..length]))
    } else {
        let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
        (length, Some(&rest[..length]))
    }
}

fn word(rest: &str) -> usize {
    rest.find(|c| !in_word(c)).unwrap_or(rest.len())
}

/// Length of a comment that may hold others.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let step = match rest.get(at..at + 2) {
            Some("/*") => {
                depth += 1;
                2
            }
            Some("*/") => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Length of a text or character in quotes, of any kind; none where no quote opens here.
fn literal(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c: char| !matches!(c, 'b' | 'c' | 'r')).unwrap_or(rest.len());
    let (prefix, quoted) = rest.split_at(prefix);
    if !matches!(prefix, "" | "b" | "c" | "r" | "br" | "cr") {
        return None;
    }
    if prefix.ends_with('r') {
        let hashes = quoted.len() - quoted.trim_start_matches('#').len();
        let text = quoted[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = text.find(&end).map_or(text.len(), |at| at + end.len());
        return Some(prefix.len() + hashes + 1 + length);
    }
    let quote = quoted.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let text = &quoted[1..];
    if quote == '\'' && !text.starts_with('\\') {
        // A quote that is not closed after one character begins a lifetime.
        let second = text.chars().next()?.len_utf8();
        return text[second..].starts_with('\'').then_some(prefix.len() + second + 2);
    }
    Some(prefix.len() + 1 + closing(text, quote))
}

/// Bytes up to and with the quote that ends a text with escapes.
fn closing(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        let words: Vec<String> = tokens(source).into_iter().map(|token| token.text).collect();
        assert_eq!(words.join(" "), expected, "{source}");
    }

    #[test]
    fn comments_are_no_words() {
        check("a // b\nc /* d /* e */ f */ g", "a c g");
        check("/// [`crate::store`]\n//! x\nb /* never closed", "b");
    }

    #[test]
    fn literals_are_words_of_their_own() {
        check(r#"a("x // \" y") + b'\'' + 'c' + '\n'"#, r#"a ( " ) + " + " + ""#);
        check("r#\"a \" b\"# c br\"\\\" d", "\" c \" d");
        check("c\"a\" 'ü' x", "\" \" x");
        check("1_000u64..2.5", "1_000u64 . . 2 . 5");
    }

    #[test]
    fn lifetimes_and_raw_names_are_told_from_literals() {
        check("fn f<'a>(x: &'a str) { r#type::b }", "fn f < > ( x : & str ) { type :: b }");
        check("break 'outer; 'x' bc", "break ; \" bc");
    }

    #[test]
    fn lines_are_counted_through_comments_and_texts() {
        let found = tokens("a\n/* \n */ b \"\n\" c");
        let lines: Vec<(&str, usize)> = found.iter().map(|token| (token.text.as_str(), token.line)).collect();
        assert_eq!(lines, [("a", 1), ("b", 3), ("\"", 3), ("c", 4)]);
    }
}
