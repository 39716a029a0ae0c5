//! Charts as SVG: lines over time, and how quantities are spread. No layout engine, no script
//! needed to see them; a script adds values under the pointer.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 248.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 30.0;

/// One line of a chart.
pub(super) struct Line {
    pub(super) name: String,
    /// Which colour, from 1.
    pub(super) colour: usize,
    /// Points from left to right.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether what is below it is tinted.
    pub(super) area: bool,
    /// Whether a value holds until the next point, or the way there is straight.
    pub(super) steps: bool,
}

/// How the horizontal axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Across {
    /// Seconds, evenly.
    Time,
    /// Seconds, each step ten times the one before; below one second is one.
    Decades,
}

/// A chart.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) note: String,
    pub(super) across: Across,
    /// What the vertical axis counts.
    pub(super) unit: &'static str,
    pub(super) lines: Vec<Line>,
    /// The largest value shown, where it is known.
    pub(super) top: Option<f64>,
}

/// Text that stands for itself in HTML.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// A length of time in its largest fitting unit.
pub(super) fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 86_400.0 => (s / 86_400.0, "d"),
        s if s >= 3600.0 => (s / 3600.0, "h"),
        s if s >= 60.0 => (s / 60.0, "min"),
        s => (s, "s"),
    };
    format!("{} {unit}", short(value))
}

/// A number with about three digits.
pub(super) fn short(value: f64) -> String {
    let digits = |value: f64, digits: usize| {
        let text = format!("{value:.digits$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    };
    match value.abs() {
        v if v >= 1e9 => format!("{}G", digits(value / 1e9, 1)),
        v if v >= 1e6 => format!("{}M", digits(value / 1e6, 1)),
        v if v >= 1e4 => format!("{}k", digits(value / 1e3, 1)),
        v if v >= 100.0 => digits(value, 0),
        v if v >= 10.0 => digits(value, 1),
        _ => digits(value, 2),
    }
}

/// The step between marks: 1, 2 or 5 times a power of ten, at most six of them.
fn step(span: f64) -> f64 {
    let mut unit = 1e-6;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if span / (unit * factor) <= 6.0 {
                return unit * factor;
            }
        }
        unit *= 10.0;
    }
}

/// The step between marks of time: what clocks and calendars have.
pub(super) fn time_step(span: f64) -> f64 {
    const STEPS: [f64; 14] = [
        1.0,
        5.0,
        15.0,
        60.0,
        300.0,
        900.0,
        3600.0,
        10_800.0,
        21_600.0,
        43_200.0,
        86_400.0,
        172_800.0,
        604_800.0,
        1_209_600.0,
    ];
    let fits = |step: &f64| span / step <= 8.0;
    let days = || 86_400.0 * step(span / 86_400.0).max(1.0);
    if span < 6.0 { step(span) } else { STEPS.into_iter().find(fits).unwrap_or_else(days) }
}

/// From values to places on the page.
struct Scale {
    across: Across,
    x: (f64, f64),
    top: f64,
}

impl Scale {
    fn of(chart: &Chart) -> Self {
        let points = || chart.lines.iter().flat_map(|line| &line.points);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (x, _) in points() {
            (low, high) = (low.min(*x), high.max(*x));
        }
        if !low.is_finite() {
            (low, high) = (0.0, 1.0);
        }
        if chart.across == Across::Decades {
            (low, high) = (1.0, high.max(10.0));
        }
        let top = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let top = chart.top.unwrap_or(if top > 0.0 { top * 1.06 } else { 1.0 });
        Self { across: chart.across, x: (low, high.max(low + 1e-6)), top }
    }

    fn x(&self, x: f64) -> f64 {
        let along = |x: f64| match self.across {
            Across::Time => x,
            Across::Decades => x.max(1.0).ln(),
        };
        let (low, high) = (along(self.x.0), along(self.x.1));
        LEFT + (along(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - (y / self.top).clamp(0.0, 1.0) * (HEIGHT - BOTTOM - TOP)
    }

    fn marks(&self) -> Vec<f64> {
        match self.across {
            Across::Time => {
                let step = time_step(self.x.1 - self.x.0);
                let first = (self.x.0 / step).ceil();
                (0..32u32)
                    .map(|n| (first + f64::from(n)) * step)
                    .take_while(|x| *x <= self.x.1)
                    .collect()
            }
            Across::Decades => [
                1.0,
                10.0,
                60.0,
                600.0,
                3600.0,
                21_600.0,
                86_400.0,
                604_800.0,
                2_592_000.0,
                31_536_000.0,
            ]
            .into_iter()
            .filter(|x| *x <= self.x.1)
            .collect(),
        }
    }
}

impl Chart {
    /// The chart as a figure of the page.
    pub(super) fn html(&self) -> String {
        let scale = Scale::of(self);
        let mut out = String::new();
        let _ = write!(
            out,
            "<figure class=\"card\"><figcaption><h2>{}</h2><p>{}</p></figcaption>\
             <svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" \
             data-across=\"{}\" data-x0=\"{}\" data-x1=\"{}\">",
            escape(&self.title),
            escape(&self.note),
            escape(&format!("{}: {}", self.title, self.note)),
            if self.across == Across::Time { "time" } else { "decades" },
            scale.x.0,
            scale.x.1,
        );
        self.axes(&scale, &mut out);
        for line in &self.lines {
            self.line(line, &scale, &mut out);
        }
        out.push_str("<line class=\"cursor\" y1=\"14\" y2=\"218\"/></svg>");
        self.legend(&mut out);
        self.data(&mut out);
        out.push_str("</figure>");
        out
    }

    fn axes(&self, scale: &Scale, out: &mut String) {
        let high = step(scale.top);
        for mark in (0..8u32).map(|n| f64::from(n) * high).take_while(|y| *y <= scale.top) {
            let y = scale.y(mark);
            let label =
                if self.unit == "%" { format!("{}%", short(mark * 100.0)) } else { short(mark) };
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"mark\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
            );
        }
        for mark in scale.marks() {
            let x = scale.x(mark);
            let _ = write!(
                out,
                "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\"/>\
                 <text class=\"mark\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 4.0,
                HEIGHT - BOTTOM + 18.0,
                time(mark),
            );
        }
    }

    fn line(&self, line: &Line, scale: &Scale, out: &mut String) {
        let mut path = String::new();
        let mut before = None;
        for (x, y) in &line.points {
            let (x, y) = (scale.x(*x), scale.y(*y));
            let _ = match before {
                None => write!(path, "M{x:.1} {y:.1}"),
                Some(_) if line.steps => write!(path, "H{x:.1}V{y:.1}"),
                Some(_) => write!(path, "L{x:.1} {y:.1}"),
            };
            before = Some(x);
        }
        let (Some(last), Some((first, _))) = (before, line.points.first()) else { return };
        if line.area {
            let (base, first) = (HEIGHT - BOTTOM, scale.x(*first));
            let _ = write!(
                out,
                "<path class=\"area c{}\" d=\"{path}L{last:.1} {base}L{first:.1} {base}Z\"/>",
                line.colour
            );
        }
        let _ = write!(out, "<path class=\"line c{}\" d=\"{path}\"/>", line.colour);
    }

    fn legend(&self, out: &mut String) {
        out.push_str("<ul class=\"legend\">");
        for line in &self.lines {
            let (colour, name) = (line.colour, escape(&line.name));
            let _ = write!(out, "<li><i class=\"c{colour}\"></i>{name}</li>");
        }
        out.push_str("</ul>");
    }

    /// The values, for the script that shows them under the pointer.
    fn data(&self, out: &mut String) {
        let lines: Vec<serde_json::Value> = self
            .lines
            .iter()
            .map(|line| {
                let points: Vec<[f64; 2]> =
                    line.points.iter().map(|(x, y)| [rounded(*x), rounded(*y)]).collect();
                serde_json::json!({ "name": line.name, "points": points, "unit": self.unit })
            })
            .collect();
        // `<` could end the script early.
        let json = serde_json::Value::from(lines).to_string().replace('<', "\\u003c");
        let _ = write!(out, "<script type=\"application/json\" class=\"data\">{json}</script>");
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A part of a whole as a bar with a mark, in a table.
pub(super) fn bar(part: f64, mark: f64, colour: usize) -> String {
    let at = |part: f64| (part * 100.0).clamp(0.0, 100.0);
    format!(
        "<span class=\"bar\"><b class=\"c{colour}\" style=\"width:{:.1}%\"></b>\
         <u style=\"left:{:.1}%\"></u></span>",
        at(part),
        at(mark)
    )
}

/// How a list of values is spread: what part of them is at most so large, in at most
/// [`SPREAD_POINTS_MAX`] points.
pub(super) fn spread(mut values: Vec<f64>) -> Vec<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let number = values.len();
    let every = number.div_ceil(SPREAD_POINTS_MAX).max(1);
    let point = |(at, value): (usize, &f64)| (value.max(1.0), (at + 1) as f64 / number as f64);
    let points = values.iter().enumerate();
    points.filter(|(at, _)| at % every == 0 || at + 1 == number).map(point).collect()
}

/// Most points of one spread.
const SPREAD_POINTS_MAX: usize = 400;
