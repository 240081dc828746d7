//! Types of events, as they are sent, and where their rows are.

use ingest::grant::SELF_REPORTED;

use crate::{Audience, filter::quoted};

/// A type of events such as `activity.page_viewed`, or a family such as `activity.*`.
pub(crate) struct EventType<'a> {
    /// The source of the metrics of its rows, which is the name of the table or view too.
    pub(crate) source: &'static str,
    /// The column that has the rest of the type.
    column: Option<&'static str>,
    family: &'static str,
    rest: &'a str,
}

/// The first word of a type, the source, and the column that has the rest.
const FAMILIES: [(&str, &str, Option<&str>); 3] = [
    ("activity", "activity_events", Some("action")),
    ("billing", "billing_events", Some("kind")),
    ("usage", "usage_events", None),
];

impl<'a> EventType<'a> {
    /// Reads a type; nothing if there is none of that name.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (family, rest) = text.split_once('.')?;
        if rest != "*" {
            ingest::event::table_of(text)?;
        }
        let (family, source, column) = FAMILIES.into_iter().find(|(name, ..)| *name == family)?;
        Some(Self { source, column, family, rest })
    }

    /// The condition in SQL that a row of the source is of the type.
    pub(crate) fn condition(&self) -> Option<String> {
        let column = self.column.filter(|_| self.rest != "*")?;
        Some(format!("{column} = {}", quoted(self.rest)))
    }

    /// The type of a row in SQL, as it was sent.
    pub(crate) fn of_row(&self) -> String {
        match self.column {
            Some(column) => format!("'{}.' || {column}", self.family),
            None => quoted("usage.request"),
        }
    }
}

/// Staff's numbers leave out what organizations say of themselves: the condition in SQL.
pub(crate) fn sent_by_staff(audience: Audience) -> Option<String> {
    (audience == Audience::Staff).then(|| format!("source NOT LIKE '{SELF_REPORTED}%'"))
}
