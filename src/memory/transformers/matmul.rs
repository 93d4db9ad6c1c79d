//! Products of matrices, and how heads are cut out of a row and put back.

use super::dtype::Dtype;
use super::pointwise::only;
use super::tape::Tape;
use super::tensor::{Source, Tensor};

impl Tape {
    /// `x · weightᵀ (+ bias)`, all of one type already.
    pub(super) fn product(&self, x: &Tensor, weight: &Tensor, out: u64, bias: Option<&Tensor>) -> Tensor {
        let width = weight.n / out;
        let rows = x.n / width;
        let mut kept = Vec::new();
        if weight.needs_grad() {
            kept.push(x);
        }
        if x.needs_grad() {
            kept.push(weight);
        }
        let (dtype, of_x, of_weight) = (x.dtype, x.needs_grad(), weight.needs_grad());
        let of_bias = bias.filter(|bias| bias.needs_grad()).map(|bias| bias.n);
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let Some(gradient) = only(gradients) else { return Vec::new() };
            let to_x = of_x.then(|| tape.make(rows * width, dtype).view());
            let to_weight = of_weight.then(|| tape.make(width * out, dtype).view());
            let to_bias = of_bias.map(|n| tape.make(n, gradient.dtype));
            vec![to_x, to_weight, to_bias]
        };
        let made = || self.make(rows * out, dtype);
        match bias {
            Some(bias) => self.apply(&[x, weight, bias], &kept, made, false, Box::new(rule)),
            None => self.apply(&[x, weight], &kept, made, false, Box::new(rule)),
        }
    }

    /// `a · b` of each head: `n` values come out.
    ///
    /// Heads that lie by token are copied first, unless there is one sequence only.
    pub(super) fn head_product(&self, a: &Tensor, b: &Tensor, n: u64, micro_batch_size: usize) -> Tensor {
        let lay = |x: &Tensor| if x.by_token && micro_batch_size > 1 { self.by_head(x) } else { x.clone() };
        let (a, b) = (&lay(a), &lay(b));
        let mut kept = Vec::new();
        if b.needs_grad() {
            kept.push(a);
        }
        if a.needs_grad() {
            kept.push(b);
        }
        let dtype = a.dtype;
        let wanted = [a, b].map(|x| x.needs_grad().then_some(x.n));
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let Some(gradient) = only(gradients) else { return vec![None, None] };
            let is_copied = gradient.by_token && micro_batch_size > 1;
            let _gradient = if is_copied { tape.make(gradient.n, gradient.dtype) } else { gradient };
            wanted.into_iter().map(|n| n.map(|n| tape.make(n, dtype).view())).collect()
        };
        self.apply(&[a, b], &kept, || self.make(n, dtype), false, Box::new(rule))
    }

    /// A copy that lies by head.
    pub(super) fn by_head(&self, x: &Tensor) -> Tensor {
        let rule = |_: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| vec![only(gradients)];
        self.apply(&[x], &[], || self.make(x.n, x.dtype), false, Box::new(rule))
    }

    /// `x.view(b, s, h, k).transpose(1, 2)`
    pub(super) fn split_heads(&self, x: &Tensor) -> Tensor {
        let rule = |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            vec![only(gradients).map(|gradient| tape.rows(gradient))]
        };
        let heads = || Tensor { by_token: true, ..x.view() };
        self.apply(&[x], &[], heads, false, Box::new(rule))
    }

    /// `x.transpose(1, 2).contiguous().reshape(b, s, h·k)`
    pub(super) fn merge_heads(&self, x: &Tensor) -> Tensor {
        let rule = |_: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            vec![only(gradients).map(|gradient| Tensor { by_token: true, is_view: true, ..gradient })]
        };
        self.apply(&[x], &[], || self.rows(x.clone()), false, Box::new(rule))
    }

    /// Heads as rows: a copy if they lie by head.
    fn rows(&self, x: Tensor) -> Tensor {
        if x.by_token {
            return Tensor { by_token: false, is_view: true, ..x };
        }
        self.make(x.n, x.dtype).view()
    }

    /// Each key and value head, `times` over.
    pub(super) fn repeat_heads(&self, x: &Tensor, times: u64) -> Tensor {
        if times == 1 {
            return x.clone();
        }
        let n = x.n;
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            vec![only(gradients).map(|gradient| tape.make(n, gradient.dtype))]
        };
        self.apply(&[x], &[], || self.make(n * times, x.dtype), false, Box::new(rule))
    }

    /// `softmax(x, dtype=float32).to(dtype)`
    ///
    /// A card widens float16 within the kernel; all else is copied to 32 bits first
    /// (`SoftMax.cpp`, `softmax`).
    pub(super) fn softmax(&self, x: &Tensor, dtype: Dtype) -> Tensor {
        let is_fused = self.on_card && x.dtype == Dtype::F16;
        let wide = if is_fused { x.clone() } else { self.cast(x, Dtype::F32) };
        let to = wide.dtype;
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let Some(gradient) = only(gradients) else { return vec![None] };
            let outgoing = tape.make(gradient.n, to);
            // A card multiplies gradient and result first (`SoftMax.cu`, `softmax_backward_cuda_out`).
            let _product = tape.on_card.then(|| tape.make(gradient.n, Dtype::F32));
            vec![Some(outgoing)]
        };
        let made = || self.make(wide.n, Dtype::F32);
        let result = self.apply(&[&wide], &[], made, true, Box::new(rule));
        drop(wide);
        self.cast(&result, dtype)
    }

    /// `x.chunk(2, dim=-1)`; the gradients of both are joined.
    pub(super) fn halves(&self, x: &Tensor) -> (Tensor, Tensor) {
        let n = x.n;
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let dtype = gradients.iter().flatten().next().map(|gradient| gradient.dtype);
            vec![dtype.map(|dtype| tape.make(n, dtype))]
        };
        let half = || Tensor { n: n / 2, ..x.view() };
        let first = self.apply(&[x], &[], half, false, Box::new(rule));
        let source = match first.source {
            Some(Source::Node { index, .. }) => Some(Source::Node { index, slot: 1 }),
            ref other => other.clone(),
        };
        let second = Tensor { source, ..first.clone() };
        (first, second)
    }
}
