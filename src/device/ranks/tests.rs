//! Ranks as threads of this test: their sums, their shares, and what happens when one leaves.

use std::thread;

use candle_core::{DType, Device as Candle, Tensor};

use super::testing::{as_each, in_time};
use super::*;

fn number(rank: &Rank) -> f64 {
    f64::from(u32::try_from(rank.number()).unwrap())
}

#[test]
fn every_rank_gets_the_sum_of_all_and_the_numbers_of_the_first() {
    for ranks in 1..5 {
        let found = as_each(ranks, |rank| {
            let own = number(&rank);
            (0..200).for_each(|_| assert_eq!(rank.sum(vec![own, 1.0]).unwrap().len(), 2));
            (rank.sum(vec![own, 1.0]).unwrap(), rank.agreed(vec![own + 7.0]).unwrap())
        });
        let count = f64::from(u32::try_from(ranks).unwrap());
        assert_eq!(found, vec![(vec![count * (count - 1.0) / 2.0, count], vec![7.0]); ranks]);
    }
}

/// Larger than a piece, and a tensor more than ranks, so that shares differ.
#[test]
fn tensors_are_summed_in_place_to_the_same_bits_on_every_rank() {
    let values = |rank: &Rank, n: usize| -> Vec<f32> {
        let divisor = f32::from(u8::try_from(rank.number()).unwrap()) + 3.0;
        (0_u16..9973).cycle().take(n).map(|i| (f32::from(i) * 0.37 + 1.0) / divisor).collect()
    };
    let sizes = [3, (1 << 20) + 5, 0, 17];
    let found = as_each(3, |rank| {
        let tensors = sizes.map(|n| Tensor::from_vec(values(&rank, n), (n, 1), &Candle::Cpu).unwrap());
        rank.add_up(&tensors).unwrap();
        tensors.map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap())
    });
    let each = as_each(3, |rank| sizes.map(|n| values(&rank, n)));
    for (index, size) in sizes.into_iter().enumerate() {
        let right: Vec<f32> =
            (0..size).map(|i| each[0][index][i] + each[1][index][i] + each[2][index][i]).collect();
        assert!(found.iter().all(|tensors| tensors[index] == right), "tensor {index}");
    }
}

#[test]
fn the_shares_of_all_ranks_are_everything_once() {
    let all: Vec<usize> = (10..17).collect();
    let mut shares: Vec<(usize, usize)> =
        as_each(3, |rank| rank.share(&all).map(|(place, item)| (place, *item)).collect::<Vec<_>>()).concat();
    assert_eq!(shares[..3], [(0, 10), (3, 13), (6, 16)]);
    shares.sort_unstable();
    assert_eq!(shares, (0..7).map(|place| (place, place + 10)).collect::<Vec<_>>());
}

#[test]
fn nobody_waits_for_a_rank_that_has_left() {
    let each = |rank: Rank| {
        rank.meet().unwrap();
        if rank.number() == 1 {
            return "has left".to_owned();
        }
        let tensor = Tensor::zeros(4, DType::F32, &Candle::Cpu).unwrap();
        rank.add_up(&[tensor]).unwrap_err().to_string()
    };
    let found = in_time(move || as_each(3, each));
    assert!(found[0].contains("rank 1 has ended") && found[2] == found[0], "{found:?}");
}

#[test]
fn nobody_waits_for_a_rank_that_panics_or_never_takes_its_place() {
    for panics in [true, false] {
        let mut seats = seats(2);
        let second = seats.pop().unwrap();
        let leaves = move || {
            let _second = second;
            assert!(!panics, "expected");
        };
        assert_eq!(thread::spawn(leaves).join().is_err(), panics);
        let left = in_time(move || seats[0].attend(Brought::Itself).map(|_| ()));
        assert!(matches!(left, Err(RankError::Left { rank: 1 })), "{left:?}");
    }
}

#[test]
fn ranks_that_are_at_different_points_of_a_run_say_so() {
    let found = as_each(2, |rank| {
        let tensor = Tensor::zeros(4 + rank.number(), DType::F32, &Candle::Cpu).unwrap();
        rank.add_up(&[tensor]).unwrap_err().to_string()
    });
    assert!(found.iter().any(|error| error.contains("same point")), "{found:?}");
    let found = as_each(2, |rank| if rank.is_first() { rank.sum(vec![1.0]) } else { rank.sum(vec![]) });
    assert!(found.iter().all(Result::is_err), "{found:?}");
}

#[test]
fn who_is_alone_waits_for_nobody() {
    let rank = Rank::alone();
    rank.meet().unwrap();
    assert_eq!(rank.sum(vec![2.0]).unwrap(), [2.0]);
    assert_eq!((rank.count(), rank.is_first()), (1, true));
}
