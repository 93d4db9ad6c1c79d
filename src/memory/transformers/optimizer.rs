//! The states of an optimizer, and what its step needs beside them.

use super::dtype::Dtype;
use super::setup::Optimizer;
use super::tape::Tape;
use super::tensor::{Source, Tensor};

/// Values below which bitsandbytes keeps a tensor's states in 32 bits (`min_8bit_size`).
const LEAST_8BIT: u64 = 4096;
/// Values with one scale (`blocksize` of the 8-bit optimizers).
const BLOCK: u64 = 256;

/// Makes the states of all that is trained, as the first step does.
pub(super) fn states(tape: &Tape, optimizer: Optimizer, trained: &[Tensor]) -> Vec<Tensor> {
    trained.iter().flat_map(|weight| states_of(tape, optimizer, weight)).collect()
}

fn states_of(tape: &Tape, optimizer: Optimizer, weight: &Tensor) -> Vec<Tensor> {
    let twice = |n, dtype| [0; 2].map(|_| tape.make(n, dtype));
    match optimizer {
        // `zeros_like(parameter)` twice; the step's number is another, on the host unless fused.
        Optimizer::AdamW | Optimizer::AdamWFused => twice(weight.n, weight.dtype).into(),
        Optimizer::AdamW8bit if weight.n < LEAST_8BIT => twice(weight.n, Dtype::F32).into(),
        Optimizer::AdamW8bit => {
            let (codes, scales) = (twice(weight.n, Dtype::Byte), twice(weight.n.div_ceil(BLOCK), Dtype::F32));
            codes.into_iter().chain(scales).collect()
        }
        Optimizer::PagedAdamW8bit => Vec::new(),
    }
}

/// The update: in place, but for the loop over lists of tensors, which holds the roots of all
/// second moments at once (`torch/optim/adam.py`, `_multi_tensor_adam`).
pub(super) fn step(tape: &Tape, optimizer: Optimizer, trained: &[Tensor]) {
    if optimizer == Optimizer::AdamW {
        let roots: Vec<Tensor> = trained.iter().map(|weight| tape.make(weight.n, weight.dtype)).collect();
        drop(roots);
    }
}

/// `zero_grad(set_to_none=True)`
pub(super) fn zero_grad(trained: &[Tensor]) {
    for leaf in trained.iter().filter_map(leaf_of) {
        leaf.grad.take();
    }
}

/// From the next micro-batch on, gradients are added to in place.
pub(super) fn settle(trained: &[Tensor]) {
    trained.iter().filter_map(leaf_of).for_each(Tape::settle);
}

fn leaf_of(weight: &Tensor) -> Option<&super::tensor::Leaf> {
    match &weight.source {
        Some(Source::Leaf(leaf)) => Some(leaf),
        _ => None,
    }
}
