//! What can be wrong with a card that was named or described.

/// Why there is no such card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No card of that name.
    #[error("`{typed}` is no GPU in the table\n  hint: {hint}")]
    Unknown {
        /// What was typed.
        typed: String,
        /// The name that was meant, or how to see them all.
        hint: String,
    },
    /// A section of the study file with a wrong value.
    #[error("`[gpu.{name}]`: `{key}` is {value}\n  hint: {right}")]
    Section {
        /// The section.
        name: String,
        /// Key in it.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        right: &'static str,
    },
}
