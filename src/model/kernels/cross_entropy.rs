//! Head and cross-entropy together, a few positions at a time.
//!
//! Shapes: x [n, d], W [v, d], targets [n]. All logits at once would be n·v values, the
//! largest tensor of a training step; here only those of one pass are ever alive, and the gradients
//! are made while they are (the idea of Hsu et al. 2024, Liger Kernel). Positions whose target is
//! ignored (prompts) take no part.
//!
//! Logits are kept as [v, n]: W and they themselves are then read where they lie, and only x is put into
//! another order. Rows of W are taken so many at a time that their logits are still in the caches when
//! they are used.

use std::ops::Range;

use super::Element;
use super::column_softmax::ColumnSoftmax;
use super::gemm::{Matrix, Operand, Output, Threads, gemm};
use crate::data::IGNORED;
use crate::memory::kernels::{HEAD_PIECE as PIECE, HEAD_ROWS as ROWS};

/// What gradients are wanted of, with respect to x and, where it is not frozen, W.
pub(crate) struct HeadGradients<'a> {
    /// Factor of the summed loss.
    pub scale: f32,
    /// Where that of W goes, and whether it is added to what is there.
    pub dw: Option<(&'a mut [f32], Output)>,
}

/// Rows whose logits are alive at once: at most n.
pub(crate) fn rows_alive(n: usize) -> usize {
    ROWS.min(n)
}

/// The numbers of the rows that are scored.
pub(crate) fn scored_rows(targets: &[u32]) -> Vec<usize> {
    // Never grows: how much memory a step takes must not depend on how the targets lie.
    let mut rows = Vec::with_capacity(targets.len());
    rows.extend((0..targets.len()).filter(|row| targets[*row] != IGNORED));
    rows
}

/// Negative log-likelihood of each row of x·Wᵀ in nats, 0 where the target is ignored. Logits have a
/// soft `cap` if one is given.
///
/// Where `gradients` are wanted, `x` becomes the gradient of scale · Σ losses with respect to it;
/// else it stays.
pub(crate) fn head_cross_entropy<T: Element, W: Element>(
    x: &mut [T],
    w: &[W],
    targets: &[u32],
    d: usize,
    cap: Option<f32>,
    mut gradients: Option<HeadGradients<'_>>,
) -> Vec<f32> {
    let v = w.len() / d;
    let scored = scored_rows(targets);
    let alive = rows_alive(targets.len());
    let mut pass = Pass::new((v, d), alive, cap, gradients.is_some());
    let mut losses = vec![0.0; targets.len()];
    for rows in scored.chunks(alive.max(1)) {
        gather(&mut pass.x[..rows.len() * d], x, rows, d);
        let own: Vec<usize> = rows.iter().map(|row| targets[*row] as usize).collect();
        for (row, loss) in rows.iter().zip(pass.losses(w, &own)) {
            losses[*row] = loss;
        }
        if let Some(gradients) = &mut gradients {
            pass.gradients::<T, W>(w, &own, gradients);
            scatter(x, &pass.dx[..rows.len() * d], rows, d);
        }
    }
    if let Some(HeadGradients { dw, .. }) = gradients {
        if let (true, Some((dw, Output::Overwrite))) = (scored.is_empty(), dw) {
            dw.fill(0.0);
        }
        let ignored = x.chunks_mut(d).zip(targets).filter(|(_, target)| **target == IGNORED);
        ignored.for_each(|(row, _)| row.fill(T::default()));
    }
    losses
}

/// What is alive in a pass.
struct Pass {
    v: usize,
    d: usize,
    /// [n, d]
    x: Vec<f32>,
    /// [n, d], where gradients are wanted.
    dx: Vec<f32>,
    /// [v, n]; of one piece where no gradients are wanted.
    logits: Vec<f32>,
    /// The logit of each target.
    wanted: Vec<f32>,
    softmax: ColumnSoftmax,
    keeps_logits: bool,
}

impl Pass {
    fn new((v, d): (usize, usize), most: usize, cap: Option<f32>, keeps_logits: bool) -> Self {
        Self {
            v,
            d,
            x: vec![0.0; most * d],
            dx: vec![0.0; if keeps_logits { most * d } else { 0 }],
            logits: vec![0.0; if keeps_logits { v } else { v.min(PIECE) } * most],
            wanted: vec![0.0; most],
            softmax: ColumnSoftmax::new(v, most, cap),
            keeps_logits,
        }
    }

    /// The rows of W, some at a time.
    fn pieces(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let v = self.v;
        (0..v).step_by(PIECE).map(move |start| start..(start + PIECE).min(v))
    }

    /// Loss of the first rows of x, one for each target. What is kept of the logits become weights.
    fn losses<W: Element>(&mut self, w: &[W], targets: &[usize]) -> Vec<f32> {
        let (n, d) = (targets.len(), self.d);
        self.softmax.begin(n);
        for piece in self.pieces() {
            let place = if self.keeps_logits { piece.start * n } else { 0 };
            let logits = &mut self.logits[place..][..piece.len() * n];
            // The loss is what runs are judged by: its logits are never made from rounded weights.
            let head = Matrix::new(&w[piece.start * d..], piece.len(), d).rounded_as::<f32>();
            let x = Matrix::new(&self.x[..n * d], n, d);
            gemm(logits, head, x.t(), 1.0, Output::Overwrite, Threads::All);
            for (column, target) in within(targets, &piece) {
                self.wanted[column] = logits[(target - piece.start) * n + column];
            }
            self.softmax.weigh(piece.start, logits);
        }
        self.softmax.losses(self.v, &self.wanted[..n])
    }

    /// The gradient of x, after [`Self::losses`]; that of W goes to its place.
    fn gradients<T: Element, W: Element>(
        &mut self,
        w: &[W],
        targets: &[usize],
        HeadGradients { scale, dw }: &mut HeadGradients,
    ) {
        let (n, d) = (targets.len(), self.d);
        for piece in self.pieces() {
            let dlogits = &mut self.logits[piece.start * n..piece.end * n];
            self.softmax.slopes(piece.start, dlogits, *scale);
            for (column, target) in within(targets, &piece) {
                dlogits[(target - piece.start) * n + column] -=
                    self.softmax.target_slope(*scale, self.wanted[column]);
            }
            let dlogits = Matrix::new(dlogits, piece.len(), n).rounded_as::<T>();
            if let Some((dw, output)) = dw {
                let dw = &mut dw[piece.start * d..piece.end * d];
                gemm(dw, dlogits, Matrix::new(&self.x[..n * d], n, d), 1.0, *output, Threads::All);
            }
            let head = Matrix::new(&w[piece.start * d..], piece.len(), d).rounded_as::<f32>();
            let output = if piece.start == 0 { Output::Overwrite } else { Output::Add };
            gemm(&mut self.dx[..n * d], dlogits.t(), head, 1.0, output, Threads::All);
        }
        if let Some((_, output)) = dw {
            *output = Output::Add;
        }
    }
}

/// The columns whose target is in a piece, and their targets.
fn within<'t>(targets: &'t [usize], piece: &Range<usize>) -> impl Iterator<Item = (usize, usize)> + use<'t> {
    let piece = piece.clone();
    targets.iter().copied().enumerate().filter(move |(_, target)| piece.contains(target))
}

fn gather<T: Element>(wide: &mut [f32], x: &[T], rows: &[usize], d: usize) {
    for (wide, row) in wide.chunks_mut(d).zip(rows) {
        T::widen_into(wide, &x[row * d..][..d]);
    }
}

fn scatter<T: Element>(x: &mut [T], wide: &[f32], rows: &[usize], d: usize) {
    for (wide, row) in wide.chunks(d).zip(rows) {
        T::narrow_into(&mut x[row * d..][..d], wide);
    }
}
