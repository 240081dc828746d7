//! The page where an analyst asks in SQL. It is the shell: the script `workbench.js` asks `/v1/query` and its like.

use pages::{
    link::{Link, languages},
    words::Words,
};
use query::schema::TableDescription;
use serde::Serialize;

use crate::{Error, Language};

/// The page's script: our own, loaded from our own address, so that the policy can forbid every other.
pub const WORKBENCH_SCRIPT: &str = include_str!("../templates/workbench.js");

const TEMPLATES: &[pages::Template] = &[
    ("workbench.html", include_str!("../templates/workbench.html")),
    ("workbench.css", include_str!("../templates/workbench.css")),
];

/// What the page shows before anything is asked.
#[derive(Debug, Clone)]
pub struct Workbench {
    pub language: Language,
    pub user: Option<String>,
    /// Whose rows are seen; none for all.
    pub organization: Option<String>,
    pub tables: Vec<TableDescription>,
    /// Roles that a query can be shared with.
    pub roles: Vec<&'static str>,
    /// What stands in the editor.
    pub statement: String,
}

#[derive(Serialize)]
struct Values<'a> {
    lang: &'static str,
    /// Who opens this page asks in SQL.
    asks_sql: bool,
    words: &'static Words,
    sql: &'static Labels,
    messages: &'static [(&'static str, &'static str)],
    languages: Vec<Link>,
    user: Option<&'a str>,
    organization: &'a str,
    tables: &'a [TableDescription],
    roles: &'a [&'static str],
    statement: &'a str,
}

#[derive(Serialize)]
struct Labels {
    needs_script: &'static str,
    tables: &'static str,
    statement: &'static str,
    keys: &'static str,
    completion: &'static str,
    run: &'static str,
    stop: &'static str,
    explain: &'static str,
    download: &'static str,
    save_file: &'static str,
    save_as: &'static str,
    shared_with: &'static str,
    nobody: &'static str,
    save: &'static str,
    answer: &'static str,
    saved: &'static str,
    history: &'static str,
    show_as: &'static str,
    line: &'static str,
    area: &'static str,
    bar: &'static str,
    table: &'static str,
    chart: &'static str,
    dashboard: &'static str,
    new_dashboard: &'static str,
    add: &'static str,
}

const ENGLISH: Labels = Labels {
    needs_script: "This page needs JavaScript. Without it, ask POST /v1/query, or aihub query in a terminal.",
    tables: "Tables",
    statement: "Statement",
    keys: "Ctrl+Enter runs, Esc stops, Ctrl+Space completes",
    completion: "Completion",
    run: "Run",
    stop: "Stop",
    explain: "Explain",
    download: "All rows as",
    save_file: "Download",
    save_as: "Save as",
    shared_with: "shared with",
    nobody: "nobody",
    save: "Save",
    answer: "Answer",
    saved: "Saved queries",
    history: "History",
    show_as: "Show as",
    line: "Lines",
    area: "Areas",
    bar: "Bars",
    table: "Table",
    chart: "Chart",
    dashboard: "Dashboard",
    new_dashboard: "A new one",
    add: "Add to the dashboard",
};

const CHINESE: Labels = Labels {
    needs_script: "本页面需要 JavaScript。没有它时，请使用 POST /v1/query，或在终端中使用 aihub query。",
    tables: "数据表",
    statement: "语句",
    keys: "Ctrl+Enter 运行，Esc 停止，Ctrl+空格 补全",
    completion: "补全",
    run: "运行",
    stop: "停止",
    explain: "执行计划",
    download: "全部行，格式",
    save_file: "下载",
    save_as: "保存为",
    shared_with: "共享给",
    nobody: "不共享",
    save: "保存",
    answer: "结果",
    saved: "已保存的查询",
    history: "历史记录",
    show_as: "展示为",
    line: "折线",
    area: "面积",
    bar: "柱形",
    table: "表格",
    chart: "图表",
    dashboard: "仪表盘",
    new_dashboard: "新建",
    add: "添加到仪表盘",
};

/// What the script says, by name.
const ENGLISH_MESSAGES: &[(&str, &str)] = &[
    ("running", "Running …"),
    ("done", "Rows: {rows} · read: {read} · {seconds} s · as of {as_of}"),
    ("answered", "Rows: {rows} · {seconds} s"),
    (
        "truncated",
        "The first {rows} rows are shown. There are more: download all, or narrow the question.",
    ),
    ("planned", "It would read at most {files} files, {bytes} bytes, {rows} rows."),
    ("plannedin", "Planned in {seconds} s."),
    ("downloaded", "{bytes} bytes in {seconds} s"),
    ("stopped", "Stopped."),
    ("position", "Line {line}, column {column}:"),
    ("kept", "{name} is saved, version {version}."),
    ("nothing", "Nothing yet."),
    (
        "undrawn",
        "There is nothing to draw: a chart needs a column of numbers and one other column.",
    ),
    ("added", "{name} is on the dashboard {board}."),
    ("opened", "Open it"),
    ("table", "table"),
    ("column", "column"),
    ("function", "function"),
    ("type", "type"),
];

const CHINESE_MESSAGES: &[(&str, &str)] = &[
    ("running", "运行中 …"),
    ("done", "{rows} 行，用时 {seconds} 秒 · 读取 {read} 行 · 数据截至 {as_of}"),
    ("answered", "{rows} 行，用时 {seconds} 秒"),
    ("truncated", "仅显示前 {rows} 行，还有更多：请下载全部，或缩小查询范围。"),
    ("planned", "最多读取 {files} 个文件、{bytes} 字节、{rows} 行。"),
    ("plannedin", "计划用时 {seconds} 秒。"),
    ("downloaded", "{bytes} 字节，用时 {seconds} 秒"),
    ("stopped", "已停止。"),
    ("position", "第 {line} 行，第 {column} 列："),
    ("kept", "{name} 已保存，版本 {version}。"),
    ("nothing", "暂无内容。"),
    ("undrawn", "没有可绘制的内容：图表需要一个数值列和另一个列。"),
    ("added", "{name} 已添加到仪表盘 {board}。"),
    ("opened", "打开"),
    ("table", "表"),
    ("column", "列"),
    ("function", "函数"),
    ("type", "类型"),
];

/// Renders the page.
pub fn workbench_page(workbench: &Workbench) -> Result<String, Error> {
    let language = workbench.language;
    let (sql, messages) = match language {
        Language::En => (&ENGLISH, ENGLISH_MESSAGES),
        Language::ZhCn => (&CHINESE, CHINESE_MESSAGES),
    };
    let words = Words::of(language);
    let values = Values {
        lang: language.tag(),
        asks_sql: true,
        words,
        sql,
        messages,
        languages: languages(language, ""),
        user: workbench.user.as_deref(),
        organization: workbench.organization.as_deref().unwrap_or(words.all_organizations),
        tables: &workbench.tables,
        roles: &workbench.roles,
        statement: &workbench.statement,
    };
    Ok(pages::fill(TEMPLATES, "workbench.html", &values)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn page(language: Language) -> String {
        workbench_page(&Workbench {
            language,
            user: Some("a@example.com".into()),
            organization: None,
            tables: query::schema::tables(&query::RowAccess::Staff).unwrap(),
            roles: vec!["analyst"],
            statement: "select '</textarea><script>'".into(),
        })
        .unwrap()
    }

    #[test]
    fn it_shows_the_schema_and_runs_only_our_script() {
        for language in Language::ALL {
            let html = page(language);
            assert!(html.contains("usage_events") && html.contains("list_price"));
            assert!(!html.contains("dead_letter"));
            assert_eq!(html.matches("<script").count(), 1);
            assert!(html.contains("script-src 'self'") && !html.contains("unsafe-eval"));
            assert!(html.contains("&lt;&#x2f;textarea&gt;") || html.contains("&lt;/textarea&gt;"));
        }
    }

    #[test]
    fn every_message_of_the_script_is_there_in_both_languages() {
        let names = |messages: &[(&'static str, &str)]| {
            messages.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>()
        };
        assert_eq!(names(ENGLISH_MESSAGES), names(CHINESE_MESSAGES));
        for part in WORKBENCH_SCRIPT.split("say(\"").skip(1) {
            let name = part.split('"').next().unwrap_or_default();
            assert!(names(ENGLISH_MESSAGES).contains(name), "{name}");
        }
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval("] {
            assert!(!WORKBENCH_SCRIPT.contains(forbidden), "{forbidden}");
        }
    }
}
