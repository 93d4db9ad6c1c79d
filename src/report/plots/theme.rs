//! Colours, sizes and fonts that all plots share.

use plotters::prelude::{Color, FontFamily, FontStyle, RGBColor, ShapeStyle, TextStyle};
use plotters::style::FontDesc;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
/// Axis titles and tick labels.
pub(super) const MUTED: RGBColor = RGBColor(0x59, 0x63, 0x6E);
/// Grid lines.
pub(super) const GRID: RGBColor = RGBColor(0xE1, 0xE5, 0xEA);
/// Curves that are context for another one.
pub(super) const CONTEXT: RGBColor = RGBColor(0x9A, 0xA4, 0xAF);
/// Background.
pub(super) const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);

// Okabe and Ito's colours for all kinds of colour vision, without the yellow, which fades on white.
// Source: Okabe and Ito, "Color Universal Design", 2008.
/// Okabe–Ito blue.
pub(super) const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
/// Okabe–Ito vermillion.
pub(super) const VERMILLION: RGBColor = RGBColor(0xD5, 0x5E, 0x00);
/// Okabe–Ito bluish green.
pub(super) const GREEN: RGBColor = RGBColor(0x00, 0x9E, 0x73);
/// Okabe–Ito reddish purple.
pub(super) const PURPLE: RGBColor = RGBColor(0xCC, 0x79, 0xA7);
/// Okabe–Ito sky blue.
pub(super) const SKY: RGBColor = RGBColor(0x56, 0xB4, 0xE9);
/// Okabe–Ito orange.
pub(super) const ORANGE: RGBColor = RGBColor(0xE6, 0x9F, 0x00);

const CATEGORIES: [RGBColor; 6] = [BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE];

// Plotters' SVG has whole coordinates only; twice the size gives half pixels at the size shown.
/// Width of the drawing.
pub(super) const WIDTH: u32 = 1440;
/// Drawing units of a pixel at the size shown.
pub(super) const UNITS_PER_PIXEL: u32 = 2;
/// Height of the axes' frame.
pub(super) const FRAME_HEIGHT: i32 = 560;
/// Body of all text but the title.
pub(super) const TEXT: i32 = 30;
/// Body of the title.
pub(super) const TITLE: i32 = 36;

/// Colours that mean the same in each plot and that a dark page replaces.
pub(in crate::report) const THEMED: [(&str, RGBColor); 5] =
    [("ink", INK), ("muted", MUTED), ("grid", GRID), ("context", CONTEXT), ("paper", PAPER)];

/// The colour of entry `index` of `count` ordered ones.
///
/// Up to six are Okabe–Ito colours; more are steps of viridis between its dark and its light end.
pub(super) fn ordered(index: usize, count: usize) -> RGBColor {
    if count <= CATEGORIES.len() { CATEGORIES[index % CATEGORIES.len()] } else { viridis(index, count) }
}

/// Anchors of viridis from 0.2 to 0.85 of its length. Source: matplotlib's colour map of that name.
const VIRIDIS: [(u8, u8, u8); 5] =
    [(65, 68, 135), (47, 108, 142), (33, 145, 140), (53, 183, 121), (155, 217, 60)];

fn viridis(index: usize, count: usize) -> RGBColor {
    let last = count.saturating_sub(1).max(1);
    let (steps, index) = (VIRIDIS.len() - 1, index.min(last));
    let (segment, rest) = (index * steps / last, index * steps % last);
    let (from, to) = (VIRIDIS[segment], VIRIDIS[(segment + 1).min(steps)]);
    let mix = |a: u8, b: u8| {
        let mixed = (usize::from(a) * (last - rest) + usize::from(b) * rest) / last;
        u8::try_from(mixed).unwrap_or(u8::MAX)
    };
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

/// A line.
pub(super) fn stroke(color: RGBColor, width: u32) -> ShapeStyle {
    ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: width }
}

/// A line others shine through.
pub(super) fn faint(color: RGBColor, width: u32, opacity: f64) -> ShapeStyle {
    ShapeStyle { color: color.mix(opacity), filled: false, stroke_width: width }
}

/// An area.
pub(super) fn fill(color: RGBColor) -> ShapeStyle {
    ShapeStyle { color: color.to_rgba(), filled: true, stroke_width: 0 }
}

/// Text of `size` anchored at its vertical middle.
pub(super) fn text(size: i32, color: RGBColor, anchor: HPos) -> TextStyle<'static> {
    styled(size, color, anchor, FontStyle::Normal)
}

/// Bold text anchored at its vertical middle.
pub(super) fn bold(size: i32, color: RGBColor, anchor: HPos) -> TextStyle<'static> {
    styled(size, color, anchor, FontStyle::Bold)
}

fn styled(size: i32, color: RGBColor, anchor: HPos, style: FontStyle) -> TextStyle<'static> {
    // Plotters writes a font-size of its size divided by 1.24.
    let font = FontDesc::new(FontFamily::SansSerif, f64::from(size) * 1.24, style);
    font.color(&color).pos(Pos::new(anchor, VPos::Center))
}

/// An upper estimate of the width of `text`: the reader's font is not known.
///
/// 0.6 of the body is the mean letter of `DejaVu Sans`, the widest of the usual sans-serifs.
pub(super) fn text_width(text: &str, size: i32) -> i32 {
    let chars = i32::try_from(text.chars().count()).unwrap_or(i32::MAX / 1000);
    chars.saturating_mul(size) * 60 / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_colours_differ_from_each_other() {
        for count in [1, 2, 6, 7, 12, 40] {
            let mut colours: Vec<_> =
                (0..count).map(|index| ordered(index, count)).map(|c| (c.0, c.1, c.2)).collect();
            colours.sort_unstable();
            colours.dedup();
            assert_eq!(colours.len(), count);
        }
    }
}
