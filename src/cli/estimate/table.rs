//! The answers as a table for a person.

use std::fmt::Write;

use super::Row;
use super::asked::Asked;
use crate::memory::roofline::ASSUMPTIONS;
use crate::units::Bytes;

/// One row a setting and card, and what the numbers rest on.
pub(super) fn text(asked: &Asked, rows: &[Row]) -> String {
    let several = rows.iter().any(|row| row.setting != rows[0].setting);
    let names: Vec<String> = rows.iter().map(|row| name(row, several)).collect();
    let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("card".len());
    let mut text = String::new();
    if let (false, Some(first)) = (several, rows.first()) {
        let _ = writeln!(text, "  {}, {}\n", first.stack, first.setting);
    }
    let _ = write!(
        text,
        "  {:<wide$}  fits  largest  at     tensors      device      of  tokens/s   hours",
        "card"
    );
    for (row, name) in rows.iter().zip(names) {
        let answer = &row.answer;
        let _ = write!(
            text,
            "\n  {name:<wide$}  {:<4}  {:>7}  {:>4}  {:>9}  {:>10}  {:>6}  {:>8.0}  {:>6}",
            if answer.fits { "yes" } else { "no" },
            answer.max_micro_batch,
            answer.micro_batch_size,
            answer.live_peak_bytes.to_string(),
            answer.device_peak_bytes.to_string(),
            short(answer.visible_bytes),
            row.tokens_per_second,
            row.hours.map_or_else(|| "–".to_owned(), |hours| format!("{hours:.2}")),
        );
    }
    notes(&mut text, asked, rows);
    text
}

fn name(row: &Row, several: bool) -> String {
    if several { format!("{}: {}", row.card.title, row.setting) } else { row.card.title.clone() }
}

fn short(bytes: Bytes) -> String {
    format!("{:.1}", bytes.as_mib() / 1024.0)
}

fn notes(text: &mut String, asked: &Asked, rows: &[Row]) {
    let mut told: Vec<&str> = Vec::new();
    for row in rows {
        for warning in &row.warnings {
            if !told.contains(&warning.as_str()) {
                told.push(warning);
            }
        }
    }
    for warning in told {
        let _ = write!(text, "\n  note: {warning}");
    }
    let Some(first) = rows.first() else { return };
    let _ = write!(
        text,
        "\n\n  Tensors: replayed by shapes. Device: with context, workspaces and the allocator's rounding; {} stay free.\
         \n  Speed and hours are estimates of a roofline with {} stated constants (--json has the terms of memory);",
        first.answer.margin_bytes,
        ASSUMPTIONS.len(),
    );
    match (asked.tokens, asked.is_counted) {
        (Some(tokens), true) => {
            let _ = write!(text, "\n  hours are for {tokens} tokens.");
        }
        (Some(tokens), false) => {
            let _ = write!(
                text,
                "\n  hours are for about {tokens} tokens, guessed at four bytes of the data file each."
            );
        }
        (None, _) => {
            let _ = write!(text, "\n  with `--tokens N` there are hours for so many tokens.");
        }
    }
}
