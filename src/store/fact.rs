//! Small results by name, each a JSON value.

use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Store;
use super::error::StoreError;

impl Store {
    /// Writes a fact, over an earlier one of that key.
    ///
    /// # Errors
    /// If the value has no JSON form or the database refuses.
    pub fn set_fact<T: Serialize>(&self, key: &str, value: &T) -> Result<(), StoreError> {
        let json = serde_json::to_string(value).map_err(|source| wrong(key, source))?;
        self.write(|connection| {
            let sql = "INSERT OR REPLACE INTO fact (key, value) VALUES (?1, ?2)";
            connection.prepare_cached(sql)?.execute(params![key, json])?;
            Ok(())
        })
    }

    /// Removes every fact, as where they belong to a study that never began.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn forget_facts(&self) -> Result<(), StoreError> {
        self.write(|connection| Ok(connection.execute("DELETE FROM fact", []).map(drop)?))
    }

    /// Reads a fact, if it was written.
    ///
    /// # Errors
    /// If it does not have the form of `T`.
    pub fn fact<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let json = self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT value FROM fact WHERE key = ?1")?;
            Ok(statement.query_row([key], |row| row.get::<_, String>(0)).optional()?)
        })?;
        json.map(|json| serde_json::from_str(&json)).transpose().map_err(|source| wrong(key, source))
    }
}

fn wrong(key: &str, source: serde_json::Error) -> StoreError {
    StoreError::Fact { key: key.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use crate::store::testing::Folder;

    #[test]
    fn a_fact_is_read_back_and_the_last_writing_counts() {
        let folder = Folder::new();
        let store = folder.open();
        assert_eq!(store.fact::<f64>("test_loss_nats").unwrap(), None);
        store.set_fact("test_loss_nats", &2.5).unwrap();
        store.set_fact("test_loss_nats", &1.25).unwrap();
        store.set_fact("quantized", &vec!["q8_0", "q4_k_m"]).unwrap();
        drop(store);
        let store = folder.open();
        assert_eq!(store.fact("test_loss_nats").unwrap(), Some(1.25));
        assert_eq!(store.fact("quantized").unwrap(), Some(vec!["q8_0".to_owned(), "q4_k_m".to_owned()]));
    }

    #[test]
    fn a_fact_of_another_form_is_an_error_that_names_it() {
        let folder = Folder::new();
        let store = folder.open();
        store.set_fact("wall_seconds", &"long").unwrap();
        let error = store.fact::<f64>("wall_seconds").unwrap_err().to_string();
        assert!(error.contains("`wall_seconds`") && error.contains("hint:"), "{error}");
    }
}
