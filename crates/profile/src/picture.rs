//! When a run was spent on what, in columns: filled while the run is divided for its summary, which takes
//! too long to be done twice.

use crate::html::{colour, time};
use crate::parts::{Part, Stretch};
use std::fmt::Write;

/// Columns of the picture of a run.
pub(crate) const COLUMNS: usize = 480;
/// Pixels of the picture.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 180.0;

/// How each moment of a run divides.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Of the run, nanoseconds; never 0.
    length: u64,
    /// Nanoseconds of each part, by column.
    columns: Vec<[f64; Part::ALL.len()]>,
}

impl Picture {
    /// Of a run of so many nanoseconds; empty.
    pub(crate) fn new(length: u64) -> Self {
        Self { length: length.max(1), columns: vec![[0.0; Part::ALL.len()]; COLUMNS] }
    }

    /// Takes in a stretch of the run.
    pub(crate) fn take(&mut self, (from, to, parts): Stretch) {
        let length = u128::from(self.length);
        let column = |at: u64| u128::from(at) * COLUMNS as u128 / length;
        let (first, last) = (column(from), column(to.saturating_sub(1)));
        for at in first..=last {
            let place = usize::try_from(at).ok().and_then(|at| self.columns.get_mut(at));
            let Some(place) = place else { return };
            // What of the stretch lies in this column.
            let edge = |at: u128| (at * length).div_ceil(COLUMNS as u128);
            let begin = edge(at).max(u128::from(from));
            let end = edge(at + 1).min(u128::from(to));
            let inside = end.saturating_sub(begin) as f64 / (to - from) as f64;
            for (sum, part) in place.iter_mut().zip(Part::ALL) {
                *sum += parts.get(part) as f64 * inside;
            }
        }
    }

    /// The picture as a section of the page.
    pub(crate) fn draw(&self, out: &mut String) {
        let _ = write!(
            out,
            "<section class=\"card\"><h3>When</h3><svg viewBox=\"0 0 {WIDTH} {}\" \
             shape-rendering=\"crispEdges\" role=\"img\" \
             aria-label=\"what each moment of the run was spent on\">",
            HEIGHT + 22.0
        );
        let wide = WIDTH / COLUMNS as f64;
        for (at, column) in self.columns.iter().enumerate() {
            let sum: f64 = column.iter().sum();
            let mut y = HEIGHT;
            for (part, ns) in Part::ALL.into_iter().zip(column) {
                let high = if sum > 0.0 { ns / sum * HEIGHT } else { 0.0 };
                if high < 0.05 || part == Part::Around {
                    continue;
                }
                y -= high;
                let x = at as f64 * wide;
                let colour = colour(part);
                let _ = write!(
                    out,
                    "<rect class=\"c{colour}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{high:.1}\"/>",
                    wide + 0.1
                );
            }
        }
        for mark in 0..=4_u64 {
            let x = WIDTH * mark as f64 / 4.0;
            let anchor = match mark {
                0 => "start",
                4 => "end",
                _ => "middle",
            };
            let _ = write!(
                out,
                "<text class=\"mark\" x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                HEIGHT + 18.0,
                time(
                    u64::try_from(u128::from(self.length) * u128::from(mark) / 4)
                        .unwrap_or(self.length)
                )
            );
        }
        out.push_str("</svg></section>");
    }
}
