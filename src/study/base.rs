//! The folder of the base model: a path as it is, a GGUF file unpacked, a hub id through the cache.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::driver::Driver;
use super::origin::{HubOrigin, known_origin, remember_origin};
use super::{StudyError, StudyEvent};
use crate::hub::{Fetched, HubEvent, HubSpec, Source};
use crate::quantize;
use crate::space::{ModelSettings, ModelSource};

impl Driver<'_> {
    /// Finds or fetches the base model; all that computes gets its folder and needs no network.
    pub(super) fn locate_base(&mut self) -> Result<PathBuf, StudyError> {
        let folder = match &self.study.model {
            ModelSettings::New(_) => self.layout.new_base(),
            ModelSettings::Source(source) => match Source::find(&source.typed, &source.path)? {
                Source::Local(file) if quantize::is_gguf(&file) => {
                    let folder = self.layout.unpacked_base();
                    self.unpack_base(&file, &folder)?;
                    folder
                }
                Source::Local(path) => path,
                Source::Hub(spec) => self.fetch_base(source, &spec)?,
            },
        };
        self.base = Some(folder.clone());
        Ok(folder)
    }

    /// At the commit the study began with, if it has begun with this source.
    fn fetch_base(&mut self, source: &ModelSource, spec: &HubSpec) -> Result<PathBuf, StudyError> {
        let known = known_origin(self.study, &self.store)?;
        let wanted = known.as_ref().map_or_else(|| spec.clone(), |origin| spec.at(&origin.commit));
        let Fetched { folder, spec } = self.fetch(&wanted)?;
        if known.is_none() {
            let commit = spec.revision().to_owned();
            remember_origin(&self.store, &HubOrigin { typed: source.typed.clone(), id: spec.id, commit })?;
        }
        Ok(folder)
    }

    fn fetch(&mut self, spec: &HubSpec) -> Result<Fetched, StudyError> {
        let hub = self.hub.clone();
        let mut tell = |event: HubEvent<'_>| {
            self.emit(StudyEvent::Hub(event));
            if self.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        Ok(hub.fetch(spec, &mut tell)?)
    }
}
