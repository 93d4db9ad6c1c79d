//! The history that decisions rest on: kept up to date, and the examples of those that are compared.

use std::borrow::Cow;
use std::sync::Arc;

use super::StudyError;
use super::driver::Driver;
use crate::space::ConfirmSettings;
use crate::store::Store;
use crate::trial::{History, TrialId};

impl Driver<'_> {
    /// All trials with their ended rungs; only what ended since the last call is read.
    pub(super) fn history(&self) -> Result<Arc<History>, StudyError> {
        let mut chronicle = self.chronicle.borrow_mut();
        self.store.catch_up(&mut chronicle)?;
        Ok(chronicle.history())
    }
}

/// `history` with the losses, example by example, of those trials that `settings` let compare.
pub(super) fn with_examples<'a>(
    store: &Store,
    history: &'a History,
    settings: ConfirmSettings,
) -> Result<Cow<'a, History>, StudyError> {
    let mut told = Cow::Borrowed(history);
    if let Some(top) = history.top_rung().filter(|_| settings.candidates > 1) {
        for trial in
            history.leaders(settings.candidates).iter().map(|trial| trial.id).collect::<Vec<TrialId>>()
        {
            let Some(examples) = store.examples((trial, top))? else { continue };
            let rungs = &mut told.to_mut().trials[trial as usize].rungs;
            for record in rungs.iter_mut().filter(|record| record.rung == top) {
                record.measurement.examples = Some(examples.clone());
            }
        }
    }
    Ok(told)
}
