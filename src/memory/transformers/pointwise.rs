//! Operators on each value by itself, and what autograd keeps for them (`derivatives.yaml`).

use super::dtype::Dtype;
use super::tape::Tape;
use super::tensor::Tensor;

/// The only gradient of a node with one output.
pub(super) fn only(gradients: Vec<Option<Tensor>>) -> Option<Tensor> {
    gradients.into_iter().next().flatten()
}

impl Tape {
    /// Makes a gradient as its input is: summed over what was broadcast, then of its type.
    pub(super) fn fitted(&self, gradient: Tensor, n: u64, dtype: Dtype) -> Tensor {
        let summed = if gradient.n > n { self.make(n, gradient.dtype) } else { gradient };
        self.converted(&summed, dtype)
    }

    /// `x.to(dtype)` outside of the graph.
    pub(super) fn converted(&self, x: &Tensor, dtype: Dtype) -> Tensor {
        if x.dtype == dtype {
            return x.clone();
        }
        Tensor { by_token: x.by_token, ..self.make(x.n, dtype) }
    }

    /// `x.to(dtype)`
    pub(super) fn cast(&self, x: &Tensor, dtype: Dtype) -> Tensor {
        let old = x.dtype;
        if old == dtype {
            return x.clone();
        }
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            vec![only(gradients).map(|gradient| tape.converted(&gradient, old))]
        };
        self.apply(&[x], &[], || self.converted(x, dtype), false, Box::new(rule))
    }

    /// What comes of two tensors, value by value. A card's kernel reads both as they are; on the
    /// CPU the narrower one is widened first (`TensorIterator`'s common type).
    fn combined(&self, a: (u64, Dtype), b: (u64, Dtype)) -> impl FnOnce() -> Tensor {
        let dtype = a.1.promoted(b.1);
        move || {
            let widened = |x: (u64, Dtype)| (!self.on_card && x.1 != dtype).then(|| self.make(x.0, dtype));
            let _widened = (widened(a), widened(b));
            self.make(a.0.max(b.0), dtype)
        }
    }

    fn combined_like(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let larger = if b.n > a.n { b } else { a };
        Tensor { by_token: larger.by_token, ..self.combined((a.n, a.dtype), (b.n, b.dtype))() }
    }

    /// `a·b`, where one may be broadcast.
    pub(super) fn mul(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let mut kept = Vec::new();
        if b.needs_grad() {
            kept.push(a);
        }
        if a.needs_grad() {
            kept.push(b);
        }
        let wanted = [a, b].map(|x| x.needs_grad().then_some((x.n, x.dtype)));
        let others = [b, a].map(|x| (x.n, x.dtype));
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let Some(gradient) = only(gradients) else { return vec![None, None] };
            let this = (gradient.n, gradient.dtype);
            let product = |i: usize| {
                let made = tape.combined(this, others[i]);
                wanted[i].map(|_| Tensor { by_token: gradient.by_token, ..made() })
            };
            let products = [product(0), product(1)];
            let fit = |(product, wanted): (Option<Tensor>, Option<(u64, Dtype)>)| {
                let (n, dtype) = wanted?;
                Some(tape.fitted(product?, n, dtype))
            };
            products.into_iter().zip(wanted).map(fit).collect()
        };
        let made = || self.combined_like(a, b);
        self.apply(&[a, b], &kept, made, false, Box::new(rule))
    }

    /// `a + b`
    pub(super) fn add(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let made = || self.combined_like(a, b);
        let wanted = [a, b].map(|x| x.needs_grad().then_some((x.n, x.dtype)));
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let Some(gradient) = only(gradients) else { return vec![None, None] };
            let fit = |(n, dtype)| tape.fitted(gradient.clone(), n, dtype);
            wanted.into_iter().map(|wanted| wanted.map(fit)).collect()
        };
        self.apply(&[a, b], &[], made, false, Box::new(rule))
    }

    /// `x·c` or `x/c`: the number is kept, in no memory of the device.
    pub(super) fn scaled(&self, x: &Tensor) -> Tensor {
        let number = self.make(0, Dtype::F32);
        self.apply(&[x], &[&number], || self.make_like(x), false, Box::new(one_for_one))
    }

    /// `-x`, whose backward needs nothing.
    pub(super) fn negated(&self, x: &Tensor) -> Tensor {
        self.apply(&[x], &[], || self.make_like(x), false, Box::new(one_for_one))
    }

    /// `x + c`, which hands its gradient on.
    pub(super) fn shifted(&self, x: &Tensor) -> Tensor {
        let rule = |_: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| vec![only(gradients)];
        self.apply(&[x], &[], || self.make_like(x), false, Box::new(rule))
    }

    /// A function whose backward needs its input: `silu`, `gelu`.
    pub(super) fn activated(&self, x: &Tensor) -> Tensor {
        self.apply(&[x], &[x], || self.make_like(x), false, Box::new(one_for_one))
    }

    /// A function whose backward needs its result: `tanh`.
    pub(super) fn squashed(&self, x: &Tensor) -> Tensor {
        self.apply(&[x], &[], || self.make_like(x), true, Box::new(one_for_one))
    }

    /// `dropout(x)`: on a card a mask of bytes is kept, on the CPU one of the input's type.
    pub(super) fn dropout(&self, x: &Tensor) -> Tensor {
        let mask = self.make(x.n, if self.on_card { Dtype::Byte } else { x.dtype });
        self.apply(&[x], &[&mask], || self.make_like(x), false, Box::new(one_for_one))
    }
}

/// A new gradient as large as the old one.
fn one_for_one(tape: &Tape, gradients: Vec<Option<Tensor>>, _: &[Tensor]) -> Vec<Option<Tensor>> {
    vec![only(gradients).map(|gradient| tape.make_like(&gradient))]
}
