//! Plots as SVG, in colors that are seen on a white and on a black page.

use std::fmt::Write;

use forecast::{Interval, churn::Survival};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const MARGIN: f64 = 40.0;

struct Frame {
    x: (f64, f64),
    y: (f64, f64),
    svg: String,
}

impl Frame {
    fn new(x: (f64, f64), y: (f64, f64)) -> Self {
        let mut svg = String::new();
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#888\">"
        );
        let mut frame = Self { x, y, svg };
        for step in 0..=4 {
            let value = y.0 + (y.1 - y.0) * f64::from(step) / 4.0;
            let at = frame.at(x.0, value).1;
            let _ = write!(
                frame.svg,
                "<path d=\"M{MARGIN} {at:.1}H{WIDTH}\" stroke=\"#8884\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                MARGIN - 4.0,
                at + 4.0,
                short(value)
            );
        }
        for step in 0..=6 {
            let value = x.0 + (x.1 - x.0) * f64::from(step) / 6.0;
            let at = frame.at(value, y.0).0;
            let anchor = if step == 6 { "end" } else { "middle" };
            let _ = write!(
                frame.svg,
                "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                HEIGHT - 6.0,
                short(value)
            );
        }
        frame
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let share = |value: f64, (low, high): (f64, f64)| (value - low) / (high - low);
        let bottom = HEIGHT - 24.0;
        (
            MARGIN + share(x, self.x) * (WIDTH - MARGIN - 8.0),
            bottom - share(y, self.y) * (bottom - 12.0),
        )
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (x, y) in points {
            let (x, y) = self.at(x, y);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { 'M' } else { 'L' });
        }
        path
    }

    fn line(&mut self, points: impl Iterator<Item = (f64, f64)>, color: &str) {
        let path = self.path(points);
        let _ = write!(
            self.svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>"
        );
    }

    fn area(&mut self, points: impl Iterator<Item = (f64, f64)>, color: &str) {
        let path = self.path(points);
        let _ = write!(self.svg, "<path d=\"{path}Z\" fill=\"{color}\"/>");
    }

    fn end(self) -> String {
        self.svg + "</svg>\n"
    }
}

fn short(value: f64) -> String {
    if value.abs() >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn steps(values: &[f64], first: usize) -> impl Iterator<Item = (f64, f64)> + '_ {
    values.iter().enumerate().map(move |(step, value)| ((first + step) as f64, *value))
}

/// What was, what was forecast with its interval, and what came.
pub(crate) fn forecast(past: &[f64], came: &[f64], values: &[f64], bands: &[Interval]) -> String {
    let ends = || bands.iter().flat_map(|band| [band.lower, band.upper]);
    let all = || past.iter().chain(came).chain(values).copied().chain(ends());
    let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(f64::MIN, f64::max));
    let mut frame = Frame::new((0.0, (past.len() + came.len() - 1) as f64), (low, high));
    let uppers: Vec<f64> = bands.iter().map(|band| band.upper).collect();
    let lowers: Vec<f64> = bands.iter().map(|band| band.lower).collect();
    let around = steps(&uppers, past.len())
        .chain(steps(&lowers, past.len()).collect::<Vec<_>>().into_iter().rev());
    frame.area(around, "#3b82f633");
    frame.line(steps(past, 0), "#888");
    frame.line(steps(came, past.len()), "#888");
    frame.line(steps(values, past.len()), "#3b82f6");
    frame.end()
}

/// The share that stays, with two standard errors.
pub(crate) fn survival(steps: &[Survival]) -> String {
    let last = steps.last().map_or(1.0, |step| step.age);
    let mut frame = Frame::new((0.0, last), (0.0, 1.0));
    let ends = |sign: f64| {
        steps
            .iter()
            .map(move |step| (step.age, (step.share + sign * 2.0 * step.error).clamp(0.0, 1.0)))
    };
    let around: Vec<(f64, f64)> = ends(1.0).chain(ends(-1.0).rev()).collect();
    frame.area(around.into_iter(), "#3b82f633");
    let corners = steps.iter().scan(1.0, |before, step| {
        let corner = [(step.age, *before), (step.age, step.share)];
        *before = step.share;
        Some(corner)
    });
    frame.line(std::iter::once((0.0, 1.0)).chain(corners.flatten()), "#3b82f6");
    frame.end()
}
