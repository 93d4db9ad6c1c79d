//! A shuffled order of the numbers below a count, without a list: memory does not grow with the count.
//!
//! A Feistel network (Luby and Rackoff 1988) is a permutation of the numbers below a power of four; a number
//! that it maps outside is mapped again until it lies inside (Black and Rogaway 2002).

const ROUNDS: usize = 6;

/// A permutation of `0..count` that follows from a seed.
pub(super) struct Order {
    count: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Order {
    /// The order of `count` numbers under this seed.
    pub(super) fn new(count: u64, seed: u64) -> Self {
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        let mut keys = [0; ROUNDS];
        let mut state = seed;
        for key in &mut keys {
            state = mixed(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
            *key = state;
        }
        Self { count, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// Which number stands at `position`, which lies below the count.
    pub(super) fn at(&self, position: u64) -> u64 {
        let mut number = self.permuted(position);
        while number >= self.count {
            number = self.permuted(number);
        }
        number
    }

    fn permuted(&self, number: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mixed(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

/// The finalizer of splitmix64 (Steele, Lea and Flood 2014).
fn mixed(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_stands_at_one_position(count in 1u64..2000, seed: u64) {
            let order = Order::new(count, seed);
            let mut numbers: Vec<u64> = (0..count).map(|position| order.at(position)).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (0..count).collect::<Vec<u64>>());
        }

        #[test]
        fn a_count_of_any_size_is_served(count in 1u64.., seed: u64, share in 0.0f64..1.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let position = ((count as f64 * share) as u64).min(count - 1);
            prop_assert!(Order::new(count, seed).at(position) < count);
        }
    }

    #[test]
    fn the_order_is_shuffled_and_another_seed_shuffles_it_otherwise() {
        let order = |seed| (0..100).map(|position| Order::new(100, seed).at(position)).collect::<Vec<u64>>();
        assert_ne!(order(1), order(2));
        let kept = order(1).windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
        assert!(kept < 10, "{kept} of 99 neighbours are still neighbours");
    }
}
