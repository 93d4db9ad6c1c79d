//! Sums and maxima in many lanes, in a fixed order, so that they vectorise and repeat exactly.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

/// Running values side by side: two vectors of the widest kind hide an addition's latency.
pub(super) const LANES: usize = 32;

/// One running sum per lane.
#[derive(Clone, Copy)]
pub(super) struct Sums([f32; LANES]);

impl Sums {
    /// Nothing summed yet.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self([0.0; LANES])
    }

    /// Adds to one lane.
    #[inline(always)]
    pub(super) fn add(&mut self, lane: usize, value: f32) {
        self.0[lane] += value;
    }

    /// All lanes together, half upon half: one after the other would take as long as a short row.
    #[inline(always)]
    pub(super) fn total(mut self) -> f32 {
        let mut width = LANES;
        while width > 1 {
            width /= 2;
            for lane in 0..width {
                self.0[lane] += self.0[lane + width];
            }
        }
        self.0[0]
    }
}

/// Σ of `term(value)`.
#[inline(always)]
pub(super) fn sum<T: Copy>(values: &[T], term: impl Fn(T) -> f32) -> f32 {
    let mut sums = Sums::new();
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in block.iter().enumerate() {
            sums.add(lane, term(*value));
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        sums.add(lane, term(*value));
    }
    sums.total()
}

/// The larger value; a NaN is passed over. `f32::max` has a rule for NaN that no vector instruction
/// follows.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The largest value; −∞ of nothing. A NaN is passed over.
#[inline(always)]
pub(super) fn highest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, *value);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// Σ of `term(i)` for i < n, in sixteen running sums so that it vectorises.
#[inline(always)]
pub(super) fn lanes(n: usize, term: impl Fn(usize) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    let tail: f32 = (whole..n).map(&term).sum();
    sums.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_and_maxima_of_any_length_are_the_plain_ones(
            values in prop::collection::vec(-100_i16..100, 0..200),
        ) {
            let values: Vec<f32> = values.into_iter().map(f32::from).collect();
            let plain: f32 = values.iter().map(|value| value * 3.0).sum();
            prop_assert!((sum(&values, |value| value * 3.0) - plain).abs() < 1e-3);
            prop_assert!((lanes(values.len(), |i| values[i] * 3.0) - plain).abs() < 1e-3);
            let plain = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(highest(&values).to_bits(), plain.to_bits());
        }
    }
}
