//! Causal attention with shared key heads. Shapes: q, o [n, h·k]; keys, values [n, g·k].

use std::ops::Range;

use candle_core::{D, DType, Result, Tensor};

use super::Heads;
use super::compose::{soft_cap, soft_cap_slopes};
use super::storage::{for_element, has_kernels, mutate, read};
use crate::memory::kernels::SCORES_ALIVE;
use crate::model::kernels;

/// o = softmax(cap(scale·q·kᵀ), causal)·v, each sequence for itself.
pub(crate) fn attention(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    sequences: &[Range<usize>],
    heads: Heads,
) -> Result<Tensor> {
    if !has_kernels(q.device()) {
        return composed(q, keys, values, sequences, heads);
    }
    for_element!(q.dtype(), T => {
        let out = read::<T, _>(q, |q| read(keys, |keys| read(values, |values| {
            Ok(kernels::attention(q, keys, values, sequences, heads))
        })))?;
        Tensor::from_vec(out, q.shape(), q.device())
    })
}

/// What the backward pass of attention gives.
pub(crate) struct AttentionBackward {
    /// Gradient of the queries.
    pub dq: Tensor,
    /// Gradient of the keys.
    pub dkeys: Tensor,
    /// Gradient of the values.
    pub dvalues: Tensor,
    /// The output, made again.
    pub out: Tensor,
}

/// The gradients and the output; the scores are computed again.
///
/// On the CPU they are written over `q`, `keys`, `values` and `dout`: nobody else may hold them.
pub(crate) fn attention_backward(
    dout: Tensor,
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    sequences: &[Range<usize>],
    heads: Heads,
) -> Result<AttentionBackward> {
    if !has_kernels(q.device()) {
        return composed_backward(&dout, &q, &keys, &values, sequences, heads);
    }
    for_element!(q.dtype(), T => mutate::<T>(&dout, |dout| {
        mutate::<T>(&q, |q| mutate::<T>(&keys, |keys| mutate::<T>(&values, |values| {
            kernels::attention_backward(dout, q, keys, values, sequences, heads);
            Ok(())
        })))
    }))?;
    Ok(AttentionBackward { dq: q, dkeys: keys, dvalues: values, out: dout })
}

pub(super) fn composed(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    sequences: &[Range<usize>],
    heads: Heads,
) -> Result<Tensor> {
    let mut parts = Vec::new();
    for (rows, t) in together(sequences, heads) {
        let part = |x: &Tensor| x.narrow(0, rows.start, rows.len());
        parts.push(equal_lengths(&part(q)?, &part(keys)?, &part(values)?, t, heads)?);
    }
    Tensor::cat(&parts, 0)
}

pub(super) fn composed_backward(
    dout: &Tensor,
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    sequences: &[Range<usize>],
    heads: Heads,
) -> Result<AttentionBackward> {
    let mut parts: [Vec<Tensor>; 4] = Default::default();
    for (rows, t) in together(sequences, heads) {
        let part = |x: &Tensor| x.narrow(0, rows.start, rows.len());
        let inputs = (part(q)?, part(keys)?, part(values)?);
        let AttentionBackward { dq, dkeys, dvalues, out } =
            equal_lengths_backward(&part(dout)?, inputs, t, heads)?;
        for (parts, part) in parts.iter_mut().zip([dq, dkeys, dvalues, out]) {
            parts.push(part);
        }
    }
    let [dq, dkeys, dvalues, out] = parts.map(|parts| Tensor::cat(&parts, 0));
    Ok(AttentionBackward { dq: dq?, dkeys: dkeys?, dvalues: dvalues?, out: out? })
}

/// Neighbouring sequences of equal length `t` with their rows, as many as may be alive at once.
fn together(sequences: &[Range<usize>], heads: Heads) -> Vec<(Range<usize>, usize)> {
    let mut groups: Vec<(Range<usize>, usize)> = Vec::new();
    for sequence in sequences.iter().filter(|sequence| !sequence.is_empty()) {
        let t = sequence.len();
        match groups.last_mut() {
            Some((rows, other)) if *other == t && (rows.len() + t) * t * heads.h <= SCORES_ALIVE => {
                rows.end = sequence.end;
            }
            _ => groups.push((sequence.clone(), t)),
        }
    }
    groups
}

/// Query heads that share a key head are stacked in time: [b·g, (h/g)·t, k] against [b·g, t, k].
struct Grouped {
    b: usize,
    t: usize,
    heads: Heads,
}

impl Grouped {
    fn new(q: &Tensor, t: usize, heads: Heads) -> Result<Self> {
        Ok(Self { b: q.dim(0)? / t, t, heads })
    }

    fn queries(&self, q: &Tensor) -> Result<Tensor> {
        let (t, Heads { g, k, .. }) = (self.t, self.heads);
        let split = q.reshape((self.b, t, g, self.heads.members(), k))?.permute((0, 2, 3, 1, 4))?;
        split.contiguous()?.reshape((self.b * g, self.heads.members() * t, k))
    }

    fn queries_back(&self, q: &Tensor) -> Result<Tensor> {
        let (t, Heads { g, k, .. }) = (self.t, self.heads);
        let split = q.reshape((self.b, g, self.heads.members(), t, k))?.permute((0, 3, 1, 2, 4))?;
        split.contiguous()?.reshape((self.b * t, self.heads.h * k))
    }

    fn keys(&self, x: &Tensor) -> Result<Tensor> {
        let (t, Heads { g, k, .. }) = (self.t, self.heads);
        x.reshape((self.b, t, g, k))?.transpose(1, 2)?.contiguous()?.reshape((self.b * g, t, k))
    }

    fn keys_back(&self, x: &Tensor) -> Result<Tensor> {
        let (t, Heads { g, k, .. }) = (self.t, self.heads);
        x.reshape((self.b, g, t, k))?.transpose(1, 2)?.contiguous()?.reshape((self.b * t, g * k))
    }

    /// Scaled scores in f32, [b·g, members·t, t], under their soft cap.
    fn scores(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        // Sums of products may be too large for f16, which the scale makes small again. Its power of two
        // is taken out before, which rounds nothing in any format.
        let power = f64::from(self.heads.scale).log2().floor().exp2();
        let rest = f64::from(self.heads.scale) / power;
        let scores = ((q * power)?.matmul(&k.t()?)?.to_dtype(DType::F32)? * rest)?;
        soft_cap(scores, self.heads.cap)
    }

    /// Softmax of what each row sees.
    fn probabilities(&self, scores: &Tensor) -> Result<Tensor> {
        let (t, heads) = (self.t, self.heads);
        let sees = |row: usize, column: usize| (heads.first_seen(row, 0)..=row).contains(&column);
        let entry = |row, column| if sees(row, column) { 0.0 } else { f32::NEG_INFINITY };
        let mask: Vec<f32> = (0..heads.members() * t)
            .flat_map(|row| (0..t).map(move |column| entry(row % t, column)))
            .collect();
        let mask = Tensor::from_vec(mask, (1, heads.members() * t, t), scores.device())?;
        let scores = scores.broadcast_add(&mask)?;
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)
    }
}

fn equal_lengths(q: &Tensor, keys: &Tensor, values: &Tensor, t: usize, heads: Heads) -> Result<Tensor> {
    let grouped = Grouped::new(q, t, heads)?;
    let (queries, k, v) = (grouped.queries(q)?, grouped.keys(keys)?, grouped.keys(values)?);
    let p = grouped.probabilities(&grouped.scores(&queries, &k)?)?.to_dtype(q.dtype())?;
    grouped.queries_back(&p.matmul(&v)?)
}

fn equal_lengths_backward(
    dout: &Tensor,
    (q, keys, values): (Tensor, Tensor, Tensor),
    t: usize,
    heads: Heads,
) -> Result<AttentionBackward> {
    let dtype = q.dtype();
    let grouped = Grouped::new(&q, t, heads)?;
    let (q, dout) = (grouped.queries(&q)?, grouped.queries(dout)?);
    let (k, v) = (grouped.keys(&keys)?, grouped.keys(&values)?);
    let scores = grouped.scores(&q, &k)?;
    let slopes = heads.cap.map(|cap| soft_cap_slopes(&scores, cap)).transpose()?;
    let p = grouped.probabilities(&scores)?;
    drop(scores);
    let narrow = p.to_dtype(dtype)?;
    let out = grouped.queries_back(&narrow.matmul(&v)?)?;
    let dvalues = grouped.keys_back(&narrow.t()?.contiguous()?.matmul(&dout)?)?;
    drop(narrow);
    let dp = dout.matmul(&v.t()?)?.to_dtype(DType::F32)?;
    let mean = (&p * &dp)?.sum_keepdim(D::Minus1)?;
    let mut ds = ((p * dp.broadcast_sub(&mean)?)? * f64::from(heads.scale))?;
    if let Some(slopes) = slopes {
        ds = (ds * slopes)?;
    }
    let ds = ds.to_dtype(dtype)?;
    let dq = grouped.queries_back(&ds.matmul(&k)?)?;
    let dkeys = grouped.keys_back(&ds.t()?.contiguous()?.matmul(&q)?)?;
    Ok(AttentionBackward { dq, dkeys, dvalues, out })
}
