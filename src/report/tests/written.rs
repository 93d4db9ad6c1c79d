//! Writes a report and checks what must hold for each one.
//!
//! With `DIAPASON_KEEP_REPORTS` set to a folder, every report stays there to be looked at.

use std::fs;
use std::path::{Path, PathBuf};

use crate::report::{StudyReport, write};

/// A report on disk.
pub(super) struct Written {
    pub(super) html: String,
    pub(super) plots: Vec<(String, String)>,
    _folder: Option<tempfile::TempDir>,
}

impl Written {
    pub(super) fn names(&self) -> Vec<&str> {
        self.plots.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub(super) fn plot(&self, name: &str) -> &str {
        &self.plots.iter().find(|(known, _)| known == name).unwrap().1
    }
}

/// Writes `report` and checks what must hold for each.
pub(super) fn written(name: &str, report: &StudyReport) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("DIAPASON_KEEP_REPORTS").map(|kept| PathBuf::from(kept).join(name));
    let path = kept.clone().unwrap_or_else(|| folder.path().to_owned());
    let page = write(report, &path).unwrap();
    assert_eq!(page, path.join("report.html"));
    let written = Written {
        html: fs::read_to_string(page).unwrap(),
        plots: plots(&path.join("plots")),
        _folder: kept.is_none().then_some(folder),
    };
    for (name, svg) in &written.plots {
        check_svg(name, svg);
        assert!(written.html.contains(svg), "{name} is not inlined");
    }
    check_page(&written.html);
    written
}

/// Name and text of every plot; where nothing was drawn there may be no folder.
pub(super) fn plots(folder: &Path) -> Vec<(String, String)> {
    let mut plots: Vec<(String, String)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    plots.sort();
    plots
}

/// Well-formed, and every coordinate is a number within the drawing.
fn check_svg(name: &str, svg: &str) {
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{name}");
    check_tags(name, svg);
    let size: Vec<f64> = attributes(svg, "viewBox").next().unwrap().split(' ').map(number).collect();
    for (key, limit) in [("x", size[2]), ("x1", size[2]), ("x2", size[2]), ("cx", size[2])] {
        assert!(attributes(svg, key).map(number).all(|at| (0.0..=limit).contains(&at)), "{name}: {key}");
    }
    for (key, limit) in [("y", size[3]), ("y1", size[3]), ("y2", size[3]), ("cy", size[3])] {
        assert!(attributes(svg, key).map(number).all(|at| (0.0..=limit).contains(&at)), "{name}: {key}");
    }
    for points in attributes(svg, "points") {
        for point in points.split_whitespace() {
            let (x, y) = point.split_once(',').unwrap();
            assert!(
                (0.0..=size[2]).contains(&number(x)) && (0.0..=size[3]).contains(&number(y)),
                "{name}: {point}"
            );
        }
    }
    check_texts(name, svg, size[2]);
}

fn number(text: &str) -> f64 {
    let number: f64 = text.parse().unwrap_or_else(|_| panic!("`{text}` is not a coordinate"));
    assert!(number.is_finite());
    number
}

fn attributes<'a>(svg: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {key}=\"");
    svg.match_indices(&start)
        .map(|(at, found)| svg[at + found.len()..].split('"').next().unwrap())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Every tag that is opened is closed in order, and no bare `&` or `<` stands in a text.
fn check_tags(name: &str, svg: &str) {
    let mut open = Vec::new();
    for piece in svg.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("{name}: `<{piece}` has no end"));
        let word = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(word), "{name}");
        } else if !tag.ends_with('/') {
            open.push(word);
        }
        for entity in text.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;", "apos;"].iter().any(|known| entity.starts_with(known)));
        }
        assert!(!text.contains("NaN") && !text.contains("inf"), "{name}: {text}");
    }
    assert!(open.is_empty(), "{name}: {open:?} stay open");
}

/// No text reaches over the drawing's edge or into another one, by a narrow estimate of its width.
fn check_texts(name: &str, svg: &str, width: f64) {
    let boxes: Vec<(String, [f64; 4])> = svg.split("<text ").skip(1).map(text_box).collect();
    for (index, (text, [left, top, right, bottom])) in boxes.iter().enumerate() {
        assert!(*left >= 0.0 && *right <= width, "{name}: `{text}` is cut off");
        for (other, [l, t, r, b]) in &boxes[index + 1..] {
            let covers = left < r && l < right && top < b && t < bottom;
            assert!(!covers, "{name}: `{text}` and `{other}` cover each other");
        }
    }
}

fn text_box(element: &str) -> (String, [f64; 4]) {
    let (head, rest) = element.split_once('>').unwrap();
    let head = format!(" {head}");
    let attribute = |key: &str| attributes(&head, key).next().unwrap().to_owned();
    let text = rest.split('<').next().unwrap().trim().to_owned();
    let (x, y, size) = (number(&attribute("x")), number(&attribute("y")), number(&attribute("font-size")));
    let width = 0.6 * size * f64::from(u32::try_from(text.chars().count()).unwrap());
    let left = match attribute("text-anchor").as_str() {
        "start" => x,
        "end" => x - width,
        _ => x - width / 2.0,
    };
    (text, [left, y - size / 2.0, left + width, y + size / 2.0])
}

fn check_page(html: &str) {
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>"));
    assert!(!html.contains("<script"), "the page needs no script");
    let outside = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!outside.contains("http://") && !outside.contains("https://"), "the page loads something");
}
