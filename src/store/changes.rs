//! What differs between two definitions of a study, in words.

use serde_json::Value;

/// Each setting that differs, such as ``` `train.epochs` was 2.0, is 3.0 ```.
pub(super) fn changes(stored: &str, given: &str) -> Vec<String> {
    let parse = |text| serde_json::from_str(text).unwrap_or(Value::Null);
    let mut found = Vec::new();
    compare("", &parse(stored), &parse(given), &mut found);
    if found.is_empty() {
        found.push("its definition is written otherwise".to_owned());
    }
    found
}

fn compare(key: &str, stored: &Value, given: &Value, found: &mut Vec<String>) {
    if let (Value::Object(stored), Value::Object(given)) = (stored, given) {
        let added = given.keys().filter(|name| !stored.contains_key(*name));
        for name in stored.keys().chain(added) {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            let value = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
            compare(&key, &value(stored), &value(given), found);
        }
    } else if stored != given {
        found.push(format!("`{key}` was {stored}, is {given}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_that_differs_is_named_with_both_values() {
        let stored = r#"{"seed":1,"train":{"epochs":2.0,"schedule":"cosine"},"types":["q8_0"]}"#;
        let given = r#"{"seed":1,"train":{"epochs":3.0,"schedule":"cosine","decay":1},"types":[]}"#;
        let expected = [
            "`train.epochs` was 2.0, is 3.0",
            "`train.decay` was null, is 1",
            r#"`types` was ["q8_0"], is []"#,
        ];
        assert_eq!(changes(stored, given), expected);
    }

    #[test]
    fn a_difference_that_no_setting_shows_is_still_told() {
        assert_eq!(changes("{}", "{ }").len(), 1);
    }
}
