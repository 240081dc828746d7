//! The usage of days that are still to come, as people expect it: each is like the same weekdays of the last four weeks.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};

use crate::{DailyUsage, ModelUsage, TokenCounts};

const WEEKS: u64 = 4;

/// The usage with the days after `today` and before `until`. A day is the mean of the same weekday in the last four weeks, as
/// far as there was usage that long ago. Today stays as it is.
pub(super) fn with_remaining_days(
    usage: &DailyUsage,
    today: NaiveDate,
    until: NaiveDate,
) -> DailyUsage {
    let mut expected = usage.clone();
    let Some(first) = usage.keys().next().copied() else { return expected };
    let mut day = today;
    while let Some(next) = day.succ_opt().filter(|next| *next < until) {
        day = next;
        let back = |weeks: u64| day.checked_sub_days(Days::new(7 * weeks));
        // Beyond a week ahead, the weekday before today counts.
        let ahead = u64::try_from((day - today).num_days() - 1).unwrap_or(0) / 7;
        let days: Vec<_> = (1..=WEEKS)
            .filter_map(|week| back(week + ahead))
            .filter(|like| first <= *like && *like < today)
            .collect();
        let count = days.len() as u64;
        let mut sums: BTreeMap<String, ModelUsage> = BTreeMap::new();
        for like in days {
            for (model, used) in usage.get(&like).into_iter().flatten() {
                // What exceeds all counts is no forecast.
                let _ = sums.entry(model.clone()).or_default().add(used);
            }
        }
        let mean = |used: ModelUsage| ModelUsage {
            requests: used.requests / count,
            tokens: TokenCounts {
                input_tokens: used.tokens.input_tokens / count,
                cached_input_tokens: used.tokens.cached_input_tokens / count,
                cache_write_input_tokens: used.tokens.cache_write_input_tokens / count,
                output_tokens: used.tokens.output_tokens / count,
            },
            images: used.images / count,
            list_price: used
                .list_price
                .into_iter()
                .map(|(currency, sum)| {
                    (
                        currency,
                        (sum / rust_decimal::Decimal::from(count))
                            .round_dp_with_strategy(12, rust_decimal::RoundingStrategy::ToZero),
                    )
                })
                .collect(),
            unpriced_requests: 0,
        };
        if count > 0 {
            expected
                .insert(day, sums.into_iter().map(|(model, used)| (model, mean(used))).collect());
        }
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_like_the_same_weekdays_before_it() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let mut usage = DailyUsage::new();
        // Mondays 10, 20 and 30; a Tuesday 7.
        for (on, requests) in
            [("2026-06-01", 10), ("2026-06-08", 20), ("2026-06-15", 30), ("2026-06-16", 7)]
        {
            let used = ModelUsage { requests, ..ModelUsage::default() };
            usage.insert(day(on), [("m".to_owned(), used)].into());
        }
        let expected = with_remaining_days(&usage, day("2026-06-17"), day("2026-07-01"));
        let requests =
            |on: &str| expected.get(&day(on)).and_then(|of| of.get("m")).map(|used| used.requests);
        assert_eq!(requests("2026-06-22"), Some(20));
        // Of three Tuesdays one had usage.
        assert_eq!(requests("2026-06-23"), Some(2));
        assert_eq!(requests("2026-06-29"), Some(20));
        assert_eq!(requests("2026-06-18"), None);
        assert_eq!(requests("2026-07-01"), None);
        assert_eq!(
            with_remaining_days(&DailyUsage::new(), day("2026-06-17"), day("2026-07-01")),
            DailyUsage::new()
        );
    }
}
