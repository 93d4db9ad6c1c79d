//! Root-mean-square norms as Transformers writes them, an operator a line.

use super::dtype::Dtype;
use super::pointwise::only;
use super::tape::Tape;
use super::tensor::Tensor;

/// Whose way of writing it.
#[derive(Clone, Copy, Debug)]
pub(super) enum NormKind {
    /// `weight * (x·r).to(dtype)`: Llama and most others.
    Llama,
    /// `((x·r)·(1 + weight.float())).type_as(x)`: Gemma.
    Gemma,
}

impl Tape {
    /// The norm of each `width` values.
    pub(super) fn norm(&self, x: &Tensor, weight: &Tensor, width: u64, kind: NormKind) -> Tensor {
        let dtype = x.dtype;
        match kind {
            NormKind::Llama => {
                let mut wide = self.cast(x, Dtype::F32);
                let variance = self.mean(&self.square(&wide), width);
                wide = self.mul(&wide, &self.reciprocal_root(&self.shifted(&variance)));
                let normed = self.cast(&wide, dtype);
                self.mul(weight, &normed)
            }
            NormKind::Gemma => {
                let wide = self.cast(x, Dtype::F32);
                let root = self.reciprocal_root(&self.shifted(&self.mean(&self.square(&wide), width)));
                let mut normed = self.mul(&wide, &root);
                drop((wide, root));
                normed = self.mul(&normed, &self.shifted(&self.cast(weight, Dtype::F32)));
                self.cast(&normed, dtype)
            }
        }
    }

    fn square(&self, x: &Tensor) -> Tensor {
        let rule = |tape: &Self, gradients: Vec<Option<Tensor>>, kept: &[Tensor]| {
            let Some(gradient) = only(gradients) else { return vec![None] };
            // grad · (2 · x¹)
            let _power = kept.first().map(|x| tape.make_like(x));
            let _twice = tape.make_like(&gradient);
            vec![Some(tape.make_like(&gradient))]
        };
        self.apply(&[x], &[x], || self.make_like(x), false, Box::new(rule))
    }

    fn mean(&self, x: &Tensor, width: u64) -> Tensor {
        let (n, by_token) = (x.n, x.by_token);
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let spread = |gradient: Tensor| Tensor { by_token, ..tape.make(n, gradient.dtype) };
            vec![only(gradients).map(spread)]
        };
        self.apply(&[x], &[], || self.make(n / width, x.dtype), false, Box::new(rule))
    }

    fn reciprocal_root(&self, x: &Tensor) -> Tensor {
        let rule = |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let Some(gradient) = only(gradients) else { return vec![None] };
            // −½ · grad · result³
            let _half = tape.make_like(&gradient);
            let _cube = tape.make_like(&gradient);
            vec![Some(tape.make_like(&gradient))]
        };
        self.apply(&[x], &[], || self.make_like(x), true, Box::new(rule))
    }
}
