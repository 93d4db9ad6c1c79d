//! The page: one HTML file that needs nothing else, on screen, phone and paper.

mod account;
mod confirmation;
mod headline;
mod models;
mod tables;
mod trials;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::StudyReport;
use super::plots::{self, Figure};

const STYLE: &str = include_str!("style.css");
/// Forbids the page every request and every script, whatever a name in it may contain.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The whole page.
pub(super) fn render(report: &StudyReport, figures: &[Figure]) -> String {
    let dark = plots::dark_rules();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                link rel="icon" href="data:,";
                title { (report.study) " · diapason" }
                style {
                    (PreEscaped(STYLE))
                    (PreEscaped("@media screen and (prefers-color-scheme:dark){"))
                    (PreEscaped(dark))
                    (PreEscaped("}"))
                }
            }
            body { (body(report, figures)) }
        }
    };
    page.into_string()
}

fn body(report: &StudyReport, figures: &[Figure]) -> Markup {
    html! {
        main {
            (headline::header(report))
            (headline::cards(report))
            (models::section(report))
            (plots(figures))
            (tables::frontier(report))
            (confirmation::section(report))
            (trials::section(report))
            (account::data(report))
            (account::settings(report))
            (account::provenance(report))
        }
    }
}

fn plots(figures: &[Figure]) -> Markup {
    html! {
        section {
            h2 { "Plots" }
            div.plots {
                @for figure in figures { (plot(figure)) }
            }
        }
    }
}

fn plot(figure: &Figure) -> Markup {
    html! {
        @match &figure.svg {
            Some(svg) => figure {
                div.scroll { (PreEscaped(svg)) }
                figcaption { (figure.about.caption) }
            },
            None => figure.absent {
                p { b { (figure.about.name) } }
                p { (figure.about.absent) }
            },
        }
    }
}
