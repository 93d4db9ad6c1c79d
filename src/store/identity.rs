//! Which study the file belongs to.

use rusqlite::{Connection, OptionalExtension, params};

use super::Store;
use super::changes::changes;
use super::error::StoreError;

/// What is studied, as it was when the study began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyIdentity {
    /// Digest of all that the results depend on.
    pub digest: String,
    /// The checked study as JSON.
    pub definition_json: String,
    /// When it began, UTC.
    pub created_at: String,
}

impl Store {
    /// Begins the study, or makes sure that it is the one begun here.
    ///
    /// # Errors
    /// [`StoreError::StudyChanged`] if the file holds results of another digest.
    pub fn begin(&self, study_digest: &str, definition_json: &str) -> Result<(), StoreError> {
        self.write(|connection| match identity(connection)? {
            Some(known) if known.digest == study_digest => Ok(()),
            Some(known) => Err(StoreError::StudyChanged {
                file: self.file().to_owned(),
                changes: changes(&known.definition_json, definition_json),
            }
            .into()),
            None => {
                let sql = "INSERT INTO study (id, digest, definition) VALUES (1, ?1, ?2)";
                connection.execute(sql, params![study_digest, definition_json])?;
                Ok(())
            }
        })
    }

    /// The study that was begun, if one was.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn identity(&self) -> Result<Option<StudyIdentity>, StoreError> {
        self.read(|connection| Ok(identity(connection)?))
    }
}

fn identity(connection: &Connection) -> rusqlite::Result<Option<StudyIdentity>> {
    let mut statement = connection.prepare_cached("SELECT digest, definition, created_at FROM study")?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(StudyIdentity {
            digest: row.get("digest")?,
            definition_json: row.get("definition")?,
            created_at: row.get("created_at")?,
        })
    };
    statement.query_row([], read).optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::Folder;

    #[test]
    fn a_study_begins_once_and_is_recognized_afterwards() {
        let folder = Folder::new();
        let store = folder.open();
        assert_eq!(store.identity().unwrap(), None);
        store.begin("d1", r#"{"name":"poems"}"#).unwrap();
        let begun = store.identity().unwrap().unwrap();
        assert_eq!((&*begun.digest, &*begun.definition_json), ("d1", r#"{"name":"poems"}"#));
        assert!(begun.created_at.ends_with('Z') && begun.created_at.starts_with("20"), "{begun:?}");
        drop(store);
        let store = folder.open();
        store.begin("d1", r#"{"name":"poems"}"#).unwrap();
        assert_eq!(store.identity().unwrap(), Some(begun));
    }

    #[test]
    fn a_changed_study_is_refused_with_the_ways_out() {
        let folder = Folder::new();
        let store = folder.open();
        store.begin("d1", r#"{"seed":1}"#).unwrap();
        let error = store.begin("d2", r#"{"seed":2}"#).unwrap_err();
        assert!(matches!(error, StoreError::StudyChanged { .. }), "{error:?}");
        for words in ["`seed` was 1, is 2", "`[study] name`", "remove the output folder"] {
            assert!(error.to_string().contains(words), "{error}");
        }
        assert_eq!(store.identity().unwrap().unwrap().digest, "d1");
    }
}
