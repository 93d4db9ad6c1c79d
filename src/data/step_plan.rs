//! Which examples each optimizer step of a run sees.

use super::shuffle::{Purpose, shuffled};

/// Steps that are sorted by length together: enough that a step's examples are nearly of one
/// length, few enough that a step still is a random draw from the epoch.
const STEPS_PER_BLOCK: usize = 8;

/// The composition of every optimizer step, a function of (lengths, effective size, seed, step).
///
/// So a run resumes at a step without any state, and a step holds the same examples however it is
/// cut into micro-batches. An epoch is shuffled, cut into blocks of eight steps, each block sorted
/// by length and cut into steps, and the steps shuffled: a step holds similar lengths, so its
/// micro-batches take about the same time and memory. The remainder of an epoch that fills no step is left out of that epoch.
#[derive(Clone, Debug)]
pub struct StepPlan {
    lengths: Vec<usize>,
    effective_batch_size: usize,
    seed: u64,
}

impl StepPlan {
    /// A plan for examples of the given lengths, in tokens; a step holds at least one example.
    #[must_use]
    pub fn new(lengths: &[usize], effective_batch_size: usize, seed: u64) -> Self {
        Self { lengths: lengths.to_vec(), effective_batch_size: effective_batch_size.max(1), seed }
    }

    /// Optimizer steps in one pass over the examples, at least 1.
    #[must_use]
    pub fn steps_per_epoch(&self) -> usize {
        (self.lengths.len() / self.effective_batch_size).max(1)
    }

    /// Indices of the examples of optimizer step `step`, counted from 0 over all epochs.
    ///
    /// The longest come first, equals in random order. Where there are fewer examples than the
    /// step needs, they are repeated in turn until it is full.
    #[must_use]
    pub fn examples(&self, step: usize) -> Vec<usize> {
        let (size, steps) = (self.effective_batch_size, self.steps_per_epoch());
        let (epoch, place) = ((step / steps) as u64, step % steps);
        let order = shuffled(self.lengths.len(), self.seed, Purpose::Examples, epoch);
        if order.len() < size {
            return self.longest_first(order.iter().copied().cycle().take(size).collect());
        }
        let wanted = shuffled(steps, self.seed, Purpose::Steps, epoch)[place];
        let first = wanted - wanted % STEPS_PER_BLOCK;
        let end = (first + STEPS_PER_BLOCK).min(steps);
        let block = self.longest_first(order[first * size..end * size].to_vec());
        block[(wanted - first) * size..][..size].to_vec()
    }

    fn longest_first(&self, mut indices: Vec<usize>) -> Vec<usize> {
        indices.sort_by_key(|index| std::cmp::Reverse(self.lengths[*index]));
        indices
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lengths(count: usize) -> Vec<usize> {
        (0..count).map(|n| 10 + n * 7919 % 500).collect()
    }

    /// Pinned: a study resumed after an update must see the same steps.
    #[test]
    fn the_steps_of_a_seed_never_change() {
        let plan = StepPlan::new(&[5, 3, 9, 1, 7, 2], 2, 11);
        let steps: Vec<_> = (0..4).map(|step| plan.examples(step)).collect();
        assert_eq!(steps, [[5, 3], [2, 4], [0, 1], [5, 3]]);
    }

    #[test]
    fn a_step_holds_similar_lengths_and_steps_come_in_no_order_of_length() {
        let lengths = lengths(1000);
        let plan = StepPlan::new(&lengths, 10, 0);
        let spread = |indices: &[usize]| lengths[indices[0]] - lengths[indices[9]];
        let mean = (0..100).map(|step| spread(&plan.examples(step))).sum::<usize>() / 100;
        // Ten random lengths out of 500 span about 400; a tenth of a block of 80 about 60.
        assert!(mean < 100, "{mean}");
        let longest: Vec<usize> = (0..100).map(|step| lengths[plan.examples(step)[0]]).collect();
        let rises = longest.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((30..70).contains(&rises), "{rises}");
    }

    #[test]
    fn every_epoch_has_its_own_order_of_long_and_short_steps() {
        // Eight steps are one block, so which lengths form a step is fixed and only the order is not.
        let plan = StepPlan::new(&(0..32).collect::<Vec<_>>(), 4, 2);
        let epoch = |epoch: usize| (8 * epoch..8 * epoch + 8).map(|step| plan.examples(step)[0] / 4);
        let orders: Vec<Vec<usize>> = (0..3).map(|number| epoch(number).collect()).collect();
        assert!(orders[0] != orders[1] && orders[1] != orders[2], "{orders:?}");
        assert!(orders.iter().all(|order| (0..8).all(|rank| order.contains(&rank))), "{orders:?}");
    }

    #[test]
    fn a_step_larger_than_the_data_repeats_every_example_in_turn() {
        let plan = StepPlan::new(&[4, 9, 2], 8, 1);
        assert_eq!(plan.steps_per_epoch(), 1);
        for step in 0..5 {
            let mut indices = plan.examples(step);
            assert!(indices.is_sorted_by_key(|index| std::cmp::Reverse([4, 9, 2][*index])));
            indices.sort_unstable();
            indices.dedup_by(|a, b| a == b);
            assert_eq!(indices, [0, 1, 2]);
        }
    }

    #[test]
    fn no_example_gives_empty_steps() {
        assert_eq!(StepPlan::new(&[], 4, 0).examples(3), Vec::<usize>::new());
    }

    proptest! {
        #[test]
        fn every_epoch_visits_each_example_at_most_once_and_fills_every_step(
            count in 1_usize..120, size in 1_usize..40, seed in any::<u64>(), epoch in 0_usize..4,
        ) {
            let plan = StepPlan::new(&lengths(count), size, seed);
            let steps = plan.steps_per_epoch();
            let visits: Vec<usize> =
                (epoch * steps..(epoch + 1) * steps).flat_map(|step| plan.examples(step)).collect();
            prop_assert_eq!(visits.len(), steps * size);
            let mut times = vec![0; count];
            for index in visits {
                times[index] += 1;
            }
            prop_assert!(times.iter().all(|n| *n <= size.div_ceil(count)));
        }

        #[test]
        fn the_plan_follows_from_the_seed(size in 1_usize..9, seed in any::<u64>(), step in 0_usize..99) {
            let plan = |seed| StepPlan::new(&lengths(60), size, seed).examples(step);
            prop_assert_eq!(plan(seed), plan(seed));
            let other = |step| StepPlan::new(&lengths(60), size, seed ^ 1).examples(step);
            let same = (0..20).filter(|step| other(*step) == StepPlan::new(&lengths(60), size, seed).examples(*step));
            prop_assert!(same.count() < 10);
        }
    }
}
