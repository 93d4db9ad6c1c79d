//! The surrogate as a whole.
