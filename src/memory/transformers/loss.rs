//! The head and the loss over all logits (`ForCausalLMLoss`).

use super::dtype::Dtype;
use super::pointwise::only;
use super::tape::Tape;
use super::tensor::Tensor;

impl Tape {
    /// The mean negative log-likelihood: labels are shifted, logits widened to 32 bits, and the
    /// logarithms of all probabilities kept.
    pub(super) fn causal_loss(&self, logits: &Tensor, tokens: u64, sequences: u64) -> Tensor {
        let logits = self.cast(logits, Dtype::F32);
        let _padded = self.make(tokens + sequences, Dtype::Long);
        let labels = self.make(tokens, Dtype::Long);
        let log_probabilities = self.log_softmax(&logits);
        self.negative_log_likelihood(&log_probabilities, &labels)
    }

    fn log_softmax(&self, x: &Tensor) -> Tensor {
        let rule = |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            vec![only(gradients).map(|gradient| tape.make_like(&gradient))]
        };
        self.apply(&[x], &[], || self.make_like(x), true, Box::new(rule))
    }

    fn negative_log_likelihood(&self, x: &Tensor, labels: &Tensor) -> Tensor {
        let (n, dtype) = (x.n, x.dtype);
        let rule = move |tape: &Self, _: Vec<Option<Tensor>>, _: &[Tensor]| vec![Some(tape.make(n, dtype))];
        self.apply(&[x], &[x, labels], || self.make(1, Dtype::F32), false, Box::new(rule))
    }

    /// Rows of a table; its gradient is as large as the table.
    pub(super) fn embedding(&self, table: &Tensor, tokens: &Tensor, width: u64) -> Tensor {
        let n = table.n;
        let rule = move |tape: &Self, gradients: Vec<Option<Tensor>>, _: &[Tensor]| {
            vec![only(gradients).map(|gradient| tape.make(n, gradient.dtype))]
        };
        let made = || self.make(tokens.n * width, table.dtype);
        self.apply(&[table], &[tokens], made, false, Box::new(rule))
    }
}
