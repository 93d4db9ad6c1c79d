//! What is published of the best hyperparameters: the defaults, and what the search expects beforehand.

/// Peak learning rate of all weights of a large model (Taori et al. 2023, Alpaca; Hugging Face's course).
pub const FULL_LEARNING_RATE: f64 = 2e-5;
/// Peak learning rate of adapters (Dettmers et al. 2023, `QLoRA`, table 9).
pub const LORA_LEARNING_RATE: f64 = 2e-4;
/// Examples of an optimizer step: 8–16 in the recipes of Alpaca and of Hugging Face's course.
pub const EFFECTIVE_BATCH_SIZE: usize = 16;
