//! The lists and switches among a GGUF's keys.

use candle_core::quantized::gguf_file::Value;

use super::QuantizeError;
use super::model_keys::Keys;

impl Keys<'_> {
    /// A list of texts that must be there.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, QuantizeError> {
        let text = |value: &Value| value.to_string().ok().cloned();
        let missing = || self.wrong(key, "missing".to_owned(), "a tokenizer in a GGUF needs it");
        self.list(key, "a list of texts is expected", text)?.ok_or_else(missing)
    }

    /// A list of whole numbers, if it is there.
    pub(super) fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, QuantizeError> {
        let number = |value: &Value| match value {
            Value::I8(number) => Some((*number).into()),
            Value::I16(number) => Some((*number).into()),
            Value::I32(number) => Some((*number).into()),
            other => other.to_u64().ok().and_then(|number| i64::try_from(number).ok()),
        };
        self.list(key, "a list of whole numbers is expected", number)
    }

    /// A list of numbers that must be there.
    pub(super) fn floats(&self, key: &str) -> Result<Vec<f32>, QuantizeError> {
        let missing = || self.wrong(key, "missing".to_owned(), "a vocabulary of scored pieces needs it");
        let number = |value: &Value| value.to_f32().ok();
        self.list(key, "a list of 32-bit floats is expected", number)?.ok_or_else(missing)
    }

    /// A switch, if it is there.
    pub(super) fn switch(&self, key: &str) -> Result<Option<bool>, QuantizeError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let wrong = |_| self.wrong(key, format!("{value:?}"), "true or false is expected");
        value.to_bool().map(Some).map_err(wrong)
    }

    /// Whether a list that goes with the tokens has one entry for each.
    pub(super) fn same_length(&self, key: &str, found: usize, tokens: usize) -> Result<(), QuantizeError> {
        if found == tokens {
            return Ok(());
        }
        Err(self.wrong(key, format!("{found} long for {tokens} tokens"), "each token has one"))
    }

    fn list<T>(
        &self,
        key: &str,
        hint: &'static str,
        item: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, QuantizeError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let Value::Array(items) = value else {
            return Err(self.wrong(key, "no list".to_owned(), hint));
        };
        let item = |value| item(value).ok_or_else(|| self.wrong(key, format!("a list with {value:?}"), hint));
        items.iter().map(item).collect::<Result<_, _>>().map(Some)
    }
}
