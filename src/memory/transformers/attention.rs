//! Attention's core: from queries, keys and values to what was attended.

use super::dtype::Dtype;
use super::linear::Run;
use super::pointwise::only;
use super::tape::Tape;
use super::tensor::Tensor;

/// Sizes of one attention, and how it is computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) micro_batch_size: usize,
    pub(super) sequence_length: usize,
    /// Query heads (`h`).
    pub(super) heads: u64,
    /// Query heads of each key head.
    pub(super) groups: u64,
    /// Width of a head (`k`).
    pub(super) width: u64,
    /// Whether scores are capped by a tanh.
    pub(super) is_capped: bool,
    pub(super) kernel: Kernel,
}

/// Who computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Eager,
    /// PyTorch's flash kernel for CPUs; it takes fewer key heads than query heads.
    CpuFlash,
    /// `FlashAttention` 2 on a card.
    Flash,
    /// The memory-efficient kernel on a card.
    Efficient,
    /// Products and softmax, in 32 bits.
    Math,
}

/// Queries, keys and values: `[b, h, s, k]`, keys and values of fewer heads.
#[derive(Debug)]
pub(super) struct Heads<'a> {
    pub(super) query: &'a Tensor,
    pub(super) key: &'a Tensor,
    pub(super) value: &'a Tensor,
}

impl Shape {
    fn rows(&self) -> u64 {
        self.micro_batch_size as u64 * self.heads * self.sequence_length as u64
    }

    fn scores(&self) -> u64 {
        self.rows() * self.sequence_length as u64
    }
}

impl Tape {
    /// What was attended as rows, and the weights if someone holds on to them.
    pub(super) fn attended(
        &self,
        run: Run,
        shape: Shape,
        heads: &Heads,
        mask: Option<&Tensor>,
    ) -> (Tensor, Option<Tensor>) {
        if shape.kernel == Kernel::Eager {
            let (attended, weights) = self.eager(run, shape, heads, mask);
            return (attended, Some(weights));
        }
        // Under autocast all three are 16 bits wide.
        let narrow = |x: &Tensor| run.autocast.map_or_else(|| x.clone(), |half| self.cast(x, half));
        if shape.kernel == Kernel::Math {
            let [query, key, value] = [heads.query, heads.key, heads.value].map(narrow);
            let output = self.composed(shape, &Heads { query: &query, key: &key, value: &value }, mask);
            return (self.merge_heads(&output), None);
        }
        let takes_groups = matches!(shape.kernel, Kernel::CpuFlash | Kernel::Flash) && mask.is_none();
        let times = if takes_groups { 1 } else { shape.groups };
        let (key, value) = (self.repeat_heads(heads.key, times), self.repeat_heads(heads.value, times));
        let [query, key, value] = [heads.query, &key, &value].map(narrow);
        let output = self.fused(shape, &[&query, &key, &value], mask);
        (self.merge_heads(&output), None)
    }

    fn eager(&self, run: Run, shape: Shape, heads: &Heads, mask: Option<&Tensor>) -> (Tensor, Tensor) {
        let narrow = |x: &Tensor| run.autocast.map_or_else(|| x.clone(), |half| self.cast(x, half));
        let key = self.repeat_heads(heads.key, shape.groups);
        let value = self.repeat_heads(heads.value, shape.groups);
        let product = {
            let (query, key) = (narrow(heads.query), narrow(&key));
            self.head_product(&query, &key, shape.scores(), shape.micro_batch_size)
        };
        let mut weights = self.scaled(&product);
        drop(product);
        if shape.is_capped {
            weights = self.scaled(&weights);
            weights = self.squashed(&weights);
            weights = self.scaled(&weights);
        }
        if let Some(mask) = mask {
            weights = self.add(&weights, mask);
        }
        weights = self.softmax(&weights, heads.query.dtype);
        let output = {
            let (weights, value) = (narrow(&weights), narrow(&value));
            self.head_product(&weights, &value, shape.rows() * shape.width, shape.micro_batch_size)
        };
        (self.merge_heads(&output), weights)
    }

    /// A kernel that keeps its inputs, its output and one 32-bit number a row.
    fn fused(&self, shape: Shape, inputs: &[&Tensor; 3], mask: Option<&Tensor>) -> Tensor {
        let dtype = inputs[0].dtype;
        // A mask of bytes becomes one of numbers to add.
        let mask = mask
            .map(|mask| if mask.dtype == Dtype::Byte { self.mask_of(shape, dtype) } else { mask.clone() });
        let log_sums = self.make(shape.rows(), Dtype::F32);
        let mut kept = inputs.to_vec();
        kept.extend(&mask);
        kept.push(&log_sums);
        // On the CPU all is laid out as the queries are, on a card by token.
        let on_card = self.on_card;
        let wanted = inputs.map(|x| (x.n, x.dtype, on_card || x.by_token));
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            let Some(_gradient) = only(gradients) else { return vec![None, None, None] };
            let made = wanted.map(|(n, dtype, by_token)| Some(Tensor { by_token, ..tape.make(n, dtype) }));
            tape.backward_workspace(shape, wanted);
            made.into()
        };
        let by_token = on_card || inputs[0].by_token;
        let made = || Tensor { by_token, ..self.make(shape.rows() * shape.width, dtype) };
        self.apply(inputs, &kept, made, true, Box::new(rule))
    }

    /// A mask of numbers, one for each pair of positions of each sequence.
    fn mask_of(&self, shape: Shape, dtype: Dtype) -> Tensor {
        self.make(shape.scores() / shape.heads, dtype)
    }

    fn backward_workspace(&self, shape: Shape, inputs: [(u64, Dtype, bool); 3]) {
        let delta = self.make(shape.rows(), Dtype::F32);
        let is_half = inputs[0].1.is_half();
        let sums = match shape.kernel {
            // The gradient of queries is summed in 32 bits.
            Kernel::Flash | Kernel::Efficient if is_half => Some(self.make(inputs[0].0, Dtype::F32)),
            _ => None,
        };
        // Gradients of keys and values are made for every query head, then summed.
        let groups = (shape.kernel == Kernel::Flash && inputs[1].0 < inputs[0].0)
            .then(|| [0; 2].map(|_| self.make(inputs[0].0, inputs[0].1)));
        drop((delta, sums, groups));
    }

    /// PyTorch's `_scaled_dot_product_attention_math`.
    fn composed(&self, shape: Shape, heads: &Heads, mask: Option<&Tensor>) -> Tensor {
        let dtype = heads.query.dtype;
        let [query, key, value] = [heads.query, heads.key, heads.value].map(|x| self.cast(x, Dtype::F32));
        let query = self.scaled(&query);
        let positions = (shape.sequence_length as u64).pow(2);
        let _mask = if mask.is_some() {
            self.mask_of(shape, Dtype::F32)
        } else {
            let _flags = self.make(positions, Dtype::Byte);
            self.make(positions, Dtype::F32)
        };
        let (key, value) = (self.repeat_heads(&key, shape.groups), self.repeat_heads(&value, shape.groups));
        let weights = {
            let key = self.scaled(&key);
            let scores = self.head_product(&query, &key, shape.scores(), shape.micro_batch_size);
            let weights = self.softmax(&scores, Dtype::F32);
            // Which scores are −∞: rows of nothing else are set to 0.
            let _masked = self.make(scores.n, Dtype::Byte);
            weights
        };
        let output = self.head_product(&weights, &value, shape.rows() * shape.width, shape.micro_batch_size);
        self.cast(&output, dtype)
    }
}
