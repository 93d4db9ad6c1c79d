//! Files that are either whole or not there, and the room they take.

use std::fs::{self, File, Permissions};
use std::io;
use std::path::Path;

use tempfile::TempPath;

use crate::units::Bytes;

/// How the names of files begin that are being written, or were when their writer was killed.
pub const UNFINISHED: &str = ".writing-";

/// Lets `write` fill a file beside `target`, syncs it to disk, then renames it into place.
///
/// A reader, or a restart after a power cut, sees the old file or the new one, never a part. The
/// folder is made if it is missing; nothing is left behind when `write` fails. `write` may also
/// replace the file it is given the path of.
///
/// # Errors
/// Whatever `write` returns, or what `failed` makes of a file operation that failed.
pub fn write_whole<E>(
    target: &Path,
    failed: impl FnOnce(io::Error) -> E,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let begun = match Begun::beside(target) {
        Ok(begun) => begun,
        Err(error) => return Err(failed(error)),
    };
    write(&begun.path)?;
    begun.finish(target).map_err(failed)
}

/// Replaces the file at `target` by one that holds `bytes`, as [`write_whole`] does.
///
/// # Errors
/// A file operation that failed.
pub fn write_bytes(target: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole(target, |error| error, |path| fs::write(path, bytes))
}

/// Removes a folder: at once for whoever looks by its name, whenever the process may be killed.
///
/// # Errors
/// A file operation that failed.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let aside = folder_of(folder).join(format!("{UNFINISHED}{name}"));
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::rename(folder, &aside)?,
    }
    fs::remove_dir_all(&aside)
}

/// Moves a folder to where another one may be; for a moment neither is there.
///
/// # Errors
/// A file operation that failed.
pub fn replace_folder(from: &Path, to: &Path) -> io::Result<()> {
    match remove_folder(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::rename(from, to),
    }
}

/// Makes a folder the same as another, without a second copy of the bytes where the file system can do so.
///
/// Who later replaces a file of one leaves that of the other as it is.
///
/// # Errors
/// A file operation that failed.
pub fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    let copy = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(folder_of(to))?;
    copy_files(from, copy.path())?;
    fs::set_permissions(copy.path(), fs::metadata(from)?.permissions())?;
    replace_folder(copy.path(), to)
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let (source, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if source.is_dir() {
            fs::create_dir(&target)?;
            copy_files(&source, &target)?;
        } else if fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// Bytes of all files below a path; what can't be read counts as nothing, and links are not followed.
#[must_use]
pub fn size(path: &Path) -> Bytes {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Bytes(0) };
    if !metadata.is_dir() {
        return Bytes(metadata.len() / names(&metadata));
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    Bytes(entries.map(|entry| size(&entry.path()).0).sum())
}

/// Names a file has: each counts for its share.
#[cfg(unix)]
fn names(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata).max(1)
}

/// Names a file has; where that is not told, each counts in full.
#[cfg(not(unix))]
const fn names(_: &fs::Metadata) -> u64 {
    1
}

/// Bytes that a user without privileges can still write to the file system of a path; none where it does not tell.
#[must_use]
#[cfg(unix)]
pub fn free(path: &Path) -> Option<Bytes> {
    let told = rustix::fs::statvfs(path).ok()?;
    Some(Bytes(told.f_bavail.saturating_mul(told.f_frsize)))
}

/// None: such a system is not asked.
#[must_use]
#[cfg(not(unix))]
pub fn free(_: &Path) -> Option<Bytes> {
    None
}

/// A file that is being written; it is removed unless it is finished.
struct Begun {
    path: TempPath,
    permissions: Permissions,
}

impl Begun {
    /// In the folder of `target`, because a rename cannot cross file systems.
    fn beside(target: &Path) -> io::Result<Self> {
        let folder = folder_of(target);
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED);
        // Temporary files are for their owner alone; this one becomes an ordinary file, as public
        // as the user's umask makes it.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder)?;
        let permissions = file.as_file().metadata()?.permissions();
        Ok(Self { path: file.into_temp_path(), permissions })
    }

    fn finish(self, target: &Path) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        // A writer that replaced the file may have made a private one.
        fs::set_permissions(&self.path, self.permissions)?;
        self.path.persist(target).map_err(|error| error.error)?;
        // The new name itself survives a power cut only when the folder is on disk.
        #[cfg(unix)]
        File::open(folder_of(target))?.sync_all()?;
        Ok(())
    }
}

/// The folder of a file; a bare name lies in the working folder.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lies beside a file, itself included.
    fn files_beside(target: &Path) -> usize {
        fs::read_dir(folder_of(target)).unwrap().count()
    }

    #[test]
    fn a_write_makes_its_folder_replaces_the_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/target");
        write_bytes(&target, b"old and longer").unwrap();
        write_bytes(&target, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(files_beside(&target), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        write_bytes(&target, b"old").unwrap();
        let half = |path: &Path| {
            fs::write(path, "half")?;
            Err(io::Error::other("stop"))
        };
        assert_eq!(write_whole(&target, |error| error, half).unwrap_err().to_string(), "stop");
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(files_beside(&target), 1);
    }

    #[test]
    fn a_file_that_cannot_be_put_into_place_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::create_dir(&target).unwrap();
        let failed = write_whole(
            &target,
            |error| format!("told: {error}"),
            |path| fs::write(path, "new").map_err(|error| error.to_string()),
        );
        assert!(failed.unwrap_err().starts_with("told: "));
        assert_eq!(files_beside(&target), 1);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(write_bytes(&file.join("target"), b"new").is_err());
    }

    #[test]
    fn a_file_on_another_file_system_than_the_temporary_folder_is_written() {
        // A rename cannot cross file systems; where there is no second one this shows nothing.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(parent).unwrap();
        write_bytes(&folder.path().join("target"), b"new").unwrap();
    }

    #[test]
    fn a_written_file_is_as_public_as_any_other_even_if_its_writer_replaced_it() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, target) = (folder.path().join("plain"), folder.path().join("target"));
        fs::write(&plain, "").unwrap();
        let replace = |path: &Path| {
            let private = tempfile::NamedTempFile::new_in(folder.path())?;
            private.persist(path).map(drop).map_err(|error| error.error)
        };
        write_whole(&target, |error| error, replace).unwrap();
        let permissions = |file: &Path| fs::metadata(file).unwrap().permissions();
        assert_eq!(permissions(&target), permissions(&plain));
    }

    #[test]
    fn a_removed_folder_leaves_nothing_even_where_a_removal_was_cut_before() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("7");
        for cut in [".writing-7/old", "7/state"] {
            let file = folder.path().join(cut);
            fs::create_dir_all(folder_of(&file)).unwrap();
            fs::write(file, "x").unwrap();
        }
        remove_folder(&target).unwrap();
        assert_eq!(files_beside(&target), 0);
        assert_eq!(remove_folder(&target).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_copied_folder_is_the_same_takes_no_room_and_does_not_change_with_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for (path, text) in [("from/a", "same"), ("from/deep/b", "1234"), ("to/old", "old")] {
            let file = folder.path().join(path);
            fs::create_dir_all(folder_of(&file)).unwrap();
            fs::write(file, text).unwrap();
        }
        copy_folder(&from, &to).unwrap();
        assert!(!to.join("old").exists());
        assert_eq!(size(folder.path()), Bytes(8));
        write_bytes(&from.join("a"), b"newer").unwrap();
        assert_eq!(fs::read(to.join("a")).unwrap(), b"same");
        assert_eq!(fs::read(to.join("deep/b")).unwrap(), b"1234");
        assert_eq!(files_beside(&from), 2);
    }

    #[test]
    fn the_size_of_a_folder_is_that_of_all_files_below_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), [0; 1000]).unwrap();
        fs::write(folder.path().join("file"), [0; 24]).unwrap();
        assert_eq!(size(folder.path()), Bytes(1024));
        assert_eq!(size(&folder.path().join("none")), Bytes(0));
        assert!(free(folder.path()).is_some_and(|free| free > Bytes(0)));
    }

    #[test]
    fn a_bare_name_lies_in_the_working_folder() {
        assert_eq!(folder_of(Path::new("target")), Path::new("."));
    }
}
