//! A run by several ranks is the run by one: the same steps, gradients and weights, whoever does what.

use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;

use super::super::loss_scale::LossScale;
use super::super::optimizer::{AdamW, Moments};
use super::super::{Engine, StepSettings, TrainError, TrainTask, as_ranks, train_as};
use super::engine::{KINDS, Kind, NEVER, cut, model_in, off, values};
use super::{EVALUATE_EVERY, Folder, losses};
use crate::data::{Batch, Example, collate};
use crate::device::ranks::Seat;
use crate::device::ranks::testing::{as_each, in_time};
use crate::device::{self, Rank};
use crate::model::{TensorFiles, elsewhere};
use crate::space::{BatchPlan, Precision};
use crate::trial::{Event, NoiseSample, TrialSpec};

/// Micro-batches of a step: so many ranks can share them evenly as divide four.
const PASSES: usize = 4;

/// What a rank has after some steps.
struct Found {
    losses: Vec<f64>,
    norms: Vec<f64>,
    noise: Option<NoiseSample>,
    /// First moments, then weights.
    state: Vec<Vec<f32>>,
}

impl Found {
    fn bits(&self) -> Vec<u32> {
        self.state.iter().flatten().map(|value| value.to_bits()).collect()
    }
}

fn state(engine: &Engine) -> Vec<Vec<f32>> {
    let first = engine.optimizer().moments().iter().flat_map(Moments::tensors);
    let weights = engine.model().trainable().map(|(_, weight)| weight);
    let wide = |tensor: &Tensor| values(&tensor.to_dtype(candle_core::DType::F32).unwrap());
    first.chain(weights).map(wide).collect()
}

fn steps(rank: Rank, kind: Kind, max_grad_norm: Option<f64>, steps: usize) -> Found {
    let model = model_in(kind, Precision::F32);
    let passes = PASSES / rank.count();
    let engine = Engine::new(model, kind.optimizer(), 0.1, max_grad_norm, passes).unwrap();
    let mut engine = engine.with_rank(rank);
    let outcomes: Vec<_> = (1..=steps)
        .map(|step| {
            let settings = StepSettings { step, learning_rate: 1e-2 };
            engine.step(&cut(PASSES), settings, &mut |_| Ok(())).unwrap()
        })
        .collect();
    Found {
        losses: outcomes.iter().map(|outcome| outcome.loss_nats).collect(),
        norms: outcomes.iter().map(|outcome| outcome.grad_norm.unwrap()).collect(),
        noise: outcomes[0].noise,
        state: state(&engine),
    }
}

#[test]
fn one_rank_of_four_passes_two_of_two_and_four_of_one_take_the_same_step() {
    for (kind, clip) in KINDS.into_iter().flat_map(|kind| [(kind, None), (kind, Some(0.5)), (kind, NEVER)]) {
        let alone = steps(Rank::alone(), kind, clip, 1);
        for ranks in [2, 4] {
            for found in as_each(ranks, |rank| steps(rank, kind, clip, 1)) {
                let what = format!("{kind:?}, {clip:?}, {ranks} ranks");
                let near =
                    |a: f64, b: f64, bound: f64| assert!((a / b - 1.0).abs() < bound, "{what}: {a} {b}");
                near(found.losses[0], alone.losses[0], 1e-6);
                near(found.norms[0], alone.norms[0], 1e-5);
                // After one step the first moments are the gradients, but for a factor.
                for (index, (ours, plain)) in found.state.iter().zip(&alone.state).enumerate() {
                    let off = off(ours, plain);
                    assert!(off < 2e-5, "{what}: tensor {index} is off by {off:e}");
                }
            }
        }
    }
}

#[test]
fn all_ranks_have_the_same_bits_after_every_update() {
    for (kind, clip) in [(Kind::Tied, None), (Kind::Adapters, Some(0.5)), (Kind::InCodes, Some(0.5))] {
        for ranks in [2, 4] {
            let found = as_each(ranks, |rank| steps(rank, kind, clip, 5));
            assert!(found[0].losses[4] < found[0].losses[0] - 1e-3, "{kind:?}: it learns");
            for other in &found {
                assert_eq!(other.bits(), found[0].bits(), "{kind:?}, {ranks} ranks");
                assert_eq!(other.losses, found[0].losses);
            }
        }
    }
}

#[test]
fn the_first_rank_tells_of_the_noise_what_one_alone_does() {
    let alone = steps(Rank::alone(), Kind::Untied, NEVER, 1).noise.unwrap();
    for ranks in [2, 4] {
        let found = as_each(ranks, |rank| steps(rank, Kind::Untied, NEVER, 1).noise);
        let first = found[0].unwrap();
        assert!((first.trace / alone.trace - 1.0).abs() < 1e-4, "{first:?} {alone:?}");
        assert!((first.squared_gradient / alone.squared_gradient - 1.0).abs() < 1e-4, "{first:?} {alone:?}");
    }
}

/// Devices that round otherwise, here by another path of the same arithmetic, must not clip otherwise.
#[test]
fn ranks_decide_by_one_norm_to_the_last_bit() {
    for (ranks, clip) in [(2, NEVER), (4, None)] {
        let found = as_each(ranks, |rank| {
            let work = |rank| steps(rank, Kind::Tied, clip, 1).norms[0];
            if rank.is_first() { work(rank) } else { elsewhere::pretended(|| work(rank)) }
        });
        assert!(found.iter().all(|norm| norm.to_bits() == found[0].to_bits()), "{found:?}");
    }
}

/// A batch in which nothing is scored has no gradient that could overflow.
#[test]
fn an_overflow_on_one_rank_skips_the_update_of_all() {
    let example = |prompt_tokens| Example { input_ids: vec![3, 1, 4, 1, 5], prompt_tokens };
    let batches: Vec<Batch> = [0, 9].map(|prompt| collate(&[&example(prompt)])).into();
    let found = as_each(2, |rank| {
        let model = model_in(Kind::Untied, Precision::F16);
        let optimizer = AdamW::new(&model, Kind::Untied.optimizer(), 0.1).unwrap();
        let huge = Some(LossScale::beginning_at(2_f32.powi(40)));
        let engine = Engine::with_optimizer(model, optimizer, None, 1, huge).unwrap();
        let (mut engine, untrained) = (engine.with_rank(rank), state(&engine_of_f16()));
        let mut skipped = 0;
        for step in 1.. {
            let settings = StepSettings { step, learning_rate: 1e-2 };
            if engine.step(&batches, settings, &mut |_| Ok(())).unwrap().grad_norm.is_some() {
                break;
            }
            assert_eq!(state(&engine), untrained);
            skipped += 1;
        }
        assert_ne!(state(&engine), untrained);
        (skipped, engine.loss_scale(), state(&engine))
    });
    assert!(found[0].0 > 5 && found[0] == found[1], "{:?} {:?}", found[0].0, found[1].0);
}

fn engine_of_f16() -> Engine {
    Engine::new(model_in(Kind::Untied, Precision::F16), Kind::Untied.optimizer(), 0.1, None, 1).unwrap()
}

#[test]
fn a_step_that_cannot_be_shared_evenly_is_refused() {
    let found = as_each(3, |rank| {
        let engine = Engine::new(model_in(Kind::Tied, Precision::F32), Kind::Tied.optimizer(), 0.1, NEVER, 1);
        let settings = StepSettings { step: 1, learning_rate: 1e-2 };
        let mut engine = engine.unwrap().with_rank(rank);
        engine.step(&cut(PASSES), settings, &mut |_| Ok(())).unwrap_err().to_string()
    });
    assert!(found.iter().all(|error| error.contains("3 devices")), "{found:?}");
}

/// Eight examples a step, in micro-batches of two.
fn eight_a_step(folder: &Folder) -> TrialSpec {
    let mut spec = folder.spec();
    spec.hyperparams.batch = BatchPlan { micro_batch_size: 2, gradient_accumulation_steps: 4 };
    spec
}

/// Trains by so many ranks to a step in the checkpoint `name`; all that was said but about memory.
fn train_by(folder: &Folder, name: &str, ranks: usize, stop_at_step: usize) -> Vec<Event> {
    let (spec, checkpoint, mut events) = (Arc::new(eight_a_step(folder)), folder.path(name), Vec::new());
    let best = folder.path(&format!("{name}-best"));
    let work = move |seat: Seat, emit: &mut dyn FnMut(Event)| {
        let device = device::open(&spec.device)?;
        let rank = seat.take(&*device)?;
        let (checkpoint, best): (&Path, &Path) = (&checkpoint, &best);
        let evaluate_every = EVALUATE_EVERY;
        let task = TrainTask { stop_at_step, evaluate_every, checkpoint, best: Some(best), examples: true };
        train_as(&spec, task, (&*device, rank), emit)
    };
    as_ranks(ranks, work, TrainError::is_of_another_rank, &mut |event| events.push(event)).unwrap();
    events.retain(|event| !matches!(event, Event::Memory { .. }));
    events
}

/// Everything a run says of losses is near what another says, and of the same steps.
fn assert_near(ours: &[Event], right: &[Event], what: &str) {
    let (ours, right) = (losses(ours), losses(right));
    let steps = |losses: &[(char, usize, u64)]| {
        losses.iter().map(|(kind, step, _)| (*kind, *step)).collect::<Vec<_>>()
    };
    assert_eq!(steps(&ours), steps(&right), "{what}");
    for ((kind, step, ours), (.., right)) in ours.iter().zip(&right) {
        let (ours, right) = (f64::from_bits(*ours), f64::from_bits(*right));
        assert!((ours / right - 1.0).abs() < 1e-4, "{what}: {kind} of step {step} is {ours}, not {right}");
    }
}

/// Adapters have dropout, which must drop the same values whoever does a micro-batch.
#[test]
fn a_run_by_several_ranks_says_what_one_says_and_each_thing_once() {
    for folder in [Folder::new(), Folder::with_adapters()] {
        let alone = train_by(&folder, "alone", 1, 12);
        for ranks in [2, 4] {
            let name = format!("by-{ranks}");
            assert_near(&train_by(&folder, &name, ranks, 12), &alone, &name);
            let model = TensorFiles::of_model(&folder.path(&format!("{name}-best")));
            assert!(model.is_ok(), "the best weights are kept");
        }
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    for folder in [Folder::new(), Folder::with_adapters(), Folder::with_codes()] {
        let alone = train_by(&folder, "alone", 1, 12);
        for parts in [[(1, 4), (2, 8), (1, 12)], [(4, 4), (1, 6), (2, 12)]] {
            let name = format!("{parts:?}");
            let said: Vec<Event> =
                parts.into_iter().flat_map(|(ranks, stop)| train_by(&folder, &name, ranks, stop)).collect();
            assert_near(&said, &alone, &name);
        }
    }
}

#[test]
fn a_run_that_goes_on_with_as_many_ranks_is_the_same_to_the_last_bit() {
    let folder = Folder::with_adapters();
    let whole = train_by(&folder, "whole", 2, 12);
    let parts: Vec<Event> =
        [4, 8, 12].into_iter().flat_map(|stop| train_by(&folder, "parts", 2, stop)).collect();
    assert_eq!(losses(&parts), losses(&whole));
}

#[test]
fn a_damaged_checkpoint_is_put_aside_before_other_ranks_read_it() {
    let folder = Folder::new();
    let whole = train_by(&folder, "trial", 4, 4);
    let file = folder.path("trial/state.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(losses(&train_by(&folder, "trial", 4, 4)), losses(&whole), "the run begins anew");
}

/// What a run ends with in which one rank does something else after two steps.
fn run_in_which(rank: usize, ends: fn() -> Result<(), TrainError>) -> Result<(), TrainError> {
    let work = move |seat: Seat, _: &mut dyn FnMut(Event)| {
        let device = device::open(&crate::space::DeviceSpec::Cpu { cap: None })?;
        let (seat, number) = (seat.take(&*device)?, rank);
        let ends = if seat.number() == number { ends } else { || Ok(()) };
        let engine = Engine::new(model_in(Kind::Tied, Precision::F32), Kind::Tied.optimizer(), 0.1, None, 1);
        let mut engine = engine?.with_rank(seat);
        for step in 1..=100 {
            let settings = StepSettings { step, learning_rate: 1e-3 };
            engine.step(&cut(PASSES), settings, &mut |_| Ok(()))?;
            if step == 2 {
                ends()?;
            }
        }
        Ok(())
    };
    as_ranks(PASSES, work, TrainError::is_of_another_rank, &mut |_| ())
}

#[test]
fn a_rank_that_fails_ends_all_and_its_reason_is_told() {
    for rank in [0, 3] {
        let ends = || Err(TrainError::Diverged { step: 2 });
        let error = in_time(move || run_in_which(rank, ends)).unwrap_err();
        assert!(matches!(error, TrainError::Diverged { step: 2 }), "{error}");
    }
    run_in_which(0, || Ok(())).unwrap();
}

#[test]
fn a_rank_that_panics_ends_all_and_the_panic_goes_on() {
    let run = || std::panic::catch_unwind(|| run_in_which(2, || panic!("expected")));
    let panic = in_time(run).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"expected"));
}
