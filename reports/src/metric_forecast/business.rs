//! What a business asks of a forecast: the end of the month, the day when an amount is reached, the busiest hour, and where
//! a balance goes at the rates of the past.

use chrono::{DateTime, Duration, Utc};
use query::{
    Zone,
    metric::{Grain, MetricAnswer, Number},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{MetricForecast, forecast_metric, largest_currency};

/// A sum over the current month: what came, and what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct MonthEnd {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// Until the history ends.
    pub so_far: f64,
    pub value: f64,
    /// At the widest level that was asked for.
    pub lower: f64,
    pub upper: f64,
}

/// When a sum since the start of the month, or a balance, reaches an amount.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = ForecastReached)]
pub struct Reached {
    pub amount: f64,
    /// The start of the bucket; absent where it is beyond the forecast.
    pub at: Option<DateTime<Utc>>,
    /// By the upper end of the interval.
    pub earliest: Option<DateTime<Utc>>,
    /// By its lower end.
    pub latest: Option<DateTime<Utc>>,
}

/// The largest hour of the next days.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = ForecastPeak)]
pub struct Peak {
    pub days: usize,
    /// The largest forecast of the busiest hour of a day.
    pub value: f64,
    /// The upper end of its 95 % interval: what to be ready for.
    pub upper: f64,
    /// The day of that upper end.
    pub day: DateTime<Utc>,
    /// The busiest hour so far.
    pub observed: f64,
}

/// Where a balance such as MRR goes at its monthly rates of the last twelve months.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ForecastScenarios)]
pub struct Scenarios {
    /// The rates, as parts of the balance before: the lowest, the median and the highest.
    pub worst_rate: f64,
    pub median_rate: f64,
    pub best_rate: f64,
    /// How many months they are of.
    pub months: usize,
    pub points: Vec<Scenario>,
}

/// The balance at the end of a month.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = ForecastScenario)]
pub struct Scenario {
    /// The start of the month.
    pub at: DateTime<Utc>,
    pub worst: f64,
    pub median: f64,
    pub best: f64,
}

/// Days that a peak is looked for in.
const PEAK_DAYS: usize = 30;
const PEAK_LEVEL: f64 = 0.95;
const SCENARIO_MONTHS: usize = 12;
const RATES_MIN: usize = 3;

/// The value and the interval of a sum of the first buckets, from what such sums were off in the past. Where they are too
/// few, the ends of the buckets' intervals are added up: that is wider.
fn sum_of(forecast: &MetricForecast, count: usize) -> (f64, f64, f64) {
    let points = &forecast.points[..count];
    let value: f64 = points.iter().map(|point| point.value).sum();
    let end = |pick: fn(&super::Interval) -> f64| -> f64 {
        let of = |point: &super::Point| point.intervals.last().map_or(point.value, pick);
        points.iter().map(of).sum()
    };
    let (lower, upper) = (end(|interval| interval.lower), end(|interval| interval.upper));
    let level = points.first().and_then(|point| point.intervals.last()).map(|widest| widest.level);
    let Some(level) = level else { return (value, lower, upper) };
    let off = |origin: &forecast::Origin| {
        let pairs = origin.actual.iter().zip(&origin.predicted).take(count);
        pairs.map(|(actual, predicted)| actual - predicted).sum::<f64>().abs()
    };
    let mut errors: Vec<f64> =
        forecast.past.iter().filter(|origin| origin.actual.len() >= count).map(off).collect();
    errors.sort_by(f64::total_cmp);
    let rank = ((errors.len() + 1) as f64 * level - 1e-9).ceil() as usize;
    match errors.get(rank.wrapping_sub(1)) {
        Some(width) => (value, (value - width).max(lower.min(0.0)), value + width),
        None => (value, lower, upper),
    }
}

/// The sum of the month that the next day is in. `None` where the forecast does not reach its end.
pub fn month_end(answer: &MetricAnswer, forecast: &MetricForecast, zone: Zone) -> Option<MonthEnd> {
    let from = Grain::Month.start(forecast.points.first()?.at, zone);
    let to = Grain::Month.end(from, zone);
    if Grain::Day.end(forecast.points.last()?.at, zone) < to {
        return None;
    }
    let count = forecast.points.iter().take_while(|point| point.at < to).count();
    let so_far = since(answer, forecast, from);
    let (value, lower, upper) = sum_of(forecast, count);
    Some(MonthEnd {
        from,
        to,
        so_far,
        value: so_far + value,
        lower: so_far + lower,
        upper: so_far + upper,
    })
}

fn since(answer: &MetricAnswer, forecast: &MetricForecast, from: DateTime<Utc>) -> f64 {
    let rows = answer.rows.iter().filter(|row| row.currency == forecast.currency);
    let rows = rows.filter(|row| row.at.is_some_and(|at| at >= from));
    rows.filter_map(|row| row.value).map(Number::to_f64).sum()
}

/// When an amount is reached: by the sum since the start of the month where buckets add up, or else by the value itself, from
/// whichever side it comes.
pub fn reached(
    answer: &MetricAnswer,
    forecast: &MetricForecast,
    amount: f64,
    adds_up: bool,
    zone: Zone,
) -> Reached {
    let points = &forecast.points;
    let at = |index: Option<usize>| index.map(|index| points[index].at);
    let ends = |index: usize| {
        let point = &points[index];
        let widest = point.intervals.last();
        (
            point.value,
            widest.map_or(point.value, |i| i.lower),
            widest.map_or(point.value, |i| i.upper),
        )
    };
    if !adds_up {
        let rows = answer.rows.iter().filter(|row| row.currency == forecast.currency);
        let now = rows.rev().find_map(|row| row.value).map(Number::to_f64).unwrap_or_default();
        let is_up = now < amount;
        let crosses = |value: f64| if is_up { value >= amount } else { value <= amount };
        let first = |pick: fn((f64, f64, f64)) -> f64| {
            at((0..points.len()).find(|index| crosses(pick(ends(*index)))))
        };
        let (lower, upper) = (first(|ends| ends.1), first(|ends| ends.2));
        let (earliest, latest) = if is_up { (upper, lower) } else { (lower, upper) };
        return Reached { amount, at: first(|ends| ends.0), earliest, latest };
    }
    let from = points.first().map(|point| Grain::Month.start(point.at, zone));
    let so_far = from.map_or(0.0, |from| since(answer, forecast, from));
    let first = |pick: fn((f64, f64, f64)) -> f64| {
        at((0..points.len()).find(|index| so_far + pick(sum_of(forecast, index + 1)) >= amount))
    };
    Reached {
        amount,
        at: first(|ends| ends.0),
        earliest: first(|ends| ends.2),
        latest: first(|ends| ends.1),
    }
}

/// The busiest hour of the next 30 days, from the busiest hours of the days of a history of hours. `None` where that is too
/// short.
pub fn peak(answer: &MetricAnswer, currency: Option<&str>, zone: Zone) -> Option<Peak> {
    let mut daily = answer.clone();
    daily.rows.clear();
    let hours = answer.rows.iter().filter(|row| row.currency.as_deref() == currency);
    for row in hours {
        let day = Grain::Day.start(row.at?, zone);
        match daily.rows.last_mut() {
            Some(last) if last.at == Some(day) => last.value = last.value.max(row.value),
            _ => {
                let mut first = row.clone();
                first.at = Some(day);
                daily.rows.push(first);
            }
        }
    }
    // A day that has not ended may have its busiest hour before it.
    let last_hour = answer.rows.iter().filter_map(|row| row.at).max()?;
    if Grain::Hour.end(last_hour, zone) < Grain::Day.end(Grain::Day.start(last_hour, zone), zone) {
        daily.rows.pop();
    }
    daily.grain = Some(Grain::Day);
    let mut forecast = forecast_metric(&daily, &[PEAK_LEVEL], zone).ok()?;
    forecast.up_to(PEAK_DAYS).ok()?;
    let value = forecast.points.iter().map(|point| point.value).fold(f64::MIN, f64::max);
    let uppers = forecast.points.iter().map(|point| (point.intervals[0].upper, point.at));
    let (upper, day) = uppers.max_by(|left, right| left.0.total_cmp(&right.0))?;
    let observed = daily.rows.iter().filter_map(|row| row.value).map(Number::to_f64);
    Some(Peak { days: PEAK_DAYS, value, upper, day, observed: observed.fold(f64::MIN, f64::max) })
}

/// A balance over the next twelve months at the lowest, the median and the highest of its monthly rates. The last value of a
/// month is that of its end; a month that is not over has no rate yet. `None` below three months.
pub fn scenarios(answer: &MetricAnswer, zone: Zone) -> Option<Scenarios> {
    let currency = largest_currency(answer);
    let grain = answer.grain?;
    let mut months: Vec<(DateTime<Utc>, f64)> = Vec::new();
    let mut until = None;
    for row in answer.rows.iter().filter(|row| row.currency == currency) {
        let (Some(at), Some(value)) = (row.at, row.value) else { continue };
        let (month, value) = (Grain::Month.start(at, zone), value.to_f64());
        match months.last_mut() {
            Some(last) if last.0 == month => last.1 = value,
            _ => months.push((month, value)),
        }
        until = Some(grain.end(at, zone));
    }
    let &(mut at, balance) = months.last()?;
    if until? < Grain::Month.end(at, zone) {
        months.pop();
        at = months.last()?.0;
    }
    let mut rates: Vec<f64> = months
        .windows(2)
        .filter(|pair| pair[0].1 > 0.0)
        .map(|pair| pair[1].1 / pair[0].1 - 1.0)
        .collect();
    rates.drain(..rates.len().saturating_sub(SCENARIO_MONTHS));
    if rates.len() < RATES_MIN {
        return None;
    }
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    let median_rate = if rates.len() % 2 == 1 {
        rates[middle]
    } else {
        (rates[middle - 1] + rates[middle]) / 2.0
    };
    let (worst_rate, best_rate) = (rates[0], rates[rates.len() - 1]);
    let mut points = Vec::with_capacity(SCENARIO_MONTHS);
    for month in 1..=SCENARIO_MONTHS {
        at = Grain::Month.start(Grain::Month.end(at, zone) + Duration::seconds(1), zone);
        let grown = |rate: f64| balance * (1.0 + rate).powi(month as i32);
        points.push(Scenario {
            at,
            worst: grown(worst_rate),
            median: grown(median_rate),
            best: grown(best_rate),
        });
    }
    Some(Scenarios { worst_rate, median_rate, best_rate, months: rates.len(), points })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric_forecast::{LEVELS, tests::answer};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// 100 a day, from 2026-01-05.
    fn steady(days: i64) -> (MetricAnswer, MetricForecast) {
        let answer = answer((0..days).map(|day| 100 + day % 2));
        let forecast = forecast_metric(&answer, &LEVELS, Zone::UTC).unwrap();
        (answer, forecast)
    }

    #[test]
    fn the_month_is_what_came_and_what_is_expected() {
        // Until 2026-05-10: ten days of May.
        let (answer, forecast) = steady(126);
        let end = month_end(&answer, &forecast, Zone::UTC).unwrap();
        assert_eq!((end.from, end.to), (at("2026-05-01T00:00:00Z"), at("2026-06-01T00:00:00Z")));
        assert_eq!(end.so_far, 1_005.0);
        assert!((end.value - 3_115.0).abs() < 12.0, "{end:?}");
        assert!(end.lower <= end.value && end.value <= end.upper && end.lower > 3_000.0, "{end:?}");
        // 20 days of history are six ahead, and the month has more.
        let (answer, forecast) = steady(20);
        assert_eq!(month_end(&answer, &forecast, Zone::UTC), None);
    }

    #[test]
    fn an_amount_is_reached_on_a_day() {
        let (answer, forecast) = steady(126);
        let found = reached(&answer, &forecast, 2_000.0, true, Zone::UTC);
        assert_eq!(found.at, Some(at("2026-05-20T00:00:00Z")), "ten days so far, and ten more");
        assert!(found.earliest <= found.at && found.at <= found.latest, "{found:?}");
        assert_eq!(reached(&answer, &forecast, 1e9, true, Zone::UTC).at, None);
        let value = reached(&answer, &forecast, 50.0, false, Zone::UTC);
        assert_eq!((value.at, value.latest), (None, None), "it stays above");
        let passed = reached(&answer, &forecast, 500.0, true, Zone::UTC);
        assert_eq!(passed.at, Some(forecast.points[0].at));
    }

    #[test]
    fn a_balance_goes_on_at_the_rates_of_the_past() {
        let mut months = answer([1_000, 1_100, 1_210, 1_089, 1_198]);
        months.grain = Some(Grain::Month);
        for (row, month) in months.rows.iter_mut().zip(1..) {
            row.at = Some(at(&format!("2026-{month:02}-01T00:00:00Z")));
        }
        let found = scenarios(&months, Zone::UTC).unwrap();
        assert_eq!(found.months, 4);
        assert!((found.worst_rate + 0.1).abs() < 1e-9 && (found.best_rate - 0.1001).abs() < 1e-3);
        assert_eq!(found.points[0].at, at("2026-06-01T00:00:00Z"));
        assert_eq!(found.points[11].at, at("2027-05-01T00:00:00Z"));
        assert!((found.points[1].worst - 1_198.0 * 0.81).abs() < 1e-6, "{:?}", found.points[1]);
        months.rows.truncate(3);
        assert_eq!(scenarios(&months, Zone::UTC), None);

        // 2026-01-05 to 2026-05-10, by days: the rates are those of February, March and April.
        let days = answer((0..126).map(|day| 1_000 + day));
        let found = scenarios(&days, Zone::UTC).unwrap();
        assert_eq!((found.months, found.points[0].at), (3, at("2026-05-01T00:00:00Z")));
        assert!((found.best_rate - 31.0 / 1_054.0).abs() < 1e-9, "{found:?}");
        assert!(
            (found.points[0].best / (1.0 + found.best_rate) - 1_125.0).abs() < 1e-9,
            "from the last day"
        );
    }

    #[test]
    fn the_peak_is_above_the_busiest_hours() {
        let mut hours = answer((0..91 * 24).map(|hour| {
            let (day, hour) = (hour / 24, hour % 24);
            if hour == 14 { 900 + day * 17 % 60 } else { 100 + hour }
        }));
        hours.grain = Some(Grain::Hour);
        for (row, hour) in hours.rows.iter_mut().zip(0..) {
            row.at = Some(at("2026-01-05T00:00:00Z") + Duration::hours(hour));
        }
        let found = peak(&hours, None, Zone::UTC).unwrap();
        assert!((850.0..1_000.0).contains(&found.value) && found.upper >= found.value, "{found:?}");
        assert!(found.observed >= 950.0 && found.day > at("2026-04-05T00:00:00Z"), "{found:?}");
        hours.rows.truncate(20 * 24);
        assert_eq!(peak(&hours, None, Zone::UTC), None);
    }
}
