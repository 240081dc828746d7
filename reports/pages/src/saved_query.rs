//! The pages of saved queries: the list of those that the reader may run, and the answer of one.

use serde::Serialize;

use crate::{
    Error, Language,
    link::{Link, languages},
    template::fill,
    words::Words,
};

/// Who reads a page, and in which language.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The language of the page.
    pub language: Language,
    /// The e-mail address of the reader; `None` for a program.
    pub user: Option<String>,
    /// Whose rows are seen; none for all.
    pub organization: Option<String>,
    /// Whether the reader may ask in SQL too.
    pub asks_sql: bool,
}

/// A saved query in a list.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// The name of the query, which is the end of its address too.
    pub name: String,
    /// What the query is for, in its author's words. Empty where nothing was said.
    pub description: String,
}

/// A saved query with its answer.
#[derive(Debug, Clone)]
pub struct SavedQueryPage {
    /// The name of the query.
    pub name: String,
    /// What the query is for, in its author's words. Empty where nothing was said.
    pub description: String,
    /// The number of the version that is shown, counted from 1.
    pub version: i32,
    /// The parameters of the query, by name.
    pub fields: Vec<Field>,
    /// What the address says besides the language and the parameters, with its names.
    pub kept: Vec<(&'static str, String)>,
    /// The rows, or why there are none.
    pub answer: SavedQueryResult,
    /// What the address says besides the language, as it stands there.
    pub rest: String,
    /// The address of the same rows for programs, up to the format.
    pub rows_address: String,
}

/// A parameter, and what it is now.
#[derive(Debug, Clone, Serialize)]
pub struct Field {
    /// The name of the parameter, without the `p.` that it has in the address.
    pub name: String,
    /// `text`, `date` and so on.
    pub kind: &'static str,
    /// The text in the form: of the address, else the default. Empty where there is neither.
    pub value: String,
    /// Whether the parameter has no default, so that the reader must fill it in.
    pub required: bool,
}

/// What there is to show.
#[derive(Debug, Clone)]
pub enum SavedQueryResult {
    /// The rows of the answer. There may be none.
    Rows(Rows),
    /// A parameter has no value yet.
    Unasked,
    /// What is wrong, in English.
    Failed(String),
}

/// The rows of an answer, as a table of texts.
#[derive(Debug, Clone, Serialize)]
pub struct Rows {
    /// The columns, in the order of the cells in each row.
    pub columns: Vec<Column>,
    /// The cells of each row; none for null.
    pub rows: Vec<Vec<Option<String>>>,
    /// Whether the answer has more rows than these.
    pub truncated: bool,
    /// The token of the cut: the state of the data that the rows come from.
    pub as_of: String,
}

/// A column of an answer.
#[derive(Debug, Clone, Serialize)]
pub struct Column {
    /// The name of the column in the answer.
    pub name: String,
    /// How the cells of the column are set.
    pub class: CellClass,
}

/// How the cells of a column are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CellClass {
    /// Numbers: to the right, in one line.
    #[serde(rename = "number")]
    Number,
    /// Times: to the left, in one line.
    #[serde(rename = "time")]
    Time,
    /// All else: to the left, in as many lines as it takes.
    #[serde(rename = "")]
    Text,
}

#[derive(Serialize)]
struct Values<'a> {
    lang: &'static str,
    words: &'static Words,
    labels: &'static Labels,
    languages: Vec<Link>,
    user: Option<&'a str>,
    organization: &'a str,
    asks_sql: bool,
    queries: &'a [Listed],
    name: &'a str,
    description: &'a str,
    version: i32,
    fields: &'a [Field],
    kept: &'a [(&'static str, String)],
    /// Whether times are shown in UTC.
    is_utc: bool,
    answer: Option<&'a Rows>,
    failure: Option<&'a str>,
    is_unasked: bool,
    count: usize,
    rows_address: &'a str,
}

#[derive(Serialize)]
struct Labels {
    title: &'static str,
    lead: &'static str,
    nothing: &'static str,
    nothing_hint: &'static str,
    version: &'static str,
    run: &'static str,
    fill_in: &'static str,
    failed: &'static str,
    rows: &'static str,
    truncated: &'static str,
    no_rows: &'static str,
    download: &'static str,
}

const ENGLISH: Labels = Labels {
    title: "Saved queries",
    lead: "Questions that analysts saved and shared with you.",
    nothing: "Nothing is shared with you yet",
    nothing_hint: "An analyst saves a query on the SQL page, and shares it with your role.",
    version: "Version",
    run: "Show",
    fill_in: "Fill in the values to see the answer.",
    failed: "There is no answer to show.",
    rows: "rows",
    truncated: "Only the first rows are shown. Download all of them below.",
    no_rows: "No row has these values.",
    download: "All rows as",
};

const CHINESE: Labels = Labels {
    title: "已保存的查询",
    lead: "分析师保存并与您共享的查询。",
    nothing: "暂无共享给您的查询",
    nothing_hint: "分析师可在 SQL 页面保存查询，并共享给您的角色。",
    version: "版本",
    run: "查看",
    fill_in: "请填写参数值以查看结果。",
    failed: "没有可显示的结果。",
    rows: "行",
    truncated: "仅显示前面的行。可在下方下载全部行。",
    no_rows: "没有符合条件的行。",
    download: "全部行，格式",
};

impl Reader {
    fn values<'a>(&'a self, rest: &str) -> Values<'a> {
        let words = Words::of(self.language);
        Values {
            lang: self.language.tag(),
            words,
            labels: match self.language {
                Language::En => &ENGLISH,
                Language::ZhCn => &CHINESE,
            },
            languages: languages(self.language, rest),
            user: self.user.as_deref(),
            organization: self.organization.as_deref().unwrap_or(words.all_organizations),
            asks_sql: self.asks_sql,
            queries: &[],
            name: "",
            description: "",
            version: 0,
            fields: &[],
            kept: &[],
            is_utc: true,
            answer: None,
            failure: None,
            is_unasked: false,
            count: 0,
            rows_address: "",
        }
    }
}

/// Renders the list.
pub fn saved_queries_page(reader: &Reader, queries: &[Listed]) -> Result<String, Error> {
    fill(&[], "saved_queries.html", &Values { queries, ..reader.values("") })
}

/// Renders one with its answer. The form asks the same page again.
pub fn saved_query_page(reader: &Reader, asked: &SavedQueryPage) -> Result<String, Error> {
    let (answer, failure) = match &asked.answer {
        SavedQueryResult::Rows(rows) => (Some(rows), None),
        SavedQueryResult::Failed(detail) => (None, Some(detail.as_str())),
        SavedQueryResult::Unasked => (None, None),
    };
    fill(
        &[],
        "saved_query.html",
        &Values {
            name: &asked.name,
            description: &asked.description,
            version: asked.version,
            fields: &asked.fields,
            kept: &asked.kept,
            is_utc: asked.kept.iter().all(|(name, _)| *name != "tz"),
            answer,
            failure,
            is_unasked: matches!(asked.answer, SavedQueryResult::Unasked),
            count: answer.map_or(0, |rows| rows.rows.len()),
            rows_address: &asked.rows_address,
            ..reader.values(&asked.rest)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(language: Language) -> Reader {
        Reader { language, user: Some("m@example.com".into()), organization: None, asks_sql: false }
    }

    fn asked(answer: SavedQueryResult) -> SavedQueryPage {
        SavedQueryPage {
            name: "top-models".into(),
            description: "Models by <b>requests</b>".into(),
            version: 3,
            fields: vec![Field {
                name: "since".into(),
                kind: "date",
                value: "2026-01-01\"><script>".into(),
                required: true,
            }],
            kept: vec![("version", "2".into())],
            answer,
            rest: "&p.since=2026-01-01".into(),
            rows_address: "/v1/saved-queries/top-models/rows?p.since=2026-01-01&format=".into(),
        }
    }

    #[test]
    fn an_answer_is_a_table_and_nothing_of_it_is_markup() {
        let rows = Rows {
            columns: vec![
                Column { name: "<i>model</i>".into(), class: CellClass::Text },
                Column { name: "n".into(), class: CellClass::Number },
            ],
            rows: vec![vec![Some("<script>".into()), Some("12".into())], vec![None, None]],
            truncated: true,
            as_of: "abc".into(),
        };
        for language in Language::ALL {
            let html =
                saved_query_page(&reader(language), &asked(SavedQueryResult::Rows(rows.clone())))
                    .unwrap();
            assert!(html.contains("&lt;script&gt;") && html.contains("&lt;i&gt;model"), "{html}");
            for markup in ["<script", "<b>", "<i>"] {
                assert!(!html.contains(markup), "{markup}");
            }
            assert!(html.contains("p.since") && html.contains("format=csv"));
            assert!(html.contains("name=\"version\" value=\"2\""), "{html}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        let html =
            saved_query_page(&reader(Language::En), &asked(SavedQueryResult::Unasked)).unwrap();
        assert!(html.contains(ENGLISH.fill_in) && !html.contains("<table"));
        let failed = SavedQueryResult::Failed("`since` is no date".into());
        let html = saved_query_page(&reader(Language::ZhCn), &asked(failed)).unwrap();
        assert!(html.contains(CHINESE.failed) && html.contains("`since` is no date"));
    }

    #[test]
    fn the_list_names_each_query() {
        let queries =
            [Listed { name: "top-models".into(), description: "Models <b>now</b>".into() }];
        let html = saved_queries_page(&reader(Language::En), &queries).unwrap();
        assert!(html.contains("/queries/top-models?lang=en") && html.contains("&lt;b&gt;now"));
        assert!(saved_queries_page(&reader(Language::En), &[]).unwrap().contains(ENGLISH.nothing));
    }
}
