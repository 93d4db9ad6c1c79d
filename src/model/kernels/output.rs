//! Outputs that are not cleared before they are written.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::Element;

/// The part of a new vector that one thread writes, front to back.
pub(super) struct Unwritten<'a, T> {
    slots: &'a mut [MaybeUninit<T>],
    written: usize,
}

impl<T> Unwritten<'_, T> {
    /// How many values this part takes.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Writes the next values.
    #[inline(always)]
    pub(super) fn extend(&mut self, values: impl Iterator<Item = T>) {
        let mut count = 0;
        for (slot, value) in self.slots[self.written..].iter_mut().zip(values) {
            slot.write(value);
            count += 1;
        }
        self.written += count;
    }
}

/// `n` values written by `write(start, part)`, part by part on all threads, each of `grain` values.
///
/// The vector has its final size at once: one that grows while it is filled holds up to three
/// times its size. Clearing it first would make a kernel as light as `exp` a quarter slower, and by
/// half where the vector is larger than the cache.
#[expect(unsafe_code, reason = "safe Rust has no vector that several threads fill without clearing it first")]
pub(super) fn in_parts<T: Element>(
    n: usize,
    grain: usize,
    write: impl Fn(usize, &mut Unwritten<T>) + Sync,
) -> Vec<T> {
    let mut out = Vec::with_capacity(n);
    out.spare_capacity_mut()[..n].par_chunks_mut(grain).enumerate().for_each(|(index, slots)| {
        let mut part = Unwritten { slots, written: 0 };
        write(index * grain, &mut part);
        assert_eq!(part.written, part.slots.len(), "a part was not written to its end");
    });
    // SAFETY: the capacity is at least n, and the parts cover the first n values. `extend` counts a
    // value only after it was written and goes front to back, so a part whose count is its length
    // is written; where one is not, the assertion panics and `for_each` does not return to here.
    unsafe { out.set_len(n) };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, missing: usize) -> Vec<f32> {
        in_parts(n, 8, |start, part: &mut Unwritten<f32>| {
            let end = start + part.len() - missing;
            let number = |at: usize| f32::from(u8::try_from(at).unwrap());
            part.extend((start..end.min(start + 3)).map(number));
            part.extend((start + 3..end).map(number));
        })
    }

    #[test]
    fn parts_are_put_together_in_order_and_no_byte_too_many_is_held() {
        for n in [0, 1, 7, 8, 9, 30_u8] {
            let out = numbers(n.into(), 0);
            assert_eq!(out, (0..n).map(f32::from).collect::<Vec<f32>>());
            assert_eq!(out.capacity(), usize::from(n));
        }
    }

    #[test]
    #[should_panic(expected = "not written to its end")]
    fn a_part_that_is_not_written_to_its_end_is_not_handed_out() {
        numbers(20, 1);
    }
}
