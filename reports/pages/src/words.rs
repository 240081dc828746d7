//! What the pages say besides titles and numbers, in both languages.

use serde::Serialize;

use crate::Language;

/// The fixed words of the templates.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Words {
    pub product: &'static str,
    pub period: &'static str,
    pub unfinished: &'static str,
    pub compared_with: &'static str,
    pub language: &'static str,
    pub key_figures: &'static str,
    pub all_organizations: &'static str,
    pub sign_in: &'static str,
    pub sign_in_lead: &'static str,
    pub sign_out: &'static str,
    pub email: &'static str,
    pub password: &'static str,
    pub saved_queries: &'static str,
    pub no_data: &'static str,
    pub no_data_hint: &'static str,
    pub not_compared: &'static str,
    pub actual: &'static str,
    pub forecast: &'static str,
    pub forecast_range: &'static str,
    pub data_table: &'static str,
    pub date: &'static str,
    pub time: &'static str,
    pub value: &'static str,
    pub share: &'static str,
    pub change: &'static str,
    pub others: &'static str,
    pub none: &'static str,
    pub as_of: &'static str,
    pub generated: &'static str,
    pub reproduce: &'static str,
    pub reproduce_lead: &'static str,
    pub all_times_utc: &'static str,
    pub request: &'static str,
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
    pub fn of(language: Language) -> &'static Self {
        match language {
            Language::En => &ENGLISH,
            Language::ZhCn => &CHINESE,
        }
    }
}

/// `30 days`.
pub fn days(count: i64, language: Language) -> String {
    match language {
        Language::En if count == 1 => "1 day".to_owned(),
        Language::En => format!("{count} days"),
        Language::ZhCn => format!("{count} 天"),
    }
}
