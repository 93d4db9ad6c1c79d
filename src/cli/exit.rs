//! Exit codes: what a script can know without reading the message.

use std::process::ExitCode;

use anyhow::Error;

use super::usage::UsageError;
use crate::arch::ConfigError;
use crate::data::DataError;
use crate::device::DeviceError;
use crate::doctor::Interrupted;
use crate::executor::ExecutorError;
use crate::hub::HubError;
use crate::memory::gpu::GpuError;
use crate::model::ModelError;
use crate::quantize::{ParseGgufTypeError, QuantizeError};
use crate::space::StudyFileError;
use crate::store::StoreError;
use crate::study::StudyError;
use crate::train::TrainError;

const UNEXPECTED: u8 = 1;
const USAGE: u8 = 2;
pub(super) const NOTHING_FITS: u8 = 3;
const STOPPED_EARLY: u8 = 4;
const INTERRUPTED: u8 = 130;

/// What was asked for was cut short, and what there is was saved.
pub(super) fn stopped_early() -> ExitCode {
    ExitCode::from(STOPPED_EARLY)
}

/// Whether a machine was found sound: what is only worse than it could be, or was not checked, is no failure.
pub(super) fn of_examination(problems: usize) -> ExitCode {
    ExitCode::from(if problems == 0 { 0 } else { UNEXPECTED })
}

/// The documented code for an error.
pub(super) fn code_of(error: &Error) -> ExitCode {
    ExitCode::from(number(error))
}

fn number(error: &Error) -> u8 {
    if let Some(error) = error.downcast_ref::<StudyError>() {
        return code_of_study(error);
    }
    if let Some(error) = error.downcast_ref::<TrainError>() {
        return code_of_training(error);
    }
    if let Some(error) = error.downcast_ref::<HubError>() {
        return code_of_hub(error);
    }
    if let Some(error) = error.downcast_ref::<ModelError>() {
        return code_of_model(error);
    }
    if error.is::<Interrupted>() {
        return INTERRUPTED;
    }
    let inputs = error.is::<UsageError>()
        || error.is::<GpuError>()
        || error.is::<ConfigError>()
        || error.is::<StudyFileError>()
        || error.is::<DataError>()
        || error.is::<DeviceError>()
        || error.is::<QuantizeError>()
        || error.is::<ParseGgufTypeError>();
    if inputs { USAGE } else { UNEXPECTED }
}

fn code_of_study(error: &StudyError) -> u8 {
    match error {
        StudyError::Executor(ExecutorError::Interrupted) => INTERRUPTED,
        StudyError::NothingFits { .. } | StudyError::ListedTooLarge { .. } => NOTHING_FITS,
        StudyError::KeepsFailing { .. }
        | StudyError::NoBest
        | StudyError::NoResult { .. }
        | StudyError::DiskIsFull { .. } => STOPPED_EARLY,
        StudyError::Model(error) => code_of_model(error),
        StudyError::Hub(error) => code_of_hub(error),
        // The first trials failed alike: something is set up wrongly.
        StudyError::AllFail { .. }
        // So is what Slurm is asked for.
        | StudyError::Executor(ExecutorError::Refused { .. } | ExecutorError::NoSlurm { .. })
        | StudyError::Data(_)
        | StudyError::NewModel(_)
        | StudyError::Device(_)
        | StudyError::Changed { .. }
        | StudyError::NoGguf(_)
        | StudyError::BaseGguf(_)
        | StudyError::Store(StoreError::StudyChanged { .. } | StoreError::Missing { .. }) => USAGE,
        _ => UNEXPECTED,
    }
}

fn code_of_training(error: &TrainError) -> u8 {
    match error {
        TrainError::Model(error) => code_of_model(error),
        TrainError::Data(_) | TrainError::Device(_) | TrainError::Gguf(_) => USAGE,
        TrainError::Checkpoint { .. }
        | TrainError::Diverged { .. }
        | TrainError::MicroBatches { .. }
        | TrainError::Uneven { .. }
        | TrainError::Ranks(_)
        | TrainError::Threads(_) => UNEXPECTED,
    }
}

fn code_of_hub(error: &HubError) -> u8 {
    match error {
        HubError::Interrupted => INTERRUPTED,
        HubError::Unreachable { .. }
        | HubError::Answer { .. }
        | HubError::Cut { .. }
        | HubError::Damaged { .. }
        | HubError::Disk { .. } => UNEXPECTED,
        _ => USAGE,
    }
}

fn code_of_model(error: &ModelError) -> u8 {
    match error {
        ModelError::Tensor(_) | ModelError::Gradient { .. } => UNEXPECTED,
        _ => USAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::CardName;
    use crate::units::Bytes;

    fn check(error: impl Into<Error>, code: u8) {
        let error = error.into();
        assert_eq!(number(&error), code, "{error}");
    }

    #[test]
    fn what_the_user_can_correct_has_the_code_of_usage() {
        let missing = || StoreError::Missing { file: "study.db".into() };
        let tokens = || DataError::TokenizerMismatch { what: "a token", id: 9, vocab_size: 5 };
        check(StudyError::Store(missing()), USAGE);
        check(StudyError::Data(tokens()), USAGE);
        check(TrainError::Data(tokens()), USAGE);
        check(DeviceError::NotBuiltForCuda { card: CardName::Index(0) }, USAGE);
        check(ParseGgufTypeError { found: "q9".to_owned() }, USAGE);
    }

    #[test]
    fn what_a_script_must_tell_apart_has_a_code_of_its_own() {
        check(
            StudyError::NothingFits { reason: String::new(), cap: None, margin: Bytes(0), too_large: None },
            NOTHING_FITS,
        );
        check(StudyError::NoBest, STOPPED_EARLY);
        check(StudyError::AllFail { trials: 3, reason: String::new() }, USAGE);
        check(StudyError::KeepsFailing { runs: 8, reason: String::new() }, STOPPED_EARLY);
        check(StudyError::Executor(ExecutorError::Interrupted), INTERRUPTED);
        check(Interrupted, INTERRUPTED);
        check(std::io::Error::other("the unforeseen"), UNEXPECTED);
    }
}
