//! The values of a `config.json` by key, each of its type or an error that names it.

use serde_json::{Map, Value};

use super::ConfigError;

/// One object of a configuration.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a>(pub &'a Map<String, Value>);

type Result<T> = std::result::Result<T, ConfigError>;

fn wrong(key: &str, value: &Value, right: &str) -> ConfigError {
    ConfigError::Syntax(format!("`{key}` is {value}, where {right} belongs"))
}

impl<'a> Keys<'a> {
    /// Whether the key is there, `null` or not.
    pub(super) fn has(self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The value; none where it is absent or `null`.
    pub(super) fn value(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn typed<T>(
        self,
        key: &str,
        right: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let read = |value| read(value).ok_or_else(|| wrong(key, value, right));
        self.value(key).map(read).transpose()
    }

    /// A whole number.
    pub(super) fn count(self, key: &str) -> Result<Option<usize>> {
        let read = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        self.typed(key, "a whole number", read)
    }

    /// A whole number, or what the family takes where the key is absent; `null` is none.
    pub(super) fn count_or(self, key: &str, default: Option<usize>) -> Result<Option<usize>> {
        if self.has(key) { self.count(key) } else { Ok(default) }
    }

    /// A whole number that must be there.
    pub(super) fn size(self, key: &str) -> Result<usize> {
        self.count(key)?.ok_or_else(|| ConfigError::Syntax(format!("`{key}` is missing")))
    }

    /// A number.
    pub(super) fn number(self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// True or false.
    pub(super) fn flag(self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "`true` or `false`", Value::as_bool)
    }

    /// A string.
    pub(super) fn text(self, key: &str) -> Result<Option<&'a str>> {
        self.typed(key, "a string", Value::as_str)
    }

    /// Numbers.
    pub(super) fn numbers(self, key: &str) -> Result<Option<Vec<f64>>> {
        let all = |value: &Value| value.as_array()?.iter().map(Value::as_f64).collect();
        self.typed(key, "a list of numbers", all)
    }

    /// Strings.
    pub(super) fn texts(self, key: &str) -> Result<Option<Vec<&'a str>>> {
        let all = |value: &'a Value| value.as_array()?.iter().map(Value::as_str).collect();
        self.typed(key, "a list of strings", all)
    }

    /// An object.
    pub(super) fn object(self, key: &str) -> Result<Option<Self>> {
        self.typed(key, "an object", |value| value.as_object().map(Self))
    }

    /// A token, or the first of several.
    pub(super) fn token(self, key: &str) -> Option<u32> {
        let value = self.value(key)?;
        let value = value.as_array().map_or(Some(value), |ids| ids.first())?;
        value.as_u64().and_then(|id| u32::try_from(id).ok())
    }
}
