//! Shuffles that are the same for a seed on every machine and with every version of `rand`.
//!
//! `rand` may change how it seeds and shuffles between versions; a study that is resumed after an
//! update must not see another order. So the key and the Fisher–Yates walk are written out here,
//! and only the `ChaCha` stream, which is a standard, comes from outside.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a shuffle is for: each purpose draws from a stream of its own.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(super) enum Purpose {
    Split = 1,
    Examples = 2,
    Steps = 3,
}

/// The numbers `0..count` in an order that follows from seed, purpose and index alone.
pub(super) fn shuffled(count: usize, seed: u64, purpose: Purpose, index: u64) -> Vec<usize> {
    let mut key = [0; 32];
    for (slot, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, index]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    let mut random = ChaCha8Rng::from_seed(key);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, below(&mut random, last + 1));
    }
    order
}

/// A number in `0..bound`; the bias is under `bound / 2^64`, which no one can observe.
#[expect(clippy::cast_possible_truncation, reason = "the product's upper half is less than `bound`")]
fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u128::from(random.next_u64()) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pinned so that an update of a dependency cannot change every user's splits unseen.
    #[test]
    fn the_order_of_a_seed_never_changes() {
        assert_eq!(shuffled(8, 7, Purpose::Split, 0), [4, 2, 5, 1, 3, 7, 0, 6]);
    }

    #[test]
    fn a_shuffle_holds_every_number_once_and_depends_on_all_its_arguments() {
        let order = shuffled(100, 7, Purpose::Examples, 1);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_ne!(order, shuffled(100, 8, Purpose::Examples, 1));
        assert_ne!(order, shuffled(100, 7, Purpose::Steps, 1));
        assert_ne!(order, shuffled(100, 7, Purpose::Examples, 2));
    }

    #[test]
    fn every_number_comes_first_about_equally_often() {
        let mut first = [0_i32; 5];
        for index in 0..5000 {
            first[shuffled(5, 1, Purpose::Steps, index)[0]] += 1;
        }
        // 1000 expected, standard deviation 28.
        assert!(first.iter().all(|count| (count - 1000).abs() < 150), "{first:?}");
    }
}
