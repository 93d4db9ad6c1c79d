//! How a value of the program stands in a column, and back; nothing is rounded or cut.

use std::fmt;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Error, ToSql};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::space::Precision;
use crate::trial::{Outcome, Phase};

/// An unsigned number in an INTEGER column, which ends at 2⁶³ − 1.
#[derive(Clone, Copy)]
pub(super) struct Count<T>(pub(super) T);

impl<T: Copy + fmt::Display + TryInto<i64>> ToSql for Count<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let too_large = |_| Error::ToSqlConversionFailure(format!("{} is above 2^63 - 1", self.0).into());
        self.0.try_into().map(ToSqlOutput::from).map_err(too_large)
    }
}

impl<T: TryFrom<i64>> FromSql for Count<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        T::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// A measured float in a REAL column: exact, but SQLite keeps "not a number" as null and −0.0 as 0.0.
#[derive(Clone, Copy)]
pub(super) struct Real(pub(super) f64);

impl ToSql for Real {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0))
    }
}

impl FromSql for Real {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self(f64::NAN)),
            value => value.as_f64().map(Self),
        }
    }
}

/// A list in a TEXT column.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let json = serde_json::to_string(&self.0);
        json.map(ToSqlOutput::from).map_err(|error| Error::ToSqlConversionFailure(error.into()))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

impl ToSql for Precision {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.name()))
    }
}

impl FromSql for Precision {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(|message: String| FromSqlError::Other(message.into()))
    }
}

impl ToSql for Phase {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.name()))
    }
}

impl FromSql for Phase {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let unknown = || FromSqlError::Other(format!("`{text}` is not a phase of a run").into());
        Self::ALL.into_iter().find(|phase| phase.name() == text).ok_or_else(unknown)
    }
}

/// As JSON: its name is the key `outcome`, which the schema shows as a column of its own.
impl ToSql for Outcome {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let json = serde_json::to_string(self);
        json.map(ToSqlOutput::from).map_err(|error| Error::ToSqlConversionFailure(error.into()))
    }
}

impl FromSql for Outcome {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        // Of many trials nearly all end so, and a parser takes its time.
        if value.as_str()? == r#"{"outcome":"finished"}"# {
            return Ok(Self::Finished);
        }
        Json::column_result(value).map(|json| json.0)
    }
}
