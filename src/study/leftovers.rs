//! What a killed process left half written or half removed, hidden and as large as a checkpoint: of use to none.

use std::fs;
use std::path::{Path, PathBuf};

use super::Layout;
use crate::files::UNFINISHED;

/// Removes what is half written or half removed; only who holds the study's lock may: the study's own are all dead.
///
/// What can't be read or removed stays: it costs space, and whoever needs the place says so.
pub(super) fn remove(layout: &Layout) {
    for folder in folders(layout) {
        entries(&folder).into_iter().filter(|path| is_unfinished(path)).for_each(|path| {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        });
    }
    let _ = fs::remove_dir_all(layout.scratch());
}

fn folders(layout: &Layout) -> Vec<PathBuf> {
    let trials = entries(&layout.trials()).into_iter().filter(|path| path.is_dir());
    let bases = [layout.new_base(), layout.unpacked_base()];
    let own =
        [layout.root().to_owned(), layout.trials(), layout.model(), layout.gguf_folder(), layout.plots()];
    let below = |trial: PathBuf| entries(&trial).into_iter().filter(|path| path.is_dir()).chain([trial]);
    own.into_iter().chain(bases).chain(trials.flat_map(below)).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_half_written_or_half_removed_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        for name in [
            ".writing-b",
            ".lock",
            "study.db",
            "trials/.writing-1/state.safetensors",
            "trials/0/.writing-x",
            "trials/0/seed-18/.writing-y",
            "trials/0/state.safetensors",
            "plots/.writing-z",
            "plots/loss.svg",
            "scratch/a",
        ] {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        remove(&layout);
        let mut left = entries(folder.path());
        left.extend(entries(&layout.trials()));
        left.extend(entries(&layout.checkpoint(0)));
        left.extend(entries(&layout.plots()));
        left.sort();
        let expected = [
            ".lock",
            "plots",
            "plots/loss.svg",
            "study.db",
            "trials",
            "trials/0",
            "trials/0/seed-18",
            "trials/0/state.safetensors",
        ];
        assert_eq!(left, expected.map(|name| folder.path().join(name)));
    }
}
