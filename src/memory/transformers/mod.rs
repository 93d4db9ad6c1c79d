//! How much memory does it take to train with Transformers, PEFT and PyTorch?
//!
//! The code of Transformers is replayed statement by statement on tensors that have a size and no
//! values, over an autograd that keeps what PyTorch's keeps and releases it when PyTorch does. So a
//! peak is not a formula but what came out of the order of things: temporaries of an operator,
//! gradients that wait, Python variables that hold on.
//!
//! What was read for it: torch 2.15, transformers 5.23, peft 0.21, bitsandbytes 0.50.
//! `tests/peers/transformers_memory.py` measures the same on PyTorch's CPU allocator.

mod arrival;
mod attention;
mod checkpoint;
mod device;
mod dtype;
mod layer;
mod linear;
mod load;
mod loss;
mod matmul;
mod model;
mod norm;
mod optimizer;
mod pointwise;
mod pool;
mod replay;
mod rotary;
mod setup;
mod tape;
mod tensor;
mod trace;

pub use device::{CardModel, DevicePeak, device_peak};
pub use replay::replay;
pub use setup::{
    Attention, HalfPrecision, Kernels, Method, Optimizer, TrainingLoop, TransformersSetup, Weights,
};
