//! Counts every byte the process holds on the heap, and refuses past a cap.
//!
//! This is what makes `cpu:4GiB` a device with a true boundary. The numbers are those of the
//! layouts asked for: what the system's allocator adds in headers and fragments is not in them.
//! They are process-wide, and stay 0 where [`CountingAllocator`] is not the global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::last_word::Line;
use crate::units::Bytes;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// An atomic holds no `Option`; no allocation can be larger than this, so it caps nothing.
const NO_CAP: usize = usize::MAX;
static CAP: AtomicUsize = AtomicUsize::new(NO_CAP);
static ARMED: AtomicBool = AtomicBool::new(false);
static SPOKEN: AtomicBool = AtomicBool::new(false);

/// The system's allocator with a count of live and peak bytes, and a cap.
///
/// ```
/// use diapason::device::{CountingAllocator, allocator};
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator;
///
/// let before = allocator::live();
/// let block = vec![1u8; 1 << 20];
/// assert!(allocator::live().0 >= before.0 + (1 << 20));
/// # drop(block);
/// ```
pub struct CountingAllocator;

/// Bytes on the heap now.
#[must_use]
pub fn live() -> Bytes {
    bytes(LIVE.load(Relaxed))
}

/// Most bytes on the heap since the start or the last [`reset_peak`].
#[must_use]
pub fn peak() -> Bytes {
    bytes(PEAK.load(Relaxed))
}

/// Lets the peak start again from what is alive now.
///
/// What another thread allocates at this very moment may be missed; call it between phases.
pub fn reset_peak() {
    PEAK.store(LIVE.load(Relaxed), Relaxed);
}

/// Sets the most bytes the process may hold; `None` lifts the cap.
///
/// What is already alive stays, even where it is more than the cap. A trial child also calls
/// [`arm_last_word`]: without it a refusal in the middle of a panic's backtrace can hang in the
/// standard library, which then waits for a lock it holds.
pub fn set_cap(cap: Option<Bytes>) {
    let cap = cap.map_or(NO_CAP, |Bytes(cap)| usize::try_from(cap).unwrap_or(NO_CAP));
    CAP.store(cap, Relaxed);
}

/// From now on a refusal ends the process: the out-of-memory event on standard output, then abort.
///
/// Only the child of a trial calls this. Elsewhere a refusal is a null pointer, which
/// `Vec::try_reserve` reports and everything else answers with an abort of its own.
pub fn arm_last_word() {
    ARMED.store(true, Relaxed);
}

/// Whether [`CountingAllocator`] is this process's global allocator.
///
/// A running Rust program always has something on the heap, so a count of 0 says that nobody counts.
#[must_use]
pub fn is_installed() -> bool {
    LIVE.load(Relaxed) > 0
}

const fn bytes(count: usize) -> Bytes {
    Bytes(count as u64)
}

/// Books `count` bytes unless they would exceed the cap, and says what is alive with them.
fn reserve(count: usize) -> Option<usize> {
    let cap = CAP.load(Relaxed);
    // One exchange instead of add-then-take-back: a large refused request must not make another
    // thread's small one fail meanwhile.
    let before = LIVE.fetch_update(Relaxed, Relaxed, |live| grown(live, count, cap)).ok()?;
    Some(before + count)
}

/// What is alive with `count` more bytes; `None` past the cap.
fn grown(live: usize, count: usize, cap: usize) -> Option<usize> {
    // A block that shrinks takes nothing more: that must be possible even above a cap set later.
    live.checked_add(count).filter(|grown| *grown <= cap || count == 0)
}

fn release(count: usize) {
    LIVE.fetch_sub(count, Relaxed);
}

fn raise_peak(live: usize) {
    // Most allocations set no new peak, and a load is cheaper than a write all cores must see.
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
}

/// Books `count` more bytes and obtains the block, or refuses.
fn counted(count: usize, obtain: impl FnOnce() -> *mut u8) -> *mut u8 {
    let Some(live) = reserve(count) else { return refuse(count) };
    let block = obtain();
    if block.is_null() {
        release(count);
        return refuse(count);
    }
    raise_peak(live);
    block
}

/// Null, or the end of the process where the last word is armed.
#[cold]
fn refuse(requested: usize) -> *mut u8 {
    if !ARMED.load(Relaxed) {
        return ptr::null_mut();
    }
    if SPOKEN.swap(true, Relaxed) {
        // Another thread is writing the last word; ending here would cut it off.
        loop {
            std::thread::yield_now();
        }
    }
    let cap = CAP.load(Relaxed);
    Line::out_of_memory(requested, LIVE.load(Relaxed), (cap != NO_CAP).then_some(cap)).write_to_stdout();
    // The reason is said; a core file would write all those bytes to disk at every trial that
    // does not fit. Where the limit can't be set, the core file is only a nuisance.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    std::process::abort()
}

#[expect(unsafe_code, reason = "a global allocator can't be had without; every block is the system's own")]
// SAFETY: each method hands its arguments unchanged to `System`, which keeps the contract of
// `GlobalAlloc`, and returns its answer or null. The book-keeping touches atomics only: it neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        counted(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        counted(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System` with this `layout`.
        unsafe { System.dealloc(block, layout) };
        release(layout.size());
    }

    /// Only growth is asked for: while the system moves a block it may hold both for a moment.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let growth = new_size.saturating_sub(layout.size());
        // SAFETY: `block` came from `System` with this `layout`; `new_size` is the caller's promise.
        let block = counted(growth, || unsafe { System.realloc(block, layout, new_size) });
        if !block.is_null() {
            release(layout.size().saturating_sub(new_size));
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_itself_may_be_reached_and_nothing_more() {
        assert_eq!(grown(60, 40, 100), Some(100));
        assert_eq!(grown(60, 41, 100), None);
        assert_eq!(grown(101, 1, 100), None);
        assert_eq!(grown(1, usize::MAX, NO_CAP), None);
    }

    #[test]
    fn a_block_may_shrink_above_a_cap_that_came_later() {
        assert_eq!(grown(101, 0, 100), Some(101));
    }
}
