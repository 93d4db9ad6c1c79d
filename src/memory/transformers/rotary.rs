//! Rotary position embedding: `x·cos + rotate_half(x)·sin`.

use super::pointwise::only;
use super::tape::Tape;
use super::tensor::Tensor;

/// The cosines and sines of all positions, `[1, s, k]` each.
#[derive(Clone, Debug)]
pub(super) struct Angles {
    pub(super) cos: Tensor,
    pub(super) sin: Tensor,
}

impl Tape {
    /// Turns all values of each head.
    pub(super) fn rotated(&self, x: &Tensor, angles: &Angles) -> Tensor {
        let straight = self.mul(x, &angles.cos);
        let crossed = self.mul(&self.half_rotated(x), &angles.sin);
        self.add(&straight, &crossed)
    }

    /// Turns the first `share` of each head, and puts the rest behind it (Phi-3).
    pub(super) fn partly_rotated(&self, x: &Tensor, angles: &Angles, turned: u64) -> Tensor {
        let first = self.part(x, turned);
        let rest = self.part(x, x.n - turned);
        let straight = self.mul(&first, &angles.cos);
        let crossed = self.mul(&self.half_rotated(&first), &angles.sin);
        let sum = self.add(&straight, &crossed);
        drop((straight, crossed));
        self.joined(&sum, &rest)
    }

    /// `cat((-x₂, x₁))`
    fn half_rotated(&self, x: &Tensor) -> Tensor {
        let first = self.part(x, x.n / 2);
        let second = self.part(x, x.n - x.n / 2);
        self.joined(&self.negated(&second), &first)
    }

    /// A slice of each row; its gradient is put into zeros of the whole.
    pub(super) fn part(&self, x: &Tensor, n: u64) -> Tensor {
        let whole = x.n;
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            vec![only(gradients).map(|gradient| tape.make(whole, gradient.dtype))]
        };
        self.apply(&[x], &[], || Tensor { n, ..x.view() }, false, Box::new(rule))
    }

    /// `cat((a, b))`; each gradient is a view of the whole one.
    fn joined(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let sizes = [a.n, b.n];
        let rule = move |_: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let Some(gradient) = only(gradients) else { return vec![None, None] };
            sizes.into_iter().map(|n| Some(Tensor { n, ..gradient.view() })).collect()
        };
        let dtype = a.dtype.promoted(b.dtype);
        self.apply(&[a, b], &[], || self.make(a.n + b.n, dtype), false, Box::new(rule))
    }
}
