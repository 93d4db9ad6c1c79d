//! A card by its name, however it is written.

use super::row::Row;
use super::{Gpu, GpuError, Kind, consumer, data_center, workstation};
use crate::spelling::nearest;

/// The name that stands for every card.
const ALL: &str = "all";

/// Words of makers and series that tell no two cards apart.
const IGNORED: [&str; 8] = ["nvidia", "geforce", "tesla", "amd", "instinct", "rtx", "graphics", "generation"];

fn rows() -> impl Iterator<Item = (Kind, &'static Row)> {
    let of = |kind, rows: &'static [Row]| rows.iter().map(move |row| (kind, row));
    of(Kind::Consumer, consumer::ROWS)
        .chain(of(Kind::Workstation, workstation::ROWS))
        .chain(of(Kind::DataCenter, data_center::ROWS))
}

/// Every card of the table: for desktops, for workstations, for servers.
#[must_use]
pub fn all() -> Vec<Gpu> {
    rows().map(|(kind, row)| row.card(kind)).collect()
}

/// The card called `name`: `rtx-4090`, `4090`, `A100-SXM4-80GB`, or as the driver names it.
///
/// Where a family comes in several sizes its bare name, such as `a100`, is the smallest: what fits
/// there fits on all.
///
/// # Errors
/// No such card; the nearest name is the hint.
pub fn find(name: &str) -> Result<Gpu, GpuError> {
    find_with(name, &[])
}

/// The same with a study's own cards, which go first.
///
/// # Errors
/// No such card; the nearest name is the hint.
pub fn find_with(name: &str, own: &[Gpu]) -> Result<Gpu, GpuError> {
    let key = key(name);
    if let Some(card) = own.iter().find(|card| self::key(&card.name) == key) {
        return Ok(card.clone());
    }
    let found = rows().find(|(_, row)| keys(row).contains(&key));
    found.map(|(kind, row)| row.card(kind)).ok_or_else(|| unknown(name, own))
}

/// The cards of a list such as `t4,rtx-4090`, or `all` of them with a study's own.
///
/// # Errors
/// A name of which there is no card, or none at all.
pub fn select(list: &str, own: &[Gpu]) -> Result<Vec<Gpu>, GpuError> {
    if list.trim().eq_ignore_ascii_case(ALL) {
        return Ok(own.iter().cloned().chain(all()).collect());
    }
    list.split(',').map(|name| find_with(name.trim(), own)).collect()
}

fn unknown(typed: &str, own: &[Gpu]) -> GpuError {
    let own_names = own.iter().map(|card| card.name.as_str());
    let names = own_names.chain(rows().flat_map(|(_, row)| row.aliases.iter().copied().chain([row.name])));
    // Of an alias the name in the table is shown.
    let meant =
        nearest(typed, names).map(|name| find_with(name, own).map_or(name.to_owned(), |gpu| gpu.name));
    let hint = meant.map_or_else(
        || {
            "`--gpu all` lists every card; a card of your own goes into the study file as `[gpu.NAME]`"
                .to_owned()
        },
        |name| format!("did you mean `{name}`?"),
    );
    GpuError::Unknown { typed: typed.to_owned(), hint }
}

/// What a row answers to; with the GB on the box behind each, as shops write it.
pub(super) fn keys(row: &Row) -> Vec<String> {
    let sticker = row.card(Kind::Own).sticker_gb.to_string();
    let plain: Vec<String> = row.aliases.iter().copied().chain([row.name]).map(key).collect();
    let sized = plain.iter().filter(|key| !key.ends_with(&sticker)).map(|key| format!("{key}{sticker}"));
    sized.chain(plain.iter().cloned()).collect()
}

/// A name without case, punctuation and words that tell nothing apart.
fn key(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !IGNORED.contains(word));
    let joined: String = words.collect();
    // `rtx4090` in one word.
    let bare = joined.strip_prefix("rtx").unwrap_or(&joined);
    bare.strip_suffix("gb").unwrap_or(bare).to_owned()
}
