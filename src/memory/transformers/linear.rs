//! Linear layers: dense, quantized to 4 bits, and with LoRA's thin matrices beside them.

use std::rc::Rc;

use super::dtype::Dtype;
use super::pointwise::only;
use super::tape::Tape;
use super::tensor::{Source, Tensor};

/// Values of a block with one scale (bitsandbytes' default `blocksize`).
const BLOCK: u64 = 64;
/// Scales of a block of scales, where they are quantized too.
const SCALE_BLOCK: u64 = 256;

/// A linear layer.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) base: Base,
    pub(super) bias: Option<Tensor>,
    pub(super) lora: Option<Lora>,
    /// Width of its output.
    pub(super) out: u64,
    /// Its name among the layer's modules, such as `q_proj`.
    pub(super) name: String,
}

/// The matrix.
#[derive(Debug)]
pub(super) enum Base {
    Dense(Tensor),
    Nf4(Nf4),
}

/// A matrix as bitsandbytes stores it.
#[derive(Debug)]
pub(super) struct Nf4 {
    /// Number of values.
    n: u64,
    double_quantized: bool,
    /// The type products are computed in.
    compute: Dtype,
    _stored: Vec<Tensor>,
}

/// The two thin matrices.
#[derive(Debug)]
pub(super) struct Lora {
    pub(super) a: Tensor,
    pub(super) b: Tensor,
    pub(super) rank: u64,
    pub(super) dropout: bool,
}

/// How a forward pass is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The type that autocast makes the inputs of products.
    pub(super) autocast: Option<Dtype>,
    pub(super) training: bool,
}

impl Nf4 {
    pub(super) fn new(tape: &Tape, n: u64, double_quantized: bool, compute: Dtype) -> Self {
        let blocks = n.div_ceil(BLOCK);
        let scales = tape.make(blocks, Dtype::F32);
        // The codes, and the 16 values they stand for.
        let mut stored = vec![tape.make(n.div_ceil(2), Dtype::Byte), tape.make(16, Dtype::F32)];
        if double_quantized {
            stored.push(tape.make(blocks, Dtype::Byte));
            stored.push(tape.make(blocks.div_ceil(SCALE_BLOCK), Dtype::F32));
            // The mean of the scales, and the 256 values of their code.
            stored.push(tape.make(1, Dtype::F32));
            stored.push(tape.make(256, Dtype::F32));
        } else {
            stored.push(scales);
        }
        Self { n, double_quantized, compute, _stored: stored }
    }

    /// The matrix again, for one product.
    fn dequantized(n: u64, double_quantized: bool, compute: Dtype, tape: &Tape) -> (Tensor, Option<Tensor>) {
        let scales = double_quantized.then(|| tape.make(n.div_ceil(BLOCK), Dtype::F32));
        (tape.make(n, compute), scales)
    }

    /// `MatMul4Bit`: keeps nothing but the codes, and makes the matrix again for the backward.
    fn product(&self, tape: &Tape, x: &Tensor, out: u64) -> Tensor {
        let (n, double, compute) = (self.n, self.double_quantized, self.compute);
        let of_x = x.n;
        let rule = move |tape: &Tape, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let Some(_gradient) = only(gradients) else { return vec![None] };
            let _matrix = Self::dequantized(n, double, compute, tape);
            vec![Some(tape.make(of_x, compute))]
        };
        let made = || {
            let _matrix = Self::dequantized(n, double, compute, tape);
            tape.make(x.n / (n / out) * out, compute)
        };
        tape.apply(&[x], &[], made, false, Box::new(rule))
    }
}

impl Linear {
    /// Width of its input.
    pub(super) const fn width(&self) -> u64 {
        match &self.base {
            Base::Dense(weight) => weight.n / self.out,
            Base::Nf4(codes) => codes.n / self.out,
        }
    }

    /// `x · weightᵀ + bias`, and LoRA's share as PEFT adds it.
    pub(super) fn forward(&self, tape: &Tape, run: Run, x: &Tensor) -> Tensor {
        let base = self.base_product(tape, run, x);
        match (&self.lora, &self.base) {
            (None, _) => base,
            (Some(lora), Base::Dense(_)) => {
                let dtype = base.dtype;
                let x = tape.cast(x, Dtype::F32);
                let share = self.thin_product(tape, run, lora, &x);
                let sum = tape.add(&base, &share);
                drop((base, share));
                tape.cast(&sum, dtype)
            }
            (Some(lora), Base::Nf4(_)) => {
                // PEFT's layer for 4 bits copies the result first. Types it leaves to autocast, for
                // which it asks a card only (`torch.is_autocast_enabled()`).
                let dtype = base.dtype;
                let mut result = tape.shifted(&base);
                drop(base);
                let is_left = run.autocast.is_some() && tape.on_card;
                let x = if is_left { x.clone() } else { tape.cast(x, Dtype::F32) };
                let mut share = self.thin_product(tape, run, lora, &x);
                if !is_left {
                    share = tape.cast(&share, dtype);
                }
                result = tape.add(&result, &share);
                result
            }
        }
    }

    fn thin_product(&self, tape: &Tape, run: Run, lora: &Lora, x: &Tensor) -> Tensor {
        let drops = lora.dropout && run.training;
        let dropped = if drops { tape.dropout(x) } else { x.clone() };
        let narrow = dense(tape, run, &dropped, &lora.a, lora.rank, None);
        drop(dropped);
        let wide = dense(tape, run, &narrow, &lora.b, self.out, None);
        drop(narrow);
        tape.scaled(&wide)
    }

    fn base_product(&self, tape: &Tape, run: Run, x: &Tensor) -> Tensor {
        match &self.base {
            Base::Dense(weight) => dense(tape, run, x, weight, self.out, self.bias.as_ref()),
            Base::Nf4(codes) => {
                debug_assert_eq!(x.n % self.width(), 0);
                let narrow = tape.cast(x, codes.compute);
                // A bias is frozen here, and added within the product.
                let _bias = self.bias.as_ref().map(|bias| tape.cast(bias, codes.compute));
                let result = codes.product(tape, &narrow, self.out);
                tape.cast(&result, x.dtype)
            }
        }
    }
}

/// `linear`, whose inputs autocast makes 16 bits wide.
pub(super) fn dense(
    tape: &Tape,
    run: Run,
    x: &Tensor,
    weight: &Tensor,
    out: u64,
    bias: Option<&Tensor>,
) -> Tensor {
    let Some(half) = run.autocast else {
        return tape.product(x, weight, out, bias);
    };
    let x = tape.cast(x, half);
    let weight = tape.cast_weight(weight, half);
    let bias = bias.map(|bias| tape.cast_weight(bias, half));
    tape.product(&x, &weight, out, bias.as_ref())
}

impl Tape {
    /// A weight in 16 bits; autocast remembers its copies of trained weights, and of no others
    /// (`autocast_mode.cpp`, `cached_cast`).
    fn cast_weight(&self, weight: &Tensor, half: Dtype) -> Tensor {
        let Some(Source::Leaf(leaf)) = &weight.source else { return self.cast(weight, half) };
        if weight.dtype == half {
            return weight.clone();
        }
        let key = Rc::as_ptr(leaf).addr();
        if let Some(known) = self.casts.borrow().get(&key) {
            return known.clone();
        }
        let cast = self.cast(weight, half);
        self.casts.borrow_mut().insert(key, cast.clone());
        cast
    }
}
