//! The moment after which a search begins nothing more, as typed: a length of time, or a time of day.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use jiff::civil::Time;
use jiff::{SignedDuration, Zoned};

use super::args::SearchOptions;

/// `8h`, `90m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let right = || "write a time such as `8h`, `90m` or `1h30m`".to_owned();
    let time: SignedDuration = text.parse().map_err(|_| right())?;
    Duration::try_from(time).ok().filter(|time| !time.is_zero()).ok_or_else(right)
}

/// `07:00`.
pub(super) fn time_of_day(text: &str) -> Result<Time, String> {
    Time::strptime("%H:%M", text).map_err(|_| "write a time of day such as `07:00`".to_owned())
}

/// In seconds since 1970; none where nothing was typed.
pub(super) fn of(options: &SearchOptions) -> Result<Option<f64>> {
    let now = Zoned::now();
    let moment = match (options.time, options.until) {
        (Some(time), _) => now.checked_add(time),
        (None, Some(time)) => next(&now, time),
        (None, None) => return Ok(None),
    };
    let moment = moment.map_err(|error| anyhow!("the time can't be reached: {error}"))?;
    let since_1970 = std::time::SystemTime::from(moment.timestamp()).duration_since(UNIX_EPOCH)?;
    Ok(Some(since_1970.as_secs_f64()))
}

/// The next moment at which clocks show `time`.
fn next(now: &Zoned, time: Time) -> Result<Zoned, jiff::Error> {
    let today = now.with().time(time).build()?;
    if today > *now { Ok(today) } else { now.tomorrow()?.with().time(time).build() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    /// As in Paris, where clocks go forward from 02:00 to 03:00 on the last Sunday of March.
    fn paris() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn hours_until(now: (i8, i8, i8), time: &str) -> f64 {
        let (day, hour, minute) = now;
        let now = date(2026, 3, day).at(hour, minute, 0, 0).to_zoned(paris()).unwrap();
        let next = next(&now, time_of_day(time).unwrap()).unwrap();
        next.timestamp().duration_since(now.timestamp()).as_secs_f64() / 3600.0
    }

    #[test]
    fn a_time_of_day_is_the_next_one() {
        for (now, time, hours) in [
            ((10, 6, 30), "07:00", 0.5),
            ((10, 23, 0), "07:00", 8.0),
            ((10, 7, 0), "07:00", 24.0),
            ((28, 23, 0), "07:00", 7.0),
        ] {
            assert!((hours_until(now, time) - hours).abs() < 1e-9, "{now:?} {time}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        assert_eq!(duration("8h").unwrap(), Duration::from_hours(8));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_mins(90));
        for text in ["", "8", "-1h", "0s", "soon"] {
            assert!(duration(text).unwrap_err().contains("8h"), "{text}");
        }
        assert_eq!(time_of_day("23:59").unwrap(), Time::constant(23, 59, 0, 0));
        for text in ["7", "24:00", "07:61", "noon"] {
            assert!(time_of_day(text).unwrap_err().contains("07:00"), "{text}");
        }
    }
}
