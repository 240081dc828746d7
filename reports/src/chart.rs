//! Lines over time, drawn by `charts-rs` as SVG that follows the theme of the page.

use charts_rs::{
    BarChart, Box as Margin, ChartBase, Color, DEFAULT_FONT_FAMILY, LineChart, MarkLine,
    MarkLineCategory, Series, SeriesBand, Symbol, YAxisConfig,
};

use serde::Serialize;

use crate::{
    Error,
    axis::Axis,
    tile::{ChartFormat, Draw},
};

/// A picture at one size. A page holds a chart at several sizes, and its style sheet shows the
/// one that fits: text in a scaled picture would be too small or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// Across the whole page.
    Large,
    /// Half the page, or a tablet.
    Medium,
    /// A phone.
    Small,
}

impl Size {
    /// Width and height in pixels.
    pub(crate) fn pixels(self) -> (u16, u16) {
        match self {
            Self::Large => (1072, 280),
            Self::Medium => (516, 240),
            Self::Small => (330, 210),
        }
    }

    /// The class that the style sheet shows or hides.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Medium => "medium",
            Self::Small => "small",
        }
    }
}

/// What to draw: one value per label, and after them what is expected.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    pub(crate) labels: Vec<String>,
    pub(crate) values: Vec<Option<f64>>,
    /// Expected value, lower and upper bound, one per label after the last value.
    pub(crate) expected: Vec<(f64, f64, f64)>,
    pub(crate) draw: Draw,
    /// The first or the last value is of a part of its bucket: the line to it is dashed.
    pub(crate) partial_first: bool,
    pub(crate) partial_last: bool,
    /// What every value should reach.
    pub(crate) goal: Option<f64>,
    pub(crate) axis: Axis,
}

/// A color as `charts-rs` draws it, and the variable of the page that replaces it.
const PALETTE: [(&str, &str); 11] = [
    ("#1D5FD1", "var(--line)"),
    ("#0E8A7D", "var(--outlook)"),
    ("#E4E7EC", "var(--grid)"),
    ("#667085", "var(--muted)"),
    ("#2A6FDB", "var(--c1)"),
    ("#E07B39", "var(--c2)"),
    ("#2E9E6B", "var(--c3)"),
    ("#8E5BD0", "var(--c4)"),
    ("#D0455C", "var(--c5)"),
    ("#1FA0B5", "var(--c6)"),
    ("#98A2B3", "var(--c7)"),
];

/// The number of the color of all others.
pub(crate) const OTHERS: usize = 6;

/// The colors of groups, the largest first; the last is that of the others.
const GROUPS: [Color; 7] = [
    Color { r: 0x2a, g: 0x6f, b: 0xdb, a: 255 },
    Color { r: 0xe0, g: 0x7b, b: 0x39, a: 255 },
    Color { r: 0x2e, g: 0x9e, b: 0x6b, a: 255 },
    Color { r: 0x8e, g: 0x5b, b: 0xd0, a: 255 },
    Color { r: 0xd0, g: 0x45, b: 0x5c, a: 255 },
    Color { r: 0x1f, g: 0xa0, b: 0xb5, a: 255 },
    Color { r: 0x98, g: 0xa2, b: 0xb3, a: 255 },
];

const LINE: Color = Color { r: 0x1d, g: 0x5f, b: 0xd1, a: 255 };
const OUTLOOK: Color = Color { r: 0x0e, g: 0x8a, b: 0x7d, a: 255 };
const GRID: Color = Color { r: 0xe4, g: 0xe7, b: 0xec, a: 255 };
const MUTED: Color = Color { r: 0x66, g: 0x70, b: 0x85, a: 255 };

const WHITE: Color = Color { r: 255, g: 255, b: 255, a: 255 };
const NO_COLOR: Color = Color { r: 0, g: 0, b: 0, a: 0 };

const FONT_FAMILY: &str = "page";

// A line of fewer points is hard to see, or not there at all.
const FEW_POINTS: usize = 3;

/// The inside of an `<svg>` element.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Drawing {
    pub(crate) svg: String,
    /// Where the first and the last label are, in whole pixels from the left of the picture.
    pub(crate) extent: (f32, f32),
}

/// Draws a picture of the given size.
pub(crate) fn draw(metric: &str, plot: &Plot, size: Size) -> Result<Drawing, Error> {
    let chart = line_chart(plot, size);
    let extent = extent(&chart.base, &chart.y_axis_configs, plot.labels.len());
    let svg = chart.svg().map_err(|source| Error::Chart { metric: metric.to_owned(), source })?;
    Ok(Drawing { svg: plain_zero(&themed(inside(&svg)), &plot.axis), extent })
}

/// Several lines over time: what to draw of each, from the first color on.
#[derive(Debug, Clone)]
pub(crate) struct StackedPlot {
    pub(crate) labels: Vec<String>,
    pub(crate) lines: Vec<Vec<Option<f64>>>,
    /// The color of each, by its number in the palette.
    pub(crate) colors: Vec<usize>,
    pub(crate) draw: Draw,
    /// Whether the lines stand on each other.
    pub(crate) stacked: bool,
    pub(crate) axis: Axis,
}

impl Plot {
    /// The values as bars, without what is expected.
    pub(crate) fn bars(&self) -> StackedPlot {
        StackedPlot {
            labels: self.labels.clone(),
            lines: vec![self.values.clone()],
            colors: vec![0],
            draw: Draw::Bar,
            stacked: false,
            axis: self.axis.clone(),
        }
    }
}

/// Draws several lines.
pub(crate) fn draw_stacked(metric: &str, plot: &StackedPlot, size: Size) -> Result<Drawing, Error> {
    let (svg, extent) = stacked_svg(plot, size, |_| {})
        .map_err(|source| Error::Chart { metric: metric.to_owned(), source })?;
    Ok(Drawing { svg: plain_zero(&themed(inside(&svg)), &plot.axis), extent })
}

/// Draws several lines as a file.
pub(crate) fn draw_stacked_file(
    metric: &str,
    plot: &StackedPlot,
    size: Size,
    format: ChartFormat,
) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Chart { metric: metric.to_owned(), source };
    let (svg, _) = stacked_svg(plot, size, on_white).map_err(failed)?;
    file(plain_zero(&svg, &plot.axis), size, format).map_err(failed)
}

fn stacked_svg(
    plot: &StackedPlot,
    size: Size,
    finish: impl FnOnce(&mut ChartBase),
) -> charts_rs::Result<(String, (f32, f32))> {
    let series = plot.lines.iter().zip(&plot.colors).map(|(values, color)| {
        let values = values.iter().map(|value| value.map(|v| plotted(v, plot.axis.factor)));
        let mut line = Series::new_nullable(String::new(), values.collect());
        line.index = Some(*color);
        // Bars take the color of their place, not of their index.
        line.colors = GROUPS.get(*color).map(|color| vec![Some(*color); plot.labels.len()]);
        line.fill = Some(plot.draw == Draw::Area);
        line.stack = plot.stacked.then(|| "all".to_owned());
        line
    });
    let (series, labels) = (series.collect(), spaced(&plot.labels));
    let dressed = |chart: &mut ChartBase| {
        dress(chart, plot.labels.len(), size);
        chart.series.colors = GROUPS.to_vec();
        // Areas that stand behind each other must not hide each other.
        chart.series.fill_opacity = Some(if plot.stacked { 0.55 } else { 0.1 });
    };
    match plot.draw {
        Draw::Bar => {
            let mut chart = BarChart::new(series, labels);
            dressed(&mut chart.base);
            chart.base.x_axis.boundary_gap = Some(true);
            chart.radius = None;
            scale(&mut chart.y_axis_configs, &plot.axis);
            finish(&mut chart.base);
            let extent = extent(&chart.base, &chart.y_axis_configs, plot.labels.len());
            Ok((chart.svg()?, extent))
        }
        Draw::Line | Draw::Area => {
            let mut chart = LineChart::new(series, labels);
            dressed(&mut chart.base);
            scale(&mut chart.y_axis_configs, &plot.axis);
            finish(&mut chart.base);
            let extent = extent(&chart.base, &chart.y_axis_configs, plot.labels.len());
            Ok((chart.svg()?, extent))
        }
    }
}

/// How many pixels of a PNG are one of the drawing: for screens with fine pixels.
const PNG_SCALE: u32 = 2;

/// Draws a file: on white, since it has no theme.
pub(crate) fn draw_file(
    metric: &str,
    plot: &Plot,
    size: Size,
    format: ChartFormat,
) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Chart { metric: metric.to_owned(), source };
    let mut chart = line_chart(plot, size);
    on_white(&mut chart.base);
    let svg = chart.svg().map_err(failed)?;
    file(plain_zero(&svg, &plot.axis), size, format).map_err(failed)
}

fn on_white(chart: &mut ChartBase) {
    chart.background_color = WHITE;
    chart.font_family = DEFAULT_FONT_FAMILY.to_owned();
}

fn file(svg: String, size: Size, format: ChartFormat) -> charts_rs::Result<Vec<u8>> {
    match format {
        ChartFormat::Svg => Ok(svg.into_bytes()),
        ChartFormat::Png => {
            let width = u32::from(size.pixels().0) * PNG_SCALE;
            charts_rs::svg_to_png_with_size(&svg, Some(width), None)
        }
    }
}

/// `0` instead of `$0K`, and `−$5K` instead of `$-5K`.
fn plain_zero(svg: &str, axis: &Axis) -> String {
    let prefix = axis.label.split('{').next().unwrap_or_default();
    svg.replace(&format!(">{}<", axis.zero()), ">0<")
        .replace(&format!(">{prefix}-"), &format!(">−{prefix}"))
}

fn line_chart(plot: &Plot, size: Size) -> LineChart {
    let mut chart = LineChart::new(series(plot), spaced(&plot.labels));
    dress(&mut chart.base, plot.labels.len(), size);
    chart.series.colors = vec![LINE, OUTLOOK];
    chart.series.fill_opacity = Some(0.1);
    scale(&mut chart.y_axis_configs, &plot.axis);
    chart
}

/// What all charts over time have in common.
fn dress(chart: &mut ChartBase, labels: usize, size: Size) {
    let (width, height) = size.pixels();
    chart.width = f32::from(width);
    chart.height = f32::from(height);
    // The last label of the axis is centered on the end of the plot: it needs room at the right.
    chart.margin = Margin { left: 2.0, top: 10.0, right: 20.0, bottom: 2.0 };
    chart.compact = true;
    chart.font_family = FONT_FAMILY.to_owned();
    chart.background_color = NO_COLOR;
    chart.legend.show = Some(false);
    chart.series.stroke_width = 2.0;
    chart.series.symbol = Some(Symbol::None);
    chart.grid.stroke_color = GRID;
    chart.x_axis.boundary_gap = Some(labels < 2);
    chart.x_axis.stroke_color = GRID;
    chart.x_axis.font.color = MUTED;
    chart.x_axis.font.size = 12.0;
}

fn scale(y_axes: &mut [YAxisConfig], axis: &Axis) {
    for y_axis in y_axes {
        y_axis.font.color = MUTED;
        y_axis.font.size = 12.0;
        y_axis.formatter = Some(axis.label.clone());
        y_axis.min = Some(plotted(axis.min, 1.0));
        y_axis.max = Some(plotted(axis.max, 1.0));
        y_axis.split_number = axis.splits;
        // What `charts-rs` takes for a narrow letter is a wide one, and would touch the axis.
        if axis.label.contains(|letter| letter > '\u{2e7f}') {
            y_axis.name_gap += 6.0;
        }
        y_axis.width = Some(axis.width + y_axis.name_gap);
    }
}

/// Where the first and the last label are.
fn extent(chart: &ChartBase, y_axes: &[YAxisConfig], labels: usize) -> (f32, f32) {
    let axis = y_axes.first().and_then(|axis| axis.width).unwrap_or_default();
    let (mut from, mut to) = (chart.margin.left + axis, chart.width - chart.margin.right);
    // Bars stand in the middle of their room.
    if chart.x_axis.boundary_gap != Some(false) {
        #[expect(clippy::cast_precision_loss, reason = "a chart has few labels")]
        let half = (to - from) / (2.0 * labels.max(1) as f32);
        (from, to) = (from + half, to - half);
    }
    (from.round(), to.round())
}

/// Labels with room on both sides: `charts-rs` leaves out those that do not fit side by side, and
/// without the room it sets them too close.
fn spaced(labels: &[String]) -> Vec<String> {
    labels.iter().map(|label| format!("\u{a0}\u{a0}{label}\u{a0}\u{a0}")).collect()
}

/// The line of what was, and the dashed line and band of what is expected.
fn series(plot: &Plot) -> Vec<Series> {
    let factor = plot.axis.factor;
    let values: Vec<Option<f32>> =
        plot.values.iter().map(|value| value.map(|value| plotted(value, factor))).collect();
    let last = values.last().copied().flatten();
    let mut partial = Vec::new();
    let mut values = values;
    let count = values.len();
    if count > 2 {
        if plot.partial_first {
            partial.push(dashed(vec![values[0], values[1]], 0));
            values[0] = None;
        }
        if plot.partial_last {
            partial.push(dashed(vec![values[count - 2], values[count - 1]], count - 2));
            values[count - 1] = None;
        }
    }
    let mut was = Series::new_nullable(String::new(), values);
    was.index = Some(0);
    was.fill = Some(plot.draw == Draw::Area);
    was.mark_lines = plot.goal.map(|goal| goal_line(goal, factor)).into_iter().collect();
    if was.data.iter().flatten().count() <= FEW_POINTS {
        was.symbol = Some(Symbol::Circle(3.5, Some(LINE)));
    }
    let mut all = vec![was];
    all.append(&mut partial);
    if plot.expected.is_empty() {
        return all;
    }

    // The outlook begins where the line ends, else there is a hole between the two.
    let (mut value, mut lower, mut upper) = (vec![], vec![], vec![]);
    for point in plot
        .expected
        .iter()
        .map(|(value, lower, upper)| [*value, *lower, *upper].map(|part| plotted(part, factor)))
    {
        value.push(Some(point[0]));
        lower.push(Some(point[1]));
        upper.push(Some(point[2]));
    }
    let mut start = plot.values.len();
    if let Some(last) = last {
        for part in [&mut value, &mut lower, &mut upper] {
            part.insert(0, Some(last));
        }
        start -= 1;
    }
    let mut outlook = Series::new_nullable(String::new(), value);
    outlook.start_index = start;
    outlook.index = Some(1);
    outlook.fill = Some(false);
    outlook.stroke_dash_array = Some("5 4".to_owned());
    outlook.band = Some(SeriesBand { lower, upper, stroke_width: None });
    all.push(outlook);
    all
}

fn goal_line(goal: f64, factor: f64) -> MarkLine {
    MarkLine {
        category: MarkLineCategory::Value(plotted(goal, factor)),
        color: Some(MUTED),
        ..MarkLine::default()
    }
}

/// The line from or to a value that is not complete.
fn dashed(values: Vec<Option<f32>>, start: usize) -> Series {
    let mut line = Series::new_nullable(String::new(), values);
    line.start_index = start;
    line.index = Some(0);
    line.fill = Some(false);
    line.stroke_dash_array = Some("2 4".to_owned());
    line
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a picture has fewer pixels than an f32 has digits"
)]
fn plotted(value: f64, factor: f64) -> f32 {
    (value * factor) as f32
}

/// Without the `<svg>` element: the template writes its own, with a title and a label.
fn inside(svg: &str) -> &str {
    let body = svg.split_once('>').map_or(svg, |(_, body)| body);
    body.trim_end().strip_suffix("</svg>").unwrap_or(body)
}

/// Colors become variables, and the font is the page's.
fn themed(svg: &str) -> String {
    let mut svg = svg.replace(&format!(" font-family=\"{FONT_FAMILY}\""), "");
    for (color, variable) in PALETTE {
        svg = svg.replace(color, variable);
        svg = svg.replace(&color.to_ascii_lowercase(), variable);
    }
    svg
}

#[cfg(test)]
mod tests {
    use query::metric::Unit;

    use super::*;
    use crate::Language;

    fn plot(values: &[Option<f64>], expected: &[(f64, f64, f64)]) -> Plot {
        Plot {
            labels: (0..values.len() + expected.len()).map(|day| format!("Nov {day}")).collect(),
            values: values.to_vec(),
            expected: expected.to_vec(),
            draw: Draw::Area,
            partial_first: false,
            partial_last: false,
            goal: None,
            axis: Axis::around(values.iter().copied().flatten(), Unit::Count, None, Language::En),
        }
    }

    #[test]
    fn every_color_is_a_variable_of_the_page() {
        let plot =
            plot(&[Some(3.0), Some(4.0), None, Some(5.0)], &[(5.0, 4.0, 6.0), (6.0, 4.0, 8.0)]);
        for size in [Size::Large, Size::Medium, Size::Small] {
            let svg = draw("requests", &plot, size).unwrap().svg;
            assert!(svg.contains("var(--line)") && svg.contains("var(--outlook)"));
            assert!(svg.contains("var(--grid)") && svg.contains("var(--muted)"));
            assert!(!svg.contains("=\"#"), "{svg}");
            assert!(!svg.contains("rgb"), "{svg}");
        }
    }

    #[test]
    fn amounts_below_zero_are_signed_before_the_currency() {
        let mut plot = plot(&[Some(-900.0), Some(900.0)], &[]);
        plot.axis =
            Axis::around([-900.0, 900.0].into_iter(), Unit::Money, Some("USD"), Language::En);
        let svg = draw("mrr", &plot, Size::Small).unwrap().svg;
        assert!(svg.contains(">−$1K<") && svg.contains(">0<"), "{svg}");
    }

    #[test]
    fn the_smallest_plots_draw() {
        for values in [vec![], vec![None], vec![Some(0.0)], vec![Some(1.0), None]] {
            let svg = draw("requests", &plot(&values, &[]), Size::Small).unwrap().svg;
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        let only_expected = plot(&[None], &[(5.0, 4.0, 6.0), (6.0, 4.0, 8.0)]);
        assert!(draw("requests", &only_expected, Size::Small).is_ok());
    }
}
