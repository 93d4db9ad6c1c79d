//! One line of the table: what was looked at, what was found, and what to do about it.

use serde::Serialize;
use serde_json::Value;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but worse than it could, or not for everything.
    Warning,
    /// Does not work.
    Problem,
    /// Nobody looked; the line says why.
    NotChecked,
}

impl Verdict {
    /// Every verdict, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Problem, Self::NotChecked];

    /// The word of the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::NotChecked => "not checked",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The name a script knows it by; it stays the same from version to version.
    pub id: String,
    /// What was looked at.
    pub title: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was measured, or why nothing was.
    pub measured: String,
    /// What to do; there is always something where a verdict is a warning or a problem.
    pub fix: Option<String>,
    /// The numbers behind it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub values: Value,
}

/// What is looked at. Whoever judges it can't forget the fix of what is not in order.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    id: String,
    title: String,
    values: Value,
}

impl Subject {
    pub(super) fn new(id: &str, title: &str) -> Self {
        Self { id: id.to_owned(), title: title.to_owned(), values: Value::Null }
    }

    /// Of a device: both begin with its name, whose parts the id separates by dots.
    pub(super) fn of(device: &str, id: &str, title: &str) -> Self {
        Self::new(&format!("{}.{id}", device.replace(':', ".")), &format!("{device}: {title}"))
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    pub(super) fn with_values(self, values: Value) -> Self {
        Self { values, ..self }
    }

    pub(super) fn ok(self, measured: impl Into<String>) -> Check {
        self.judged(Verdict::Ok, measured.into(), None)
    }

    pub(super) fn warning(self, measured: impl Into<String>, fix: impl Into<String>) -> Check {
        self.judged(Verdict::Warning, measured.into(), Some(fix.into()))
    }

    pub(super) fn problem(self, measured: impl Into<String>, fix: impl Into<String>) -> Check {
        self.judged(Verdict::Problem, measured.into(), Some(fix.into()))
    }

    pub(super) fn not_checked(self, why: impl Into<String>) -> Check {
        self.judged(Verdict::NotChecked, why.into(), None)
    }

    fn judged(self, verdict: Verdict, measured: String, fix: Option<String>) -> Check {
        let Self { id, title, values } = self;
        Check { id, title, verdict, measured, fix, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_of_a_device_is_named_after_it_and_leaves_out_numbers_it_has_not() {
        let check = Subject::of("cuda:0", "cap", "the cap is kept").problem("it is not", "do this");
        let json = serde_json::to_value(&check).unwrap();
        let expected = serde_json::json!({"id": "cuda.0.cap", "title": "cuda:0: the cap is kept",
            "verdict": "problem", "measured": "it is not", "fix": "do this"});
        assert_eq!(json, expected);
    }
}
