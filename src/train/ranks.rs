//! The ranks of a run as threads of this process, and who is listened to.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::TrainError;
use crate::device::ranks::{Seat, seats};
use crate::trial::Event;

/// How long after a failure the other ranks are waited for. A thread that hangs in a call to the driver must not
/// keep the reason from being told; it ends with the process.
const GRACE: Duration = Duration::from_secs(10);

/// What a rank does: it takes its seat, says events, and fails or not.
pub trait Work<E>: Fn(Seat, &mut dyn FnMut(Event)) -> Result<(), E> + Send + Sync + 'static {}

impl<E, W: Fn(Seat, &mut dyn FnMut(Event)) -> Result<(), E> + Send + Sync + 'static> Work<E> for W {}

/// What comes from the ranks.
enum Said<E> {
    Event(Event),
    Failed(E),
}

/// Runs `work` as each of `ranks` ranks at once, each in a thread with a share of the processors for its loops;
/// `emit` hears in this thread what they say.
///
/// # Errors
/// The first failure that is not of another rank; threads that can't be started.
///
/// # Panics
/// A rank that panics ends the others, and the panic goes on here.
pub fn as_ranks<E: From<TrainError> + Send + 'static>(
    ranks: usize,
    work: impl Work<E>,
    is_of_another: fn(&E) -> bool,
    emit: &mut dyn FnMut(Event),
) -> Result<(), E> {
    // Nothing is said before it is heard: what an event tells must not be outrun by what comes after it.
    let (sender, receiver) = sync_channel(0);
    let threads = (rayon::current_num_threads() / ranks.max(1)).max(1);
    let work = Arc::new(work);
    let begin = |seat| begin(seat, threads, Arc::clone(&work), sender.clone());
    let begun: Result<Vec<JoinHandle<()>>, TrainError> = seats(ranks).into_iter().map(begin).collect();
    drop(sender);
    let handles = begun?;
    let failure = hear(&receiver, is_of_another, emit);
    if failure.as_ref().is_some_and(|failure| !is_of_another(failure)) {
        return failure.map_or(Ok(()), Err);
    }
    for handle in handles {
        handle.join().unwrap_or_else(|panic| resume_unwind(panic));
    }
    failure.map_or(Ok(()), Err)
}

/// The thread of one rank.
fn begin<E: From<TrainError> + Send + 'static>(
    seat: Seat,
    threads: usize,
    work: Arc<impl Work<E>>,
    sender: SyncSender<Said<E>>,
) -> Result<JoinHandle<()>, TrainError> {
    let name = format!("rank {}", seat.number());
    let run = move || {
        // Where nobody listens any more, the run has ended.
        let say = |said| drop(sender.send(said));
        let done = in_own_pool(threads, || work(seat, &mut |event| say(Said::Event(event))));
        if let Err(failure) = done.unwrap_or_else(|error| Err(error.into())) {
            say(Said::Failed(failure));
        }
    };
    thread::Builder::new().name(name).spawn(run).map_err(|error| TrainError::Threads(error.to_string()))
}

/// A rank that waits for others holds one of the threads that share its loops, and another rank's loops must not
/// need it.
fn in_own_pool<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> Result<R, TrainError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    Ok(pool.map_err(|error| TrainError::Threads(error.to_string()))?.install(work))
}

/// Passes events on until all ranks have ended, or one has failed by itself and the others have had their time.
fn hear<E>(
    receiver: &Receiver<Said<E>>,
    is_of_another: fn(&E) -> bool,
    emit: &mut dyn FnMut(Event),
) -> Option<E> {
    let mut failure: Option<E> = None;
    loop {
        let is_over = failure.as_ref().is_some_and(|failure| !is_of_another(failure));
        let said = if is_over { receiver.recv_timeout(GRACE).ok() } else { receiver.recv().ok() };
        let Some(said) = said else { return failure };
        match said {
            Said::Event(event) if failure.is_none() => emit(event),
            Said::Failed(error) if failure.as_ref().is_none_or(is_of_another) => failure = Some(error),
            Said::Event(_) | Said::Failed(_) => {}
        }
    }
}
