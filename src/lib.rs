//! placeholder
pub mod arch;
pub mod space;
pub mod trial;
pub mod units;
