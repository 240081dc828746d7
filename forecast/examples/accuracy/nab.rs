//! Files of the Numenta Anomaly Benchmark, beside its windowed Gaussian.
//!
//! The score is the benchmark's own: its three profiles, a threshold for the whole corpus, the first 15 % of each file (at
//! most 750 rows) without a score. Both detectors have one set of parameters for all files. Only files with a label entry
//! count.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use forecast::anomaly::{Detector, DetectorOptions};
use serde_json::Value;

use crate::{Page, Result};

/// Rows of five minutes, which most files have, in a day.
const SEASON: usize = 288;

struct Series {
    values: Vec<f64>,
    /// The first and the last row of each window.
    windows: Vec<(usize, usize)>,
    /// Rows that are not scored.
    probation: usize,
}

/// What a hit, a false alarm and a miss are worth.
struct Profile {
    hit: f64,
    false_alarm: f64,
    miss: f64,
}

const PROFILES: [Profile; 3] = [
    Profile { hit: 1.0, false_alarm: 0.11, miss: 1.0 },
    Profile { hit: 1.0, false_alarm: 0.22, miss: 1.0 },
    Profile { hit: 1.0, false_alarm: 0.11, miss: 2.0 },
];

pub(crate) fn measure(page: &mut Page, folder: &Path) -> Result<()> {
    let corpus = read(folder)?;
    let rows: usize = corpus.iter().map(|series| series.values.len()).sum();
    let windows: usize = corpus.iter().map(|series| series.windows.len()).sum();
    let files = corpus.len();
    page.line(format!("\n## Anomalies: NAB, {files} files, {rows} rows, {windows} windows\n"));
    page.head(["detector", "standard", "low FP", "low FN", "points a second"]);
    for (name, detect) in [
        ("**ours**", ours as fn(&[f64]) -> Vec<f64>),
        ("windowed Gaussian", gaussian),
        ("random", random),
    ] {
        let begun = Instant::now();
        let scores: Vec<Vec<f64>> = corpus.iter().map(|series| detect(&series.values)).collect();
        let speed = rows as f64 / begun.elapsed().as_secs_f64();
        let [standard, low_fp, low_fn] =
            PROFILES.each_ref().map(|profile| format!("{:.2}", best(&corpus, &scores, profile)));
        page.row([name, &standard, &low_fp, &low_fn, &format!("{speed:.0}")]);
    }
    page.line(
        "\nThese are the files at hand, and not the whole benchmark, so the totals that others publish are not comparable with \
         these.",
    );
    Ok(())
}

fn ours(values: &[f64]) -> Vec<f64> {
    let options = DetectorOptions { season: SEASON, long_season: 0, counts: false };
    let mut detector = Detector::new(options);
    values.iter().map(|value| detector.observe(*value).score).collect()
}

/// The benchmark's own baseline: the tail of a normal distribution of the last 6,400 values, renewed every 100.
fn gaussian(values: &[f64]) -> Vec<f64> {
    const WINDOW: usize = 6_400;
    const STEP: usize = 100;
    let (mut mean, mut deviation) = (0.0, 1.0);
    let mut scores = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        scores.push(if row == 0 { 0.0 } else { 1.0 - tail(*value, mean, deviation) });
        let seen = row + 1;
        if seen < WINDOW || seen.is_multiple_of(STEP) {
            let window = &values[seen.saturating_sub(WINDOW)..seen];
            mean = window.iter().sum::<f64>() / window.len() as f64;
            let variance = window.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            deviation = (variance / window.len() as f64).sqrt();
            if deviation == 0.0 {
                deviation = 0.000_001;
            }
        }
    }
    scores
}

/// The probability of a value that is further from the mean, on one side.
fn tail(value: f64, mean: f64, deviation: f64) -> f64 {
    0.5 * erfc((value - mean).abs() / deviation / std::f64::consts::SQRT_2)
}

/// By Numerical Recipes; the relative error is below 1.2e-7.
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.5 * x);
    let terms = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    t * (-x * x + terms.iter().fold(0.0, |sum, term| sum * t + term)).exp()
}

/// The same numbers in each run.
fn random(values: &[f64]) -> Vec<f64> {
    let mut state = 42_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    values.iter().map(|_| next()).collect()
}

/// The normalized score at the best threshold: 0 says nothing ever, 100 hits every window at its start.
fn best(corpus: &[Series], scores: &[Vec<f64>], profile: &Profile) -> f64 {
    let mut thresholds: Vec<f64> = scores.iter().flatten().copied().collect();
    thresholds.sort_by(f64::total_cmp);
    thresholds.dedup();
    // At most two thousand, denser at the top, where the alarms are.
    let count = thresholds.len();
    let places = (0..2_000).map(|n| {
        let share = 1.0 - (1.0 - f64::from(n) / 2_000.0).powi(3);
        ((count as f64 * share) as usize).min(count - 1)
    });
    let mut tried: Vec<usize> = places.collect();
    tried.dedup();
    let (mut windows, mut highest) = (0.0, f64::NEG_INFINITY);
    for series in corpus {
        windows += series.windows.len() as f64;
    }
    let (none, perfect) = (-windows * profile.miss, windows * profile.hit);
    for place in tried {
        let sum: f64 = corpus
            .iter()
            .zip(scores)
            .map(|(series, scores)| score(series, scores, thresholds[place], profile))
            .sum();
        highest = highest.max(sum);
    }
    // Above all of them, nothing is found.
    100.0 * (highest.max(none) - none) / (perfect - none)
}

fn score(series: &Series, scores: &[f64], threshold: f64, profile: &Profile) -> f64 {
    let mut hits = vec![0.0_f64; series.windows.len()];
    let mut sum = 0.0;
    for (row, score) in scores.iter().enumerate().skip(series.probation) {
        if *score < threshold {
            continue;
        }
        match series.windows.iter().position(|(from, to)| (*from..=*to).contains(&row)) {
            Some(window) => {
                let (from, to) = series.windows[window];
                let width = (to - from + 1) as f64;
                let position = -((to - row + 1) as f64) / width;
                hits[window] = hits[window].max(profile.hit * sigmoid(position) / sigmoid(-1.0));
            }
            None => {
                let before = series.windows.iter().rev().find(|(_, to)| *to < row);
                let weight = before.map_or(-1.0, |(from, to)| {
                    sigmoid((row - to) as f64 / ((to - from) as f64).max(1.0))
                });
                sum += profile.false_alarm * weight;
            }
        }
    }
    sum + hits.iter().map(|hit| if *hit > 0.0 { *hit } else { -profile.miss }).sum::<f64>()
}

/// From 1 at the start of a window over 0 at its end to -1 long after it.
fn sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

fn read(folder: &Path) -> Result<Vec<Series>> {
    let labels = fs::read_to_string(folder.join("labels/combined_windows.json"))?;
    let labels: BTreeMap<String, Value> = serde_json::from_str(&labels)?;
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for group in fs::read_dir(folder.join("data"))? {
        for file in fs::read_dir(group?.path())? {
            let path = file?.path();
            let parts: Vec<_> =
                path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
            files.push((format!("{}/{}", parts[1], parts[0]), path));
        }
    }
    files.sort();
    let mut corpus = Vec::new();
    for (name, path) in files {
        let Some(windows) = labels.get(&name).and_then(Value::as_array) else { continue };
        let text = fs::read_to_string(&path)?;
        let rows: Vec<(&str, &str)> =
            text.lines().skip(1).filter_map(|line| line.split_once(',')).collect();
        let values = rows.iter().map(|(_, value)| value.trim().parse::<f64>());
        let values: Vec<f64> = values.collect::<std::result::Result<_, _>>()?;
        let row_of = |time: &Value| {
            let time = time.as_str().unwrap_or_default().split('.').next().unwrap_or_default();
            rows.iter().position(|(at, _)| *at >= time).unwrap_or(rows.len() - 1)
        };
        let windows = windows.iter().map(|window| (row_of(&window[0]), row_of(&window[1])));
        let probation = (0.15 * values.len().min(5_000) as f64) as usize;
        corpus.push(Series { windows: windows.collect(), probation, values });
    }
    Ok(corpus)
}
