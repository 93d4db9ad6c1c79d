//! The operations of a step as replays: what each makes, and what it needs meanwhile.

use super::stored::Matrix;
use super::{BatchShape, Heads};
use crate::memory::Held;

/// Bytes of an f32.
pub(super) const WIDE: u64 = 4;

/// One kind of machine's operations. Shapes are those of `model::ops`; what is returned is alive until it is
/// dropped.
pub(super) trait Ops {
    /// An activation of so many values.
    fn tensor(&self, elements: usize) -> Held;

    /// The rows of `n` tokens, [n, d].
    fn embedding(&self, n: usize, d: usize) -> Held;

    /// Adds the gradients of `n` rows to those of their tokens.
    fn embedding_backward(&self, n: usize, d: usize);

    /// x + y, where a kernel is not asked.
    fn sum(&self, x: Held, y: Held) -> Held;

    /// A norm of `n` values whose weight has `d`.
    fn norm(&self, n: usize, d: usize) -> Held;

    /// residual + its gradient.
    fn norm_backward(&self, residual: Held, n: usize, d: usize, is_trained: bool) -> Held;

    /// x turned, [n, width].
    fn rope(&self, x: Held, n: usize, width: usize, head: usize) -> Held;

    /// act(gate)·up, whose sigmoid is of the gate or of a cubic of it.
    fn gated(&self, elements: usize, is_cubic: bool) -> Held;

    /// The gradients of both.
    fn gated_backward(&self, gate: Held, up: Held, elements: usize, is_cubic: bool) -> (Held, Held);

    /// x·Wᵀ for n rows.
    fn linear(&self, n: usize, w: Matrix) -> Held;

    /// onto + scale·x·Wᵀ.
    fn linear_onto(&self, onto: Held, n: usize, w: Matrix, is_scaled: bool) -> Held;

    /// dy·W.
    fn backward_input(&self, n: usize, w: Matrix) -> Held;

    /// onto + scale·dy·W.
    fn backward_input_onto(&self, onto: Held, n: usize, w: Matrix, is_scaled: bool) -> Held;

    /// dW (+)= scale·dyᵀ·x.
    fn backward_weight(&self, n: usize, w: Matrix, is_scaled: bool, adds: bool);

    /// y + b.
    fn add_bias(&self, y: Held, n: usize, o: usize) -> Held;

    /// db += Σ dy.
    fn bias_backward(&self, n: usize, o: usize);

    /// x without what is dropped.
    fn dropout(&self, elements: usize) -> Held;

    /// What was attended, [n, h·k].
    fn attention(&self, batch: &BatchShape, heads: Heads) -> Held;

    /// (dq, dkeys, dvalues, the output again).
    fn attention_backward(
        &self,
        dout: Held,
        inputs: [Held; 3],
        batch: &BatchShape,
        heads: Heads,
    ) -> ([Held; 3], Held);

    /// One update of a weight of so many values with its moments.
    fn update(&self, elements: usize);

    /// Loss of n rows of x [n, d] under a head [v, d]; with the gradient of x, and of W where it is trained.
    fn head(
        &self,
        x: Held,
        n: usize,
        head: Matrix,
        gradients: Option<HeadGradients>,
        is_capped: bool,
    ) -> Option<Held>;
}

/// Which gradients of the head are made.
#[derive(Clone, Copy)]
pub(super) struct HeadGradients {
    /// Whether there is one of W, and whether it is added to another.
    pub(super) weight: Option<bool>,
}
