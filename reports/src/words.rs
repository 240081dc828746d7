//! What the tiles say besides titles and numbers, in both languages.

use pages::words::days;
use query::metric::Grain;

use crate::{Language, comparison::ChangeRating};

/// What to think of a value against the one before: `better than 1.1M in the previous 30 days`.
/// `whole_days` is none for a window that is not made of days.
pub(crate) fn against(
    verdict: ChangeRating,
    before: &str,
    whole_days: Option<i64>,
    language: Language,
) -> String {
    match language {
        Language::En => {
            let period = match whole_days {
                Some(1) => "day".to_owned(),
                Some(count) => days(count, language),
                None => "period".to_owned(),
            };
            match verdict {
                ChangeRating::Better => format!("better than {before} in the previous {period}"),
                ChangeRating::Worse => format!("worse than {before} in the previous {period}"),
                ChangeRating::Same => format!("same as in the previous {period}"),
                ChangeRating::Usual => format!("from {before} in the previous {period}"),
            }
        }
        Language::ZhCn => {
            let period = match whole_days {
                Some(count) => format!("前 {count} 天"),
                None => "上一时段".to_owned(),
            };
            match verdict {
                ChangeRating::Better => format!("优于{period}的 {before}"),
                ChangeRating::Worse => format!("差于{period}的 {before}"),
                ChangeRating::Same => format!("与{period}持平"),
                ChangeRating::Usual => format!("{period}为 {before}"),
            }
        }
    }
}

/// A note about values that are not all shown.
pub(crate) fn with_few_persons(note: &str, language: Language) -> String {
    match language {
        Language::En => format!("{note} Values of few persons are not shown."),
        Language::ZhCn => format!("{note}人数过少的数值不予显示。"),
    }
}

/// A note about filters that the rows of a tile are not filtered by.
pub(crate) fn not_filtered(note: &str, dimensions: &[&str], language: Language) -> String {
    match language {
        Language::En => format!("{note} Not filtered by {}.", dimensions.join(", ")),
        Language::ZhCn => format!("{note}未按 {} 筛选。", dimensions.join("、")),
    }
}

/// Of an answer with more rows.
pub(crate) fn first_rows(note: &str, rows: usize, language: Language) -> String {
    match language {
        Language::En => format!("{note} Only the first {rows} rows are shown."),
        Language::ZhCn => format!("{note}仅显示前 {rows} 行。"),
    }
}

/// Until when the numbers of a tile count.
pub(crate) fn fresh(until: &str, is_open: bool, language: Language) -> String {
    match (language, is_open) {
        (Language::En, true) => format!("So far, until {until}"),
        (Language::En, false) => format!("Complete until {until}"),
        (Language::ZhCn, true) => format!("截至 {until}，时段未结束"),
        (Language::ZhCn, false) => format!("完整数据截至 {until}"),
    }
}

/// The clock of the times on the page.
pub(crate) fn times_of(zone: &str, language: Language) -> String {
    match language {
        Language::En => format!("All times are in {zone}."),
        Language::ZhCn => format!("所有时间均为 {zone} 时间。"),
    }
}

/// What became of a key figure: `Requests rose by 12.4 %, from 1.1M to 1.2M.`
pub(crate) fn changed(
    title: &str,
    is_up: bool,
    amount: &str,
    before: &str,
    now: &str,
    language: Language,
) -> String {
    let amount = amount.trim_start_matches(['+', '−']);
    // `×13` is no difference, but a factor.
    let amount = match (amount.strip_prefix('×'), language) {
        (Some(factor), Language::En) => format!("to {factor} times as much"),
        (Some(factor), Language::ZhCn) => format!("到 {factor} 倍"),
        (None, Language::En) => format!("by {amount}"),
        (None, Language::ZhCn) => format!(" {amount}"),
    };
    match (language, is_up) {
        (Language::En, true) => format!("{title} rose {amount}, from {before} to {now}."),
        (Language::En, false) => format!("{title} fell {amount}, from {before} to {now}."),
        (Language::ZhCn, true) => format!("{title}上升{amount}，从 {before} 到 {now}。"),
        (Language::ZhCn, false) => format!("{title}下降{amount}，从 {before} 到 {now}。"),
    }
}

/// The part that explains most of a change.
pub(crate) fn explained(
    name: &str,
    share: &str,
    before: &str,
    now: &str,
    language: Language,
) -> String {
    match language {
        Language::En => format!("{name} explains {share} of it, from {before} to {now}."),
        Language::ZhCn => format!("其中 {name} 占变化的 {share}，从 {before} 到 {now}。"),
    }
}

/// There is no earlier data.
pub(crate) fn nothing_before(language: Language) -> &'static str {
    match language {
        Language::En => "The data does not cover the period before, so nothing is compared.",
        Language::ZhCn => "数据未覆盖上一时段，因此不作对比。",
    }
}

/// A sentence about what a title names.
pub(crate) fn of_title(title: &str, sentence: &str, language: Language) -> String {
    match language {
        Language::En => format!("{title}: {sentence}"),
        Language::ZhCn => format!("{title}：{sentence}"),
    }
}

/// A series in one sentence, for those who do not see its picture.
pub(crate) fn summary(
    title: &str,
    low: (&str, &str),
    high: (&str, &str),
    last: (&str, &str),
    language: Language,
) -> String {
    match language {
        Language::En => format!(
            "{title}: lowest {} on {}, highest {} on {}, last {} on {}.",
            low.0, low.1, high.0, high.1, last.0, last.1
        ),
        Language::ZhCn => format!(
            "{title}：最低 {}（{}），最高 {}（{}），最近 {}（{}）。",
            low.0, low.1, high.0, high.1, last.0, last.1
        ),
    }
}

/// What follows the line: `Forecast for Dec 6: 1.4M, likely 1.2M to 1.6M.`
pub(crate) fn outlook(
    at: &str,
    value: &str,
    lower: &str,
    upper: &str,
    language: Language,
) -> String {
    match language {
        Language::En => format!("Forecast for {at}: {value}, likely {lower} to {upper}."),
        Language::ZhCn => format!("{at} 预测：{value}，可能在 {lower} 到 {upper} 之间。"),
    }
}

/// How to read a chart: what a point is, what the dashed line, and what is not complete.
pub(crate) fn legend(
    grain: Grain,
    forecast_days: usize,
    is_partial: bool,
    language: Language,
) -> String {
    let (english, chinese) = match grain {
        Grain::Minute => ("minute", "每分钟"),
        Grain::Hour => ("hour", "每小时"),
        Grain::Day => ("day", "每日"),
        Grain::Week => ("week", "每周"),
        Grain::Month => ("month", "每月"),
        Grain::Quarter => ("quarter", "每季度"),
        Grain::Year => ("year", "每年"),
    };
    let mut legend = match (language, forecast_days) {
        (Language::En, 0) => format!("One point per {english}."),
        (Language::En, count) => format!(
            "One point per {english}; dashed, the forecast for the next {}.",
            days(i64::try_from(count).unwrap_or_default(), language)
        ),
        (Language::ZhCn, 0) => format!("{chinese}一个点。"),
        (Language::ZhCn, count) => format!("{chinese}一个点；虚线为未来 {count} 天的预测。"),
    };
    if is_partial {
        legend.push_str(match language {
            Language::En => " Points marked * are not complete.",
            Language::ZhCn => "带 * 的点数据不完整。",
        });
    }
    legend
}

/// What the horizontal dashed line of a chart is.
pub(crate) fn goal_line(goal: &str, language: Language) -> String {
    match language {
        Language::En => format!(" The straight dashed line is the goal, {goal}."),
        Language::ZhCn => format!("水平虚线为目标 {goal}。"),
    }
}

/// Whether a goal is met.
pub(crate) fn goal(goal: &str, is_met: bool, language: Language) -> String {
    match (language, is_met) {
        (Language::En, true) => format!("Goal {goal}: met"),
        (Language::En, false) => format!("Goal {goal}: missed"),
        (Language::ZhCn, true) => format!("目标 {goal}：已达成"),
        (Language::ZhCn, false) => format!("目标 {goal}：未达成"),
    }
}

/// A value that misses its goal: `Activation rate (52 %, goal 60 %)`.
pub(crate) fn of_goal(title: &str, value: &str, goal: &str, language: Language) -> String {
    match language {
        Language::En => format!("{title} ({value}, goal {goal})"),
        Language::ZhCn => format!("{title}（{value}，目标 {goal}）"),
    }
}

/// Which goals are met: titles, and of those that are missed the value and the goal.
pub(crate) fn goals(met: &[String], missed: &[String], language: Language) -> Option<String> {
    let separator = if language == Language::En { ", " } else { "、" };
    let (met, missed) = (met.join(separator), missed.join(separator));
    match (language, met.is_empty(), missed.is_empty()) {
        (_, true, true) => None,
        (Language::En, false, true) => Some(format!("Goals met: {met}.")),
        (Language::En, true, false) => Some(format!("Goals missed: {missed}.")),
        (Language::En, false, false) => Some(format!("Goals met: {met}; missed: {missed}.")),
        (Language::ZhCn, false, true) => Some(format!("已达成目标：{met}。")),
        (Language::ZhCn, true, false) => Some(format!("未达成目标：{missed}。")),
        (Language::ZhCn, false, false) => {
            Some(format!("已达成目标：{met}；未达成目标：{missed}。"))
        }
    }
}
