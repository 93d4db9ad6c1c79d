//! Several devices that train one model together, each with a copy of it: who is who, and their sums.
//!
//! A rank is a device with a thread of this process. What ranks tell each other goes through the
//! process: numbers always, and the sums of tensors too, unless cards add them up among
//! themselves (NCCL, in a build with the feature `nccl`). So a rank that fails is noticed by all
//! others, whose waiting ends with an error.
//!
//! All ranks must do the same calls in the same order. It does not know what is trained, nor how the
//! work is shared beyond [`Rank::share`].

mod meeting;
mod plain;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::Tensor;

use self::meeting::{Brought, Meeting};
use super::Device;
#[cfg(feature = "nccl")]
use super::cuda::nccl::Nccl;

/// Why ranks can't go on together.
#[derive(Debug, thiserror::Error)]
pub enum RankError {
    /// Another rank has ended, and said why itself.
    #[error("rank {rank} has ended, and the others can't go on without it")]
    Left {
        /// The rank that has ended first.
        rank: usize,
    },
    /// The ranks are not at the same point of the run: a defect of the program.
    #[error("the ranks of a run are not at the same point of it")]
    OutOfStep,
    /// A sum failed on the device.
    #[error("the sum over ranks: {0}")]
    Sum(#[from] candle_core::Error),
    /// Cards could not be connected.
    #[error(
        "NCCL does not connect the cards: {0}\n  \
         hint: NCCL_DEBUG=INFO makes it say why; `data_parallel = false` in `[train]` uses one card"
    )]
    Connect(String),
}

/// The place of a rank before its device is open. Who drops it has left.
#[derive(Debug)]
pub struct Seat {
    number: usize,
    count: usize,
    /// None for a rank that is alone.
    meeting: Option<Arc<Meeting>>,
}

/// One of the devices that train together, seen from its own thread. Who drops it has left.
#[derive(Debug)]
pub struct Rank {
    // Dropped first: the others must not wait for a connection that is taken down.
    seat: Seat,
    #[cfg(feature = "nccl")]
    nccl: Option<Nccl>,
}

/// The places of so many ranks, the first of which is number 0.
#[must_use]
pub fn seats(ranks: usize) -> Vec<Seat> {
    let meeting = Arc::new(Meeting::of(ranks));
    (0..ranks).map(|number| Seat { number, count: ranks, meeting: Some(Arc::clone(&meeting)) }).collect()
}

impl Seat {
    /// Which rank.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Takes the place with an opened device. Cards are connected with each other where this build has NCCL;
    /// else their sums go through the memory of the machine, which is slow.
    ///
    /// # Errors
    /// Another rank has left, or NCCL does not connect the cards.
    pub fn take(self, device: &dyn Device) -> Result<Rank, RankError> {
        #[cfg(feature = "nccl")]
        {
            let mut rank = Rank { seat: self, nccl: None };
            if rank.count() > 1 && device.candle().is_cuda() {
                rank.nccl = Some(Nccl::connect(&rank, device.candle())?);
            }
            Ok(rank)
        }
        #[cfg(not(feature = "nccl"))]
        {
            let _ = device;
            Ok(Rank { seat: self })
        }
    }

    /// Waits for all ranks; what they have brought.
    fn attend(&self, with: Brought) -> Result<Arc<[Brought]>, RankError> {
        match &self.meeting {
            Some(meeting) => meeting.attend(self.number, with),
            None => Ok(Arc::from([with])),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(meeting) = &self.meeting {
            meeting.leave(self.number);
        }
    }
}

impl Rank {
    /// The only rank of a run on one device.
    #[must_use]
    pub const fn alone() -> Self {
        Self {
            seat: Seat { number: 0, count: 1, meeting: None },
            #[cfg(feature = "nccl")]
            nccl: None,
        }
    }

    /// Which rank, counted from 0.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.seat.number
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.seat.count
    }

    /// Whether it speaks and writes for all.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.seat.number == 0
    }

    /// What of `all` this rank does, each with its place in `all`: every `count`-th. The ranks together do each once.
    pub fn share<'a, T>(&self, all: &'a [T]) -> impl Iterator<Item = (usize, &'a T)> + use<'a, T> {
        all.iter().enumerate().skip(self.number()).step_by(self.count().max(1))
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    /// Another rank has left.
    pub fn meet(&self) -> Result<(), RankError> {
        self.seat.attend(Brought::Itself).map(|_| ())
    }

    /// The sum over ranks of each of `numbers`, in the order of the ranks.
    ///
    /// # Errors
    /// Another rank has left, or has brought something else.
    pub fn sum(&self, numbers: Vec<f64>) -> Result<Vec<f64>, RankError> {
        if self.count() == 1 {
            return Ok(numbers);
        }
        let mut sums = vec![0.0; numbers.len()];
        for brought in &*self.seat.attend(Brought::Numbers(numbers))? {
            let Brought::Numbers(numbers) = brought else { return Err(RankError::OutOfStep) };
            if numbers.len() != sums.len() {
                return Err(RankError::OutOfStep);
            }
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        Ok(sums)
    }

    /// The numbers of the first rank. What all ranks decide by must not differ in the last bit.
    ///
    /// # Errors
    /// Another rank has left, or has brought something else.
    pub fn agreed(&self, numbers: Vec<f64>) -> Result<Vec<f64>, RankError> {
        if self.count() == 1 {
            return Ok(numbers);
        }
        let all = self.seat.attend(Brought::Numbers(numbers))?;
        let Some(Brought::Numbers(first)) = all.first() else { return Err(RankError::OutOfStep) };
        Ok(first.clone())
    }

    /// Puts the sum over ranks into each of `tensors`, in place.
    ///
    /// # Errors
    /// Another rank has left, or has brought other tensors; the device fails.
    pub fn add_up(&self, tensors: &[Tensor]) -> Result<(), RankError> {
        if self.count() == 1 {
            return Ok(());
        }
        #[cfg(feature = "nccl")]
        if let Some(nccl) = &self.nccl {
            // Nobody begins what a rank that has left would never end.
            self.meet()?;
            return Ok(nccl.add_up(tensors)?);
        }
        self.add_up_plainly(tensors)
    }

    /// Each rank adds up its share of the tensors, for all.
    fn add_up_plainly(&self, tensors: &[Tensor]) -> Result<(), RankError> {
        let all = self.seat.attend(Brought::Tensors(tensors.to_vec()))?;
        let mut of_ranks: Vec<&[Tensor]> = Vec::with_capacity(self.count());
        for brought in &*all {
            match brought {
                Brought::Tensors(others) if is_alike(others, tensors) => of_ranks.push(others),
                _ => return Err(RankError::OutOfStep),
            }
        }
        for (index, _) in self.share(tensors) {
            plain::add_up(&of_ranks, index)?;
        }
        self.meet()
    }
}

fn is_alike(others: &[Tensor], own: &[Tensor]) -> bool {
    let is_alike =
        |(other, own): (&Tensor, &Tensor)| other.shape() == own.shape() && other.dtype() == own.dtype();
    others.len() == own.len() && others.iter().zip(own).all(is_alike)
}
