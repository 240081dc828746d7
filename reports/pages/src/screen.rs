//! Pages of tables and forms: accounts, members, keys. A screen is data; it needs no template of its own.

use serde::Serialize;

use crate::{Error, Language, saved_query::Reader, template::fill, words::Words};

/// A page of sections.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Screen {
    /// The entry of the head that is open, such as `keys`.
    pub here: &'static str,
    /// The heading.
    pub title: String,
    /// The sentence under it.
    pub lead: Option<String>,
    /// What went wrong, in the reader's language.
    pub failure: Option<String>,
    /// What was done.
    pub done: Option<String>,
    /// The sections, in their order.
    pub sections: Vec<Section>,
    /// Whether cards stand side by side where there is room.
    pub is_grid: bool,
    /// Other pages: address, text, and whether it is this one.
    pub tabs: Vec<(String, String, bool)>,
}

/// A card of a screen.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What it is about.
    pub note: Option<String>,
    /// Labels and what they say.
    pub facts: Vec<(String, String)>,
    /// Texts that are shown this once, such as a secret.
    pub secrets: Vec<String>,
    /// A drawing of ours, without any text of a stranger.
    pub drawing: Option<String>,
    /// Quantities against their limits.
    pub meters: Vec<Meter>,
    /// Rows.
    pub table: Option<Table>,
    /// Stands where the table has no rows.
    pub empty: Option<String>,
    /// Fields to fill in.
    pub forms: Vec<Form>,
    /// Buttons.
    pub acts: Vec<Act>,
    /// Addresses and texts.
    pub links: Vec<(String, String)>,
}

/// A quantity against its limit.
#[derive(Debug, Clone, Serialize)]
pub struct Meter {
    /// What it counts.
    pub title: String,
    /// How it stands, in words.
    pub text: String,
    /// Hundredths of the limit, at most 100.
    pub percent: u8,
    /// The limit is reached.
    pub is_full: bool,
}

/// Rows with the same columns.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Table {
    /// The titles of the columns.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A row of a table.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// One text for each column.
    pub cells: Vec<String>,
    /// Where the first text leads to.
    pub link: Option<String>,
    /// A word that stands out, and its class: `ok` or `failed`.
    pub status: Option<(String, &'static str)>,
    /// What can be done to it.
    pub acts: Vec<Act>,
}

/// A button that posts some values.
#[derive(Debug, Clone, Serialize)]
pub struct Act {
    /// Where it posts to.
    pub path: String,
    /// Its label.
    pub label: String,
    /// Names and values.
    pub values: Vec<(&'static str, String)>,
}

/// A form.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Form {
    /// Where it posts to.
    pub path: String,
    /// What is asked for.
    pub fields: Vec<Field>,
    /// Names and values that are sent, too.
    pub values: Vec<(String, String)>,
    /// The label of the button.
    pub button: String,
    /// Why it was refused.
    pub failure: Option<String>,
    /// It asks, and changes nothing: its values stand in the address.
    pub is_query: bool,
}

/// A field of a form.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Field {
    /// The name that is sent.
    pub name: &'static str,
    /// What people read.
    pub label: String,
    /// `text`, `email`, `password`, `number`, `search`, `select`, `check`, `code`, or `lines` for a
    /// text of several.
    pub kind: &'static str,
    /// What is filled in.
    pub value: String,
    /// What a browser may fill in, such as `new-password`.
    pub autocomplete: &'static str,
    /// Of a `select`: values and texts.
    pub options: Vec<(String, String)>,
    /// Whether it may be left out.
    pub is_optional: bool,
    /// What is expected.
    pub hint: Option<String>,
    /// What is wrong with it.
    pub failure: Option<String>,
}

impl Field {
    /// A field that must be filled in.
    pub fn new(name: &'static str, label: &str, kind: &'static str) -> Self {
        Self { name, label: label.to_owned(), kind, autocomplete: "off", ..Self::default() }
    }

    /// With a value.
    pub fn with(self, value: &str) -> Self {
        Self { value: value.to_owned(), ..self }
    }

    /// That browsers fill in.
    pub fn filled_by(self, autocomplete: &'static str) -> Self {
        Self { autocomplete, ..self }
    }

    /// That may be left out.
    pub fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    /// With a hint.
    pub fn hinted(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    /// With choices.
    pub fn of(self, options: Vec<(String, String)>) -> Self {
        Self { options, ..self }
    }
}

impl Form {
    /// Marks the field that was refused; what is no field stands above them.
    pub fn refused(mut self, field: Option<&str>, reason: &str) -> Self {
        match field.and_then(|name| self.fields.iter_mut().find(|field| field.name == name)) {
            Some(field) => field.failure = Some(reason.to_owned()),
            None => self.failure = Some(reason.to_owned()),
        }
        self
    }
}

#[derive(Serialize)]
struct Values<'a> {
    lang: &'static str,
    words: &'static Words,
    languages: Vec<crate::link::Link>,
    user: Option<&'a str>,
    organization: &'a str,
    asks_sql: bool,
    page: &'a Screen,
}

/// Renders a screen of somebody who signed in.
pub fn screen_page(reader: &Reader, screen: &Screen) -> Result<String, Error> {
    let words = Words::of(reader.language);
    let values = Values {
        lang: reader.language.tag(),
        words,
        languages: crate::link::languages(reader.language, ""),
        user: reader.user.as_deref(),
        organization: reader.organization.as_deref().unwrap_or(words.all_organizations),
        asks_sql: reader.asks_sql,
        page: screen,
    };
    fill(&[], "screen.html", &values)
}

/// Renders a screen of somebody who did not.
pub fn signed_out_page(language: Language, screen: &Screen) -> Result<String, Error> {
    let values = Values {
        lang: language.tag(),
        words: Words::of(language),
        languages: crate::link::languages(language, ""),
        user: None,
        organization: "",
        asks_sql: false,
        page: screen,
    };
    fill(&[], "signed_out.html", &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> Screen {
        let field = Field::new("email", "<E-mail>", "email").with("a\"b").hinted("h<i>nt");
        let choice =
            Field::new("role", "Role", "select").of(vec![("user".into(), "<User>".into())]);
        let form = Form {
            path: "/account/x".into(),
            fields: vec![field, choice, Field::new("on", "On", "check").optional()],
            button: "Go".into(),
            ..Form::default()
        };
        let act =
            Act { path: "/x".into(), label: "End".into(), values: vec![("id", "<1>".into())] };
        let row = Row {
            cells: vec!["<b>".into()],
            link: Some("/x?a&b".into()),
            status: Some(("ok".into(), "ok")),
            acts: vec![act],
        };
        Screen {
            title: "T<i>".into(),
            failure: Some("<no>".into()),
            sections: vec![Section {
                title: "S".into(),
                table: Some(Table { head: vec!["A".into()], rows: vec![row] }),
                forms: vec![form.refused(Some("email"), "w<r>ong")],
                secrets: vec!["aihub_<s>".into()],
                ..Section::default()
            }],
            ..Screen::default()
        }
    }

    #[test]
    fn texts_are_escaped_and_failures_stand_beside_their_fields() {
        let language = Language::ZhCn;
        let reader =
            Reader { language, user: Some("ann".into()), organization: None, asks_sql: false };
        for html in [
            screen_page(&reader, &screen()).unwrap(),
            signed_out_page(language, &screen()).unwrap(),
        ] {
            for raw in ["<b>", "T<i>", "<no>", "w<r>ong", "<s>", "value=\"a\"b\"", "<1>", "<script"]
            {
                assert!(!html.contains(raw), "{raw}");
            }
            assert!(html.contains("aria-invalid=\"true\"") && html.contains("w&lt;r&gt;ong"));
        }
    }
}
