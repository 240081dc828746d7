//! What the pages say besides titles and numbers, in both languages.

use query::metric::Grain;
use serde::Serialize;

use crate::Language;
use crate::comparison::Verdict;

/// The fixed words of the templates.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Words {
    pub(crate) product: &'static str,
    pub(crate) period: &'static str,
    pub(crate) unfinished: &'static str,
    pub(crate) compared_with: &'static str,
    pub(crate) language: &'static str,
    pub(crate) key_figures: &'static str,
    pub(crate) all_organizations: &'static str,
    pub(crate) sign_in: &'static str,
    pub(crate) sign_in_lead: &'static str,
    pub(crate) sign_out: &'static str,
    pub(crate) email: &'static str,
    pub(crate) password: &'static str,
    pub(crate) saved_queries: &'static str,
    pub(crate) no_data: &'static str,
    pub(crate) no_data_hint: &'static str,
    pub(crate) not_compared: &'static str,
    pub(crate) actual: &'static str,
    pub(crate) forecast: &'static str,
    pub(crate) forecast_range: &'static str,
    pub(crate) data_table: &'static str,
    pub(crate) date: &'static str,
    pub(crate) time: &'static str,
    pub(crate) value: &'static str,
    pub(crate) share: &'static str,
    pub(crate) change: &'static str,
    pub(crate) others: &'static str,
    pub(crate) none: &'static str,
    pub(crate) as_of: &'static str,
    pub(crate) generated: &'static str,
    pub(crate) reproduce: &'static str,
    pub(crate) reproduce_lead: &'static str,
    pub(crate) all_times_utc: &'static str,
    pub(crate) request: &'static str,
}

const ENGLISH: Words = Words {
    product: "AI Hub Analytics",
    period: "Period",
    unfinished: "not over yet: the last values are not complete",
    compared_with: "compared with",
    language: "Language",
    key_figures: "Key figures",
    all_organizations: "All organizations",
    sign_in: "Sign in",
    sign_in_lead: "Sign in to see usage, revenue and reliability.",
    sign_out: "Sign out",
    email: "E-mail",
    password: "Password",
    saved_queries: "Saved queries",
    no_data: "No data in this period",
    no_data_hint: "Nothing was recorded here. Choose a longer period, or check that events arrive.",
    not_compared: "nothing to compare with in the previous period",
    actual: "Actual",
    forecast: "Forecast",
    forecast_range: "Likely range",
    data_table: "Data table",
    date: "Date",
    time: "Time (UTC)",
    value: "Value",
    share: "Share",
    change: "Change",
    others: "All others",
    none: "(not given)",
    as_of: "As of",
    generated: "Generated",
    reproduce: "How to get these numbers again",
    reproduce_lead: "Every number on this page is the answer to one of these requests. Asked again \
                     at the same cut, each gives the same number.",
    all_times_utc: "All times are UTC.",
    request: "Request",
};

const CHINESE: Words = Words {
    product: "AI Hub Analytics",
    period: "时间范围",
    unfinished: "尚未结束：最后的数值不完整",
    compared_with: "对比",
    language: "语言",
    key_figures: "关键指标",
    all_organizations: "全部组织",
    sign_in: "登录",
    sign_in_lead: "登录后查看用量、收入与可靠性。",
    sign_out: "退出登录",
    email: "邮箱",
    password: "密码",
    saved_queries: "已保存的查询",
    no_data: "该时段没有数据",
    no_data_hint: "这段时间没有记录。请选择更长的时间范围，或检查事件是否已送达。",
    not_compared: "上一时段没有可对比的数值",
    actual: "实际",
    forecast: "预测",
    forecast_range: "可能范围",
    data_table: "数据表",
    date: "日期",
    time: "时间（UTC）",
    value: "数值",
    share: "占比",
    change: "变化",
    others: "其他合计",
    none: "（未提供）",
    as_of: "数据截至",
    generated: "生成时间",
    reproduce: "如何重现这些数字",
    reproduce_lead: "本页的每个数字都来自以下某个请求；在同一数据截点再次请求，会得到相同的结果。",
    all_times_utc: "所有时间均为 UTC。",
    request: "请求编号",
};

impl Words {
    pub(crate) fn of(language: Language) -> &'static Self {
        match language {
            Language::En => &ENGLISH,
            Language::ZhCn => &CHINESE,
        }
    }
}

/// `30 days`.
pub(crate) fn days(count: i64, language: Language) -> String {
    match language {
        Language::En if count == 1 => "1 day".to_owned(),
        Language::En => format!("{count} days"),
        Language::ZhCn => format!("{count} 天"),
    }
}

/// What to think of a value against the one before: `better than 1.1M in the previous 30 days`.
/// `whole_days` is none for a window that is not made of days.
pub(crate) fn against(
    verdict: Verdict,
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
                Verdict::Better => format!("better than {before} in the previous {period}"),
                Verdict::Worse => format!("worse than {before} in the previous {period}"),
                Verdict::Same => format!("same as in the previous {period}"),
            }
        }
        Language::ZhCn => {
            let period = match whole_days {
                Some(count) => format!("前 {count} 天"),
                None => "上一时段".to_owned(),
            };
            match verdict {
                Verdict::Better => format!("优于{period}的 {before}"),
                Verdict::Worse => format!("差于{period}的 {before}"),
                Verdict::Same => format!("与{period}持平"),
            }
        }
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

/// How to read a chart: what a point is, and what the dashed line.
pub(crate) fn legend(grain: Grain, forecast_days: usize, language: Language) -> String {
    let (english, chinese) = match grain {
        Grain::Minute => ("minute", "每分钟"),
        Grain::Hour => ("hour", "每小时"),
        Grain::Day => ("day", "每日"),
        Grain::Week => ("week", "每周"),
        Grain::Month => ("month", "每月"),
    };
    match (language, forecast_days) {
        (Language::En, 0) => format!("One point per {english}."),
        (Language::En, count) => format!(
            "One point per {english}; dashed, the forecast for the next {}.",
            days(i64::try_from(count).unwrap_or_default(), language)
        ),
        (Language::ZhCn, 0) => format!("{chinese}一个点。"),
        (Language::ZhCn, count) => format!("{chinese}一个点；虚线为未来 {count} 天的预测。"),
    }
}
