//! The counting allocator in processes that have it: the counts, the cap and the last word.
//!
//! Counts and cap belong to the whole process, so every test runs once more, alone, in a child.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::Barrier;
use std::thread;

use diapason::device::{self, CountingAllocator, DeviceError, allocator};
use diapason::trial::Event;
use diapason::units::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CHILD: &str = "DIAPASON_TEST_CHILD";
const MIB: usize = 1 << 20;
/// More than the address space of any machine of today.
const TOO_LARGE: usize = 1 << 62;
const SIGABRT: i32 = 6;
/// More than the test harness allocates beside a running test; less than any block that matters.
const HARNESS: usize = 4096;

/// Runs the named test in a child; `None` in that child, where the body of the test is to run.
fn in_child(test: &str) -> Option<Output> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    Some(child.output().unwrap())
}

/// Runs `body` alone in a child, which must pass and must have run exactly this test.
fn alone(test: &str, body: fn()) {
    let Some(output) = in_child(test) else { return body() };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

/// The out-of-memory events on a child's standard output; the harness's own text stands around them.
fn last_words(output: &Output) -> Vec<Event> {
    let said = std::str::from_utf8(&output.stdout).unwrap();
    let json = said.lines().filter_map(|line| line.find('{').map(|start| &line[start..]));
    json.map(|json| serde_json::from_str(json).unwrap()).collect()
}

/// Runs `body` under a cap. Assertions stand outside: a failing one needs memory for its message.
fn under_cap<T>(cap: Bytes, body: impl FnOnce() -> T) -> T {
    allocator::set_cap(Some(cap));
    let result = body();
    allocator::set_cap(None);
    result
}

/// Asserts what was booked since `before`, but for what the harness's own thread books meanwhile.
#[track_caller]
fn assert_booked(now: Bytes, before: Bytes, expected: usize) {
    let booked = i128::from(now.0) - i128::from(before.0);
    assert!(booked.abs_diff(expected as i128) < HARNESS as u128, "{booked} bytes, not {expected}");
}

#[test]
fn live_and_peak_follow_a_vec_that_grows_and_shrinks() {
    alone("live_and_peak_follow_a_vec_that_grows_and_shrinks", || {
        let before = allocator::live();
        allocator::reset_peak();
        let mut block = black_box(Vec::<u8>::with_capacity(2 * MIB));
        assert_booked(allocator::live(), before, 2 * MIB);
        block.push(1);
        block.reserve_exact(5 * MIB - 1);
        assert_booked(allocator::live(), before, 5 * MIB);
        block.shrink_to(MIB);
        assert_booked(allocator::live(), before, MIB);
        drop(black_box(block));
        assert_booked(allocator::live(), before, 0);
        assert_booked(allocator::peak(), before, 5 * MIB);
    });
}

#[test]
fn every_block_is_counted_to_the_byte() {
    alone("every_block_is_counted_to_the_byte", || {
        let mut blocks = Vec::with_capacity(100_000);
        let before = allocator::live();
        blocks.extend((0..100_000).map(|_| vec![1u8; 33].into_boxed_slice()));
        assert_booked(allocator::live(), before, 3_300_000);
        black_box(&mut blocks).clear();
        assert_booked(allocator::live(), before, 0);
    });
}

#[test]
fn zeroed_memory_is_counted_and_zero() {
    alone("zeroed_memory_is_counted_and_zero", || {
        let before = allocator::live();
        let block = black_box(vec![0u8; 3 * MIB]);
        assert_booked(allocator::live(), before, 3 * MIB);
        assert!(block.iter().all(|byte| *byte == 0));
    });
}

#[test]
fn the_peak_starts_again_from_what_is_alive() {
    alone("the_peak_starts_again_from_what_is_alive", || {
        let before = allocator::live();
        let kept = black_box(vec![1u8; MIB]);
        drop(black_box(vec![1u8; 8 * MIB]));
        allocator::reset_peak();
        assert_booked(allocator::peak(), before, MIB);
        drop(kept);
    });
}

#[test]
fn threads_that_allocate_at_once_lose_no_byte() {
    alone("threads_that_allocate_at_once_lose_no_byte", || {
        let before = allocator::live();
        let churn = || (0..20_000).for_each(|i| drop(black_box(Vec::<u8>::with_capacity(i + 1))));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(churn);
            }
        });
        assert_booked(allocator::live(), before, 0);
    });
}

#[test]
fn a_refusal_is_an_error_of_try_reserve_and_leaves_the_count_alone() {
    alone("a_refusal_is_an_error_of_try_reserve_and_leaves_the_count_alone", || {
        let before = allocator::live();
        let mut block = Vec::<u8>::new();
        let cap = Bytes(before.0 + (4 * MIB + HARNESS) as u64);
        let (over, live, below, grown) = under_cap(cap, || {
            let over = block.try_reserve_exact(4 * MIB + 2 * HARNESS).is_ok();
            let live = allocator::live();
            let below = block.try_reserve_exact(4 * MIB).is_ok();
            (over, live, below, block.try_reserve_exact(5 * MIB).is_ok())
        });
        assert!(!over && below);
        assert_booked(live, before, 0);
        assert!(!grown && block.capacity() == 4 * MIB, "a refused growth keeps the block");
        assert!(block.try_reserve_exact(5 * MIB).is_ok(), "without a cap");
    });
}

#[test]
fn memory_the_system_refuses_leaves_count_and_peak_alone() {
    alone("memory_the_system_refuses_leaves_count_and_peak_alone", || {
        let before = (allocator::live(), allocator::peak());
        assert!(Vec::<u8>::new().try_reserve_exact(TOO_LARGE).is_err());
        assert_booked(allocator::live(), before.0, 0);
        assert_booked(allocator::peak(), before.1, 0);
    });
}

#[test]
fn a_capped_processor_refuses_past_its_cap() {
    alone("a_capped_processor_refuses_past_its_cap", || {
        let device = device::open(&"cpu:64MiB".parse().unwrap()).unwrap();
        assert_eq!(device.cap(), Some(Bytes::mib(64)));
        assert!(Vec::<u8>::new().try_reserve_exact(65 * MIB).is_err());
        device.reset_peak().unwrap();
        let live = device.live().unwrap();
        let tensor = candle_core::Tensor::zeros(MIB, candle_core::DType::F32, device.candle()).unwrap();
        drop(black_box(tensor));
        let peak = device.peak().unwrap().saturating_sub(live);
        assert!((4 * MIB as u64..5 * MIB as u64).contains(&peak.0), "{peak}");
    });
}

#[test]
fn opening_without_a_cap_lifts_an_earlier_one() {
    alone("opening_without_a_cap_lifts_an_earlier_one", || {
        let open = |text: &str| -> Result<_, DeviceError> { device::open(&text.parse().unwrap()) };
        open("cpu:16MiB").unwrap();
        open("cpu").unwrap();
        assert!(Vec::<u8>::new().try_reserve_exact(17 * MIB).is_ok());
    });
}

#[test]
fn an_armed_refusal_is_the_last_word_of_the_process() {
    let Some(output) = in_child("an_armed_refusal_is_the_last_word_of_the_process") else {
        let allowed = getrlimit(Resource::Core).maximum;
        setrlimit(Resource::Core, Rlimit { current: allowed, maximum: allowed }).unwrap();
        allocator::set_cap(Some(Bytes::mib(32)));
        allocator::arm_last_word();
        drop(black_box(Vec::<u8>::with_capacity(48 * MIB)));
        return;
    };
    assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
    assert!(!output.status.core_dumped(), "its memory is written to no file");
    assert!(output.stdout.ends_with(b"}\n"), "nothing follows the last word: {output:?}");
    let words = last_words(&output);
    let [Event::OutOfMemory { requested, live, cap }] = words.as_slice() else { panic!("{words:?}") };
    assert_eq!((*requested, *cap), (Some(Bytes::mib(48)), Some(Bytes::mib(32))));
    assert!((1..MIB as u64).contains(&live.0), "{live}");
}

#[test]
fn threads_that_run_out_at_once_say_one_last_word() {
    // The threads meet in one of a few dozen processes at the latest.
    for _ in 0..40 {
        let Some(output) = in_child("threads_that_run_out_at_once_say_one_last_word") else {
            return run_out_in_threads();
        };
        assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
        assert_eq!(last_words(&output).len(), 1, "{output:?}");
    }
}

fn run_out_in_threads() {
    allocator::set_cap(Some(Bytes::mib(16)));
    allocator::arm_last_word();
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                drop(black_box(Vec::<u8>::with_capacity(17 * MIB)));
            });
        }
    });
}

#[test]
fn memory_the_system_refuses_is_a_last_word_without_a_cap() {
    let Some(output) = in_child("memory_the_system_refuses_is_a_last_word_without_a_cap") else {
        allocator::arm_last_word();
        drop(black_box(Vec::<u8>::with_capacity(TOO_LARGE)));
        return;
    };
    assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
    let words = last_words(&output);
    let [Event::OutOfMemory { requested, cap, .. }] = words.as_slice() else { panic!("{words:?}") };
    assert_eq!((*requested, *cap), (Some(Bytes(TOO_LARGE as u64)), None));
}
