//! Files that are either whole or not there.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Lets `write` make a file beside `target`, syncs it to disk, then renames it into place.
///
/// A reader, or a restart after a power cut, sees the old file or the new one, never a part. The
/// folder is made if it is missing; nothing is left behind when `write` fails.
///
/// # Errors
/// Whatever `write` returns, or the failure of a file operation.
pub fn write_whole<E: From<io::Error>>(
    target: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?.into_temp_path();
    write(&temporary)?;
    File::open(&temporary)?.sync_all()?;
    readable_by_all(&temporary)?;
    temporary.persist(target).map_err(|error| error.error)?;
    // The rename itself must survive a power cut.
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// Temporary files are private; results are as public as the umask of most users makes files.
fn readable_by_all(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(file, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/target");
        write_whole(&target, |path| fs::write(path, "old")).unwrap();
        let failed = write_whole(&target, |path| {
            fs::write(path, "half")?;
            Err(io::Error::other("stop"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }
}
