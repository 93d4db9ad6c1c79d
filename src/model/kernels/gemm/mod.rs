//! Matrix products on slices: `out (+)= scale · a·b`.
//!
//! Blocked as in Goto and van de Geijn 2008: `b` is packed into panels that all threads share, each
//! thread packs or copies its rows of `a`, if they do not lie as they are needed, and computes tiles that
//! live in registers. Activations in bfloat16 are widened while they are packed or copied, or multiplied as
//! pairs where the processor can (AVX512-BF16); sums are f32. Every sum is taken in the same order whatever
//! the threads do, and the scratch memory depends on nothing but the shapes and the number of threads.

mod blocks;
mod instructions;
mod matrix;
mod operand;
mod pack;
mod simd;
#[cfg(test)]
mod tests;
mod tile;
mod transpose;

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::Element;
use crate::memory::{Blocking, PASS, Processor, ProductSize};
pub(in crate::model) use blocks::BlockMatrix;
use instructions::Instructions;
use matrix::Lines;
pub(in crate::model) use matrix::Matrix;
pub(in crate::model) use operand::Operand;
use pack::{Factor, copy, pack};
use tile::{Kernel, Rows, Write};

/// Whether a product replaces what is in the output or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// `out = scale · a·b`
    Overwrite,
    /// `out += scale · a·b`
    Add,
}

/// Whether one product may use all threads, or runs inside a loop that already does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    /// All threads of the pool.
    All,
    /// The calling thread.
    One,
}

/// `out[m, n] (+)= scale · a[m, k] · b[k, n]`, `out` row after row.
pub(super) fn gemm<A: Element>(
    out: &mut [f32],
    a: Matrix<A>,
    b: impl Operand,
    scale: f32,
    output: Output,
    threads: Threads,
) {
    // SAFETY (of the cast): a place that may be uninitialised takes any f32, and only values are
    // written to it.
    #[expect(unsafe_code, reason = "the same places, seen as ones that need not be read")]
    let out = unsafe { &mut *(std::ptr::from_mut(out) as *mut [MaybeUninit<f32>]) };
    Product { a, b, scale, output }.run_on_this_machine(out, threads);
}

/// `scale · a[m, k] · b[k, n]`, row after row, on all threads. Nothing is cleared first.
pub(super) fn product<A: Element>(a: Matrix<A>, b: impl Operand, scale: f32) -> Vec<f32> {
    let length = a.rows * b.size().1;
    let mut out = Vec::with_capacity(length);
    let product = Product { a, b, scale, output: Output::Overwrite };
    product.run_on_this_machine(&mut out.spare_capacity_mut()[..length], Threads::All);
    // SAFETY: a product that overwrites writes every value of its output.
    #[expect(unsafe_code, reason = "clearing the output first would cost a pass over it")]
    unsafe {
        out.set_len(length);
    }
    out
}

/// The processor as far as the memory of a step depends on it.
#[must_use]
pub fn processor() -> Processor {
    let instructions = Instructions::of_this_machine();
    Processor {
        threads: rayon::current_num_threads(),
        wide: Kernel::wide(instructions).tile_size(),
        narrow: Kernel::narrow(instructions).map(|kernel| kernel.tile_size()),
    }
}

/// The name of the instructions that the products use here, and of those they could use.
#[must_use]
pub fn instructions() -> (&'static str, &'static str) {
    (Instructions::of_this_machine().name(), Instructions::detected().name())
}

/// One call's inputs.
struct Product<'a, A, B> {
    a: Matrix<'a, A>,
    b: B,
    scale: f32,
    output: Output,
}

/// The part of `b` that is packed: all threads read it.
struct PackedB<'a, F> {
    factors: &'a [F],
    columns: Range<usize>,
    depth: Range<usize>,
}

impl<A: Element, B: Operand> Product<'_, A, B> {
    fn run_on_this_machine(&self, out: &mut [MaybeUninit<f32>], threads: Threads) {
        let instructions = Instructions::of_this_machine();
        match Kernel::narrow(instructions) {
            Some(kernel) if self.a.may_round || self.b.may_round() => self.run(out, &kernel, threads),
            _ => self.run(out, &Kernel::wide(instructions), threads),
        }
    }

    fn run<F: Factor>(&self, out: &mut [MaybeUninit<f32>], kernel: &Kernel<F>, threads: Threads) {
        let (m, k) = (self.a.rows, self.a.columns);
        let (depth, n) = self.b.size();
        assert_eq!(k, depth, "inner sizes differ");
        assert_eq!(out.len(), m * n, "the output has another size");
        if k == 0 && self.output == Output::Overwrite {
            out.fill(MaybeUninit::new(0.0));
        }
        if out.is_empty() || k == 0 {
            return;
        }
        let size = ProductSize { m, k, n };
        let at_once = if threads == Threads::One { 1 } else { rayon::current_num_threads() };
        let blocking = Blocking::new(size, kernel.tile_size(), at_once);
        let mut packed_b = uninitialised(blocking.packed_b());
        let mut jobs = jobs(out, n, &blocking);
        let packs_a = self.in_place::<F>(&(0..1), &(0..1)).is_none();
        // Chunks can't be empty.
        let scratch = if packs_a { blocking.packed_a() } else { 1 };
        let mut packed_a = uninitialised(jobs.len() * scratch);
        let Blocking { deepest, widest, block, .. } = blocking;
        for depth in ranges(0..k, deepest) {
            for columns in ranges(0..n, widest) {
                let factors = self.pack_b(&mut packed_b, &columns, &depth, kernel, threads);
                let b = PackedB { factors, columns, depth: depth.clone() };
                let rows = |(job, scratch): (&mut Job, &mut [MaybeUninit<F>])| {
                    self.rows_of_out(job.out, job.first, scratch, block, &b, kernel);
                };
                if threads == Threads::One {
                    jobs.iter_mut().zip(packed_a.chunks_mut(scratch)).for_each(rows);
                } else {
                    jobs.par_iter_mut().zip(packed_a.par_chunks_mut(scratch)).for_each(rows);
                }
            }
        }
    }

    /// Panels of `kernel.columns` columns, each over the whole depth, a pass after the other: one pass is
    /// one piece to the tile kernel.
    fn pack_b<'p, F: Factor>(
        &self,
        packed: &'p mut [MaybeUninit<F>],
        columns: &Range<usize>,
        depth: &Range<usize>,
        kernel: &Kernel<F>,
        threads: Threads,
    ) -> &'p [F] {
        let panels = columns.len().div_ceil(kernel.columns);
        let size = depth.len().div_ceil(F::DEPTH) * kernel.columns;
        let packed = &mut packed[..panels * size];
        let at_once = self.b.columns_at_once(kernel.columns);
        let some = |(index, panels): (usize, &mut [MaybeUninit<F>])| {
            let start = columns.start + index * at_once;
            let columns = start..(start + at_once).min(columns.end);
            self.pack_columns(panels, &columns, depth, kernel);
        };
        let together = size * (at_once / kernel.columns);
        if threads == Threads::One {
            packed.chunks_mut(together).enumerate().for_each(some);
        } else {
            packed.par_chunks_mut(together).enumerate().for_each(some);
        }
        written(packed)
    }

    /// The panels of some columns, a strip at a time.
    fn pack_columns<F: Factor>(
        &self,
        panels: &mut [MaybeUninit<F>],
        columns: &Range<usize>,
        depth: &Range<usize>,
        kernel: &Kernel<F>,
    ) {
        let size = depth.len().div_ceil(F::DEPTH) * kernel.columns;
        let mut scratch = B::Scratch::default();
        for pass in ranges(depth.clone(), PASS) {
            for strip in self.b.strips(pass, columns.len()) {
                let lines = self.b.strip(columns, &strip, &mut scratch);
                let start = (strip.start - depth.start) / F::DEPTH * kernel.columns;
                let length = strip.len().div_ceil(F::DEPTH) * kernel.columns;
                for (panel, first) in panels.chunks_mut(size).zip((0..columns.len()).step_by(kernel.columns))
                {
                    let count = kernel.columns.min(columns.len() - first);
                    let piece = &mut panel[start..][..length];
                    pack(piece, &lines.from(first), (count, strip.len()), kernel.columns);
                }
            }
        }
    }

    /// The rows of one job, from row `first`.
    fn rows_of_out<F: Factor>(
        &self,
        out: &mut [MaybeUninit<f32>],
        first: usize,
        scratch: &mut [MaybeUninit<F>],
        block: usize,
        b: &PackedB<F>,
        kernel: &Kernel<F>,
    ) {
        let (_, n) = self.b.size();
        for (index, out) in out.chunks_mut(block * n).enumerate() {
            let start = first + index * block;
            let rows = start..start + out.len() / n;
            for pass in ranges(b.depth.clone(), PASS) {
                let add = pass.start > 0 || self.output == Output::Add;
                let write = Write { scale: self.scale, add };
                let a = self.in_place(&rows, &pass);
                let a = a.unwrap_or_else(|| self.prepared(&rows, &pass, scratch, kernel));
                self.tiles(out, a, b, &pass, write, kernel);
            }
        }
    }

    /// Rows of `a` that need no packing: f32, one after another along the depth.
    fn in_place<F: Factor>(&self, rows: &Range<usize>, pass: &Range<usize>) -> Option<Rows<'_, F>> {
        match self.a.lines(rows, pass) {
            Lines::ByRow { data, stride } => Some(Rows::InPlace { data: F::in_place(data)?, stride }),
            Lines::ByColumn { .. } => None,
        }
    }

    /// Rows of `a` made ready for the tiles: lines along the depth are read as lines, all others from panels.
    fn prepared<'s, F: Factor>(
        &self,
        rows: &Range<usize>,
        pass: &Range<usize>,
        scratch: &'s mut [MaybeUninit<F>],
        kernel: &Kernel<F>,
    ) -> Rows<'s, F> {
        let length = pass.len().div_ceil(F::DEPTH);
        let size = (rows.len(), pass.len());
        match self.a.lines(rows, pass) {
            Lines::ByRow { data, stride } => {
                let lines = &mut scratch[..rows.len() * length];
                copy(lines, (data, stride), size);
                Rows::InPlace { data: written(lines), stride: length }
            }
            lines @ Lines::ByColumn { .. } => {
                let panels = &mut scratch[..rows.len().div_ceil(kernel.rows) * kernel.rows * length];
                pack(panels, &lines, size, kernel.rows);
                Rows::Packed(written(panels))
            }
        }
    }

    /// All tiles of some rows over one pass.
    fn tiles<F: Factor>(
        &self,
        out: &mut [MaybeUninit<f32>],
        a: Rows<F>,
        b: &PackedB<F>,
        pass: &Range<usize>,
        write: Write,
        kernel: &Kernel<F>,
    ) {
        let (_, n) = self.b.size();
        let depth = pass.len().div_ceil(F::DEPTH);
        let whole_depth = b.depth.len().div_ceil(F::DEPTH);
        let start = (pass.start - b.depth.start) / F::DEPTH;
        let mut edge = [MaybeUninit::new(0.0); LARGEST_TILE];
        for (panel, factors) in b.factors.chunks(whole_depth * kernel.columns).enumerate() {
            let factors = &factors[start * kernel.columns..][..depth * kernel.columns];
            let column = b.columns.start + panel * kernel.columns;
            let columns = kernel.columns.min(b.columns.end - column);
            for (index, out) in out.chunks_mut(kernel.rows * n).enumerate() {
                let rows = out.len() / n;
                let a = (a.from(index * kernel.rows, depth), rows);
                if rows == kernel.rows && columns == kernel.columns {
                    kernel.tile(a, factors, &mut out[column..], n, write);
                } else {
                    let edge = &mut edge[..kernel.rows * kernel.columns];
                    kernel.tile(a, factors, edge, kernel.columns, Write { add: false, ..write });
                    for (out, edge) in out.chunks_mut(n).zip(edge.chunks(kernel.columns)) {
                        put(&mut out[column..][..columns], edge, write.add);
                    }
                }
            }
        }
    }
}

/// Values of the largest tile of any kernel.
const LARGEST_TILE: usize = 8 * 32;

/// Moves what belongs to the output out of a tile that reaches beyond it.
#[expect(unsafe_code, reason = "what is added to was written before")]
fn put(out: &mut [MaybeUninit<f32>], tile: &[MaybeUninit<f32>], add: bool) {
    for (out, value) in out.iter_mut().zip(tile) {
        // SAFETY: every value of a tile was written; the output is added to only where an earlier pass,
        // or the caller of a product that adds, has written it.
        unsafe { out.write(value.assume_init() + if add { out.assume_init() } else { 0.0 }) };
    }
}

/// Some rows of the output.
struct Job<'a> {
    first: usize,
    out: &'a mut [MaybeUninit<f32>],
}

/// The rows of the output, a job's pieces each.
fn jobs<'a>(out: &'a mut [MaybeUninit<f32>], n: usize, blocking: &Blocking) -> Vec<Job<'a>> {
    let m = out.len() / n;
    let mut rest = out;
    let mut jobs = Vec::with_capacity(blocking.jobs);
    for rows in (0..blocking.jobs).map(|job| blocking.rows(job, m)) {
        let (own, after) = rest.split_at_mut(rows.len() * n);
        jobs.push(Job { first: rows.start, out: own });
        rest = after;
    }
    jobs
}

/// `range` in pieces of at most `size`.
fn ranges(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size).map(move |start| start..(start + size).min(range.end))
}

fn uninitialised<F>(length: usize) -> Box<[MaybeUninit<F>]> {
    Box::new_uninit_slice(length)
}

#[expect(unsafe_code, reason = "packing writes every value; filling the scratch first would cost a pass")]
fn written<F>(packed: &[MaybeUninit<F>]) -> &[F] {
    // SAFETY: `pack` and `copy` write every value of what they are given, asserting its size, and the callers
    // cut `packed` into exactly what was packed or copied.
    unsafe { packed.assume_init_ref() }
}
