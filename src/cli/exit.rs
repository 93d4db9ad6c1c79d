//! Exit codes: what a script can know without reading the message.

use std::process::ExitCode;

use anyhow::Error;

use crate::data::DataError;
use crate::executor::ExecutorError;
use crate::model::ModelError;
use crate::quantize::{ParseGgufTypeError, QuantizeError};
use crate::space::StudyFileError;
use crate::store::StoreError;
use crate::study::StudyError;

const UNEXPECTED: u8 = 1;
const USAGE: u8 = 2;
const NOTHING_FITS: u8 = 3;
const STOPPED_EARLY: u8 = 4;
const INTERRUPTED: u8 = 130;

/// The documented code for an error.
pub(super) fn code_of(error: &Error) -> ExitCode {
    let inputs = error.is::<StudyFileError>()
        || error.is::<DataError>()
        || error.is::<QuantizeError>()
        || error.is::<ParseGgufTypeError>()
        || error.is::<ModelError>();
    let code = match error.downcast_ref::<StudyError>() {
        Some(error) => code_of_study(error),
        None if inputs => USAGE,
        None => UNEXPECTED,
    };
    ExitCode::from(code)
}

fn code_of_study(error: &StudyError) -> u8 {
    match error {
        StudyError::Executor(ExecutorError::Interrupted) => INTERRUPTED,
        StudyError::NothingFits { .. } => NOTHING_FITS,
        StudyError::AllFail { .. } | StudyError::NoBest => STOPPED_EARLY,
        StudyError::Model(ModelError::Tensor(_)) => UNEXPECTED,
        StudyError::Data(_)
        | StudyError::Model(_)
        | StudyError::NewModel(_)
        | StudyError::Device(_)
        | StudyError::Changed { .. }
        | StudyError::Store(StoreError::StudyChanged { .. }) => USAGE,
        _ => UNEXPECTED,
    }
}
