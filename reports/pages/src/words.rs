//! What the pages say besides titles and numbers, in both languages.

use serde::Serialize;

use crate::Language;

/// The fixed words of the templates.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Words {
    /// The name of the product, in the head and in the title of every page.
    pub product: &'static str,
    /// What the links to other periods are called, for screen readers.
    pub period: &'static str,
    /// Says that the period is not over.
    pub unfinished: &'static str,
    /// Stands before the period that the figures are compared with.
    pub compared_with: &'static str,
    /// What the links of the head are called, for screen readers.
    pub language: &'static str,
    /// What the first row of tiles is called, for screen readers.
    pub key_figures: &'static str,
    /// Whose rows are shown, for readers who see all organizations.
    pub all_organizations: &'static str,
    /// The title and the button of the sign-in page.
    pub sign_in: &'static str,
    /// The sentence under the title of the sign-in page.
    pub sign_in_lead: &'static str,
    /// The button that ends the session.
    pub sign_out: &'static str,
    /// The label of the field for the e-mail address.
    pub email: &'static str,
    /// The label of the field for the password.
    pub password: &'static str,
    /// What the links to the other pages are called, for screen readers.
    pub places: &'static str,
    /// The link to usage and quotas.
    pub usage: &'static str,
    /// The link to the subscription and invoices.
    pub billing: &'static str,
    /// The link to what engineers need.
    pub developers: &'static str,
    /// The link to the documentation of the API.
    pub docs: &'static str,
    /// The link to the API keys.
    pub keys: &'static str,
    /// The link to the organization.
    pub own_organization: &'static str,
    /// The link to the form for a new password.
    pub forgot: &'static str,
    /// The link to the form to register.
    pub register: &'static str,
    /// The link to the dashboards.
    pub dashboards: &'static str,
    /// The link to the alerts.
    pub alerts: &'static str,
    /// The link to the anomalies.
    pub anomalies: &'static str,
    /// The link to the forecasts.
    pub forecasts: &'static str,
    /// The link to those who are likely to leave.
    pub churn: &'static str,
    /// The link to the catalog of metrics.
    pub metrics: &'static str,
    /// The link to the dashboard.
    pub dashboard: &'static str,
    /// The link to the list of saved queries.
    pub saved_queries: &'static str,
    /// The link to the list of scheduled reports.
    pub reports: &'static str,
    /// The link that schedules this dashboard as a report.
    pub schedule: &'static str,
    /// Stands where a tile or an answer has nothing to show.
    pub no_data: &'static str,
    /// Stands where a tile has no answer.
    pub not_shown: &'static str,
    /// Says what the reader can do when there is no data.
    pub no_data_hint: &'static str,
    /// Stands where the previous period has no value to compare with.
    pub not_compared: &'static str,
    /// The key of the line of past values in a chart.
    pub actual: &'static str,
    /// The key of the line of expected values in a chart.
    pub forecast: &'static str,
    /// The key of the band around the expected values in a chart.
    pub forecast_range: &'static str,
    /// The button that shows the values of a chart as a table.
    pub data_table: &'static str,
    /// The head of the column of days in the table of a chart.
    pub date: &'static str,
    /// The head of the column of hours in the table of a chart.
    pub time: &'static str,
    /// The head of the column of values in a table.
    pub value: &'static str,
    /// The head of the column with each row's part of the sum.
    pub share: &'static str,
    /// The head of the column with the change since the previous period.
    pub change: &'static str,
    /// The last row of a ranking: the sum of all that are not shown.
    pub others: &'static str,
    /// Stands for the name of a group whose events give none.
    pub none: &'static str,
    /// Stands before the token of the cut: the state of the data.
    pub as_of: &'static str,
    /// Stands before the time at which the page was made.
    pub generated: &'static str,
    /// The button that shows the requests behind the figures.
    pub reproduce: &'static str,
    /// The sentence above the requests behind the figures.
    pub reproduce_lead: &'static str,
    /// Says that every time on the page is in UTC.
    pub all_times_utc: &'static str,
    /// Stands before the id of the request on an error page.
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
    places: "Pages",
    usage: "Usage",
    billing: "Billing",
    developers: "Developers",
    docs: "Docs",
    keys: "API keys",
    own_organization: "Organization",
    forgot: "Forgot your password?",
    register: "Register",
    dashboards: "Dashboards",
    alerts: "Alerts",
    anomalies: "Anomalies",
    forecasts: "Forecasts",
    churn: "Churn",
    metrics: "Metrics",
    dashboard: "Dashboard",
    saved_queries: "Saved queries",
    reports: "Reports",
    schedule: "Schedule",
    no_data: "No data in this period",
    not_shown: "Not shown",
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
    places: "页面",
    usage: "用量",
    billing: "账单",
    developers: "开发者",
    docs: "文档",
    keys: "API 密钥",
    own_organization: "组织",
    forgot: "忘记密码？",
    register: "注册",
    dashboards: "仪表盘",
    alerts: "告警",
    anomalies: "异常",
    forecasts: "预测",
    churn: "流失",
    metrics: "指标",
    dashboard: "仪表板",
    saved_queries: "已保存的查询",
    reports: "报告",
    schedule: "定时发送",
    no_data: "该时段没有数据",
    not_shown: "无法显示",
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
    /// The words in one language.
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
