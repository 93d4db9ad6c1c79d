//! What is made of the result: `[quantize]`.

use super::{Check, Checked, many};
use crate::space::{QuantizeSettings, StudyFile};

/// Names of GGUF types that can be written.
pub const GGUF_TYPES: [&str; 8] = ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"];

impl Check<'_> {
    pub(super) fn quantize(&self, file: &StudyFile) -> Checked<QuantizeSettings> {
        // Without a test split of ours nothing can be said of what a file loses.
        let is_own = file.trainer.as_ref().is_some_and(|trainer| trainer.examples.is_some());
        let usual = if is_own { vec![] } else { vec!["q8_0".to_owned(), "q4_k_m".to_owned()] };
        let types = file.quantize.types.as_ref().map_or(usual, many);
        match types.iter().find(|name| !GGUF_TYPES.contains(&name.as_str())) {
            Some(unknown) => self.wrong(
                "quantize.types",
                format!("`{unknown}`"),
                &format!("use {}", GGUF_TYPES.join(", ")),
            ),
            None => Ok(QuantizeSettings { types }),
        }
    }
}
