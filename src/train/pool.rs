//! Where the training loop runs.

/// Runs `work` as one of the threads that share the loops over values.
///
/// A training step has hundreds of short parallel loops. Begun from another thread, each of them
/// would put that thread to sleep and wake it again; begun here, it runs at once.
pub fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
