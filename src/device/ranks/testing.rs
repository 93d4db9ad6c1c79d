//! Ranks of the processor as threads of a test.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::{Rank, Seat, seats};
use crate::device;
use crate::space::DeviceSpec;

/// What `work` returns as each of so many ranks, in their order.
pub(crate) fn as_each<R: Send>(ranks: usize, work: impl Fn(Rank) -> R + Sync) -> Vec<R> {
    let sit = |seat: Seat| {
        let device = device::open(&DeviceSpec::Cpu { cap: None }).unwrap();
        work(seat.take(&*device).unwrap())
    };
    let sit = &sit;
    thread::scope(|scope| {
        let begin = |seat| scope.spawn(move || sit(seat));
        let threads: Vec<_> = seats(ranks).into_iter().map(begin).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// What `work` returns; a test of what must not wait for ever fails instead of waiting.
pub(crate) fn in_time<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_mins(1)).expect("it still waits, or has panicked")
}
