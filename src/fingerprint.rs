//! SHA-256 fingerprints in hexadecimal: what a study was made from.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// A fingerprint being taken.
#[derive(Clone, Debug, Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Adds one part; its length counts, so two parts do not hash like one that holds both.
    pub fn part(&mut self, bytes: &[u8]) {
        self.length(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// Adds a file as one part, a block at a time.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn file(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        self.length(file.metadata()?.len());
        io::copy(&mut file, self).map(drop)
    }

    /// The fingerprint so far, 64 hexadecimal digits.
    #[must_use]
    pub fn hex(self) -> String {
        self.0.finalize().iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn length(&mut self, bytes: u64) {
        self.0.update(bytes.to_le_bytes());
    }
}

impl io::Write for Fingerprint {
    fn write(&mut self, block: &[u8]) -> io::Result<usize> {
        self.0.update(block);
        Ok(block.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The SHA-256 of a file's bytes alone, as others print it.
///
/// # Errors
/// The file can't be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Fingerprint::default();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hash.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&str]) -> String {
        let mut fingerprint = Fingerprint::default();
        for part in parts {
            fingerprint.part(part.as_bytes());
        }
        fingerprint.hex()
    }

    #[test]
    fn where_parts_end_counts() {
        assert_eq!(of(&["ab", "c"]).len(), 64);
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    }

    #[test]
    fn a_file_counts_as_the_part_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "ab").unwrap();
        let mut fingerprint = Fingerprint::default();
        fingerprint.file(&path).unwrap();
        assert_eq!(fingerprint.hex(), of(&["ab"]));
    }

    #[test]
    fn the_sha_256_of_a_file_is_that_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "abc").unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), right);
    }
}
