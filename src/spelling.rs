//! Which name was meant by one that does not exist.

/// The name nearest to `wrong`, unless more than half of its letters would have to change.
///
/// Upper and lower case count as the same letter. Distance: Damerau 1964, Levenshtein 1966.
#[must_use]
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase());
    let (fewest, name) =
        names.into_iter().map(|name| (distance(name), name)).min_by_key(|(changes, _)| *changes)?;
    (fewest <= wrong.chars().count().div_ceil(2)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        for (wrong, meant) in [("sorce", Some("source")), ("Prompt", Some("prompt")), ("zzzz", None)] {
            assert_eq!(nearest(wrong, ["prompt", "source", "format"]), meant);
        }
        assert_eq!(nearest("a", []), None);
    }
}
