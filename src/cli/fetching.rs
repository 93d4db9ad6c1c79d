//! Models that are named on the command line, and how their fetching is shown.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::progress::{LINE_EVERY, Progress};
use crate::hub::{Hub, HubEvent, Source};
use crate::units::Bytes;

/// A model on this machine.
pub(super) struct Located {
    /// Its folder, or its GGUF file.
    pub(super) path: PathBuf,
    /// What files made of it are named after.
    pub(super) name: String,
    /// Whether it lies in the hub's cache, where nothing of ours belongs.
    pub(super) is_cached: bool,
}

/// The model of a path or a hub id; what is missing is fetched and shown on standard error.
pub(super) fn locate(model: &Path) -> Result<Located> {
    match Source::find(&model.to_string_lossy(), model)? {
        Source::Local(path) => {
            let name = path.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy());
            Ok(Located { name: name.into_owned(), path, is_cached: false })
        }
        Source::Hub(spec) => {
            let mut progress = Progress::new(false);
            let mut show = |event: HubEvent<'_>| {
                progress.hub(event);
                ControlFlow::Continue(())
            };
            let fetched = Hub::from_env().fetch(&spec, &mut show);
            progress.finish();
            Ok(Located { path: fetched?.folder, name: spec.name().to_owned(), is_cached: true })
        }
    }
}

impl Progress {
    /// Shows one event of a fetch.
    pub(super) fn hub(&mut self, event: HubEvent<'_>) {
        match event {
            HubEvent::Began { model, files, bytes } => {
                let plural = if files == 1 { "" } else { "s" };
                self.line(&format!("  fetching {model} · {files} file{plural}, {bytes}"));
            }
            HubEvent::Progress { file, file_done, file_bytes, done, bytes } => {
                self.fetched(file, [file_done, file_bytes], [done, bytes]);
            }
            HubEvent::FileReady { file, bytes } => self.line(&format!("    {file} · {bytes}")),
            HubEvent::Waiting { file } => self.spin(&format!("another process fetches {file}")),
            HubEvent::Retrying { reason } => self.line(&format!("  trying again: {reason}")),
            HubEvent::FromCache { model, reason } => {
                self.line(&format!("  warning: {reason}; using {model} from the cache"));
            }
            HubEvent::Ready { .. } => self.finish(),
        }
    }

    /// Each pair is what has arrived, and of how much.
    fn fetched(&mut self, file: &str, [file_done, file_bytes]: [Bytes; 2], [done, bytes]: [Bytes; 2]) {
        if self.terminal {
            if self.bar.length() != Some(bytes.0) || self.bar.is_finished() {
                let style = "    {msg}  {bar:24} {binary_bytes}/{binary_total_bytes} · {binary_bytes_per_sec} · {eta} left";
                self.bar.finish_and_clear();
                self.bar = ProgressBar::new(bytes.0).with_position(done.0).with_message(String::new());
                let style = ProgressStyle::with_template(style);
                self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            }
            self.bar.set_message(format!("{file} {file_done} of {file_bytes}"));
            self.bar.set_position(done.0);
        } else if self.last_line.elapsed() > LINE_EVERY {
            self.line(&format!("    {file} {file_done} of {file_bytes} · in all {done} of {bytes}"));
        }
    }
}
