//! What a metric is, as its file declares it.

use ingest::Table;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Grain, MetricRequest, Number, grain::local_sql, kind::conversion};

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// The name in requests: 1 to 64 of a to z, 0 to 9 and `_`. No two metrics of a catalog share one.
    pub name: String,
    /// The short name that people read, such as `Error rate`.
    pub title: Text,
    /// What a value says, in a sentence or a few.
    pub description: Text,
    /// What a value measures, such as things, milliseconds or money. It decides how the value is printed.
    pub unit: Unit,
    /// How a value comes from rows. It decides which of `over`, `percentile` and `filter` may be set.
    pub kind: MetricKind,
    /// Whether more is good.
    #[serde(default)]
    pub direction: Direction,
    /// What the business wants it to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// Who may ask for it.
    #[serde(default)]
    pub audience: Audience,
    /// The name of its source. One that is derived has none; a conversion has its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// An SQL aggregate over the rows of a bucket; of a percentile the column, of a distinct count what is counted, of one
    /// that is derived an expression over other metrics. A conversion has none.
    #[serde(default)]
    pub value: String,
    /// Of a conversion: from what to what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion: Option<Conversion>,
    /// Of a ratio: the aggregate that `value` is divided by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// Of a percentile: its rank, between 0 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
    /// Which parts add up, where it is not what the kind says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additive: Option<Additivity>,
    /// Days after a bucket until what began in it has come to its end.
    #[serde(default)]
    pub matures_days: u32,
    /// Why a value may be null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_reason: Option<Text>,
    /// Of an aggregate or a distinct count: which rows count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Whether values of different currencies are separate, as amounts always are.
    #[serde(default)]
    pub by_currency: bool,
    /// The names of the options of its source that change it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Where the formula comes from, or who decided it.
    pub formula: String,
}

/// From what to what organizations convert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversion {
    /// What begins it: an organization is of the bucket in which it first did so.
    pub start: ConversionEvent,
    /// What it is to come to.
    pub goal: ConversionEvent,
    /// How many days there are for it, 1 to 366.
    pub within_days: u32,
}

/// Events of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversionEvent {
    /// The type as it is sent, such as `billing.signed_up`.
    pub event: String,
    /// An SQL condition over the columns of its table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// A choice that a question has, where there is more than one usual way to compute a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricOption {
    /// The name in requests.
    pub name: String,
    /// What is chosen.
    pub description: Text,
    /// What it may be. The first one is taken where a question does not say.
    pub values: Vec<OptionValue>,
}

/// One value of an option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionValue {
    /// The name in requests.
    pub name: String,
    /// What stands for it in the query of the source.
    pub sql: String,
}

/// A text in the languages of the pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// English.
    pub en: String,
    /// Simplified Chinese; the key is `zh-CN` in YAML and JSON.
    #[serde(rename = "zh-CN")]
    pub zh_cn: String,
}

/// How a metric's value comes from rows. Each has a file of its own, with its SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// A count or a sum over the rows of each bucket: parts add up.
    Aggregate,
    /// How many different values the rows of each bucket have.
    Distinct,
    /// One aggregate divided by another.
    Ratio,
    /// A percentile over the rows of each bucket, from a histogram of log-wide buckets.
    Percentile,
    /// The sum of everything up to the end of each bucket: a stock, such as MRR.
    Cumulative,
    /// An expression over other metrics.
    Derived,
    /// The share of those who did one thing and then do another in time.
    Conversion,
}

/// How a value is to be read and printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A plain number of things.
    Count,
    /// A share between 0 and 1, printed as a percentage.
    Ratio,
    /// Milliseconds.
    Milliseconds,
    /// A number that is no share, such as a quick ratio.
    Number,
    /// An amount of money; its currency is in the row.
    Money,
}

/// Which parts of a metric add up to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Additivity {
    /// Groups and buckets.
    All,
    /// Groups, at one time.
    Groups,
    /// Neither groups nor buckets: the value of the whole comes from its own rows.
    None,
}

/// Which way a metric should go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Up,
    /// Less is better.
    Down,
    /// Neither is better.
    #[default]
    Neutral,
}

/// What a metric should be, over a window of a length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// The value to reach, in the unit of the metric: 0.15 is a share of 15 %.
    pub value: f64,
    /// `month`, or `window`: of any length.
    pub per: GoalPeriod,
}

/// The length of the window that a goal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GoalPeriod {
    /// One month, such as 100,000 requests a month.
    Month,
    /// A window of any length.
    Window,
}

/// Who may see a metric, a dimension or a column.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Everybody; an organization sees its own rows.
    #[default]
    Organization,
    /// Nobody but staff.
    Staff,
}

/// Where rows of metrics come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A table or view of the session; of a query, the name that metrics know it by.
    pub name: String,
    /// The column that places a row in time. A query has none: its rows are of buckets.
    #[serde(default)]
    pub time: String,
    /// SQL that gives rows for each bucket, with the bucket in `at`. It reads the table `buckets`, whose rows have `at`
    /// (the start of a bucket), `since` and `until` (what of it is in the window), `before` (the bucket before) and
    /// `year_before` (twelve months before `until`).
    /// In it `{from}` and `{to}` are the window, `{from_before}` is one bucket earlier, `{bucket:COLUMN}` is the bucket of
    /// a time, `{of:SOURCE}` the query of another source, and `{sent_by_staff}` leaves out what organizations send.
    /// `{usage:COLUMNS}` are the rows of usage_events, of which these columns are read: whether a row is there, and sums.
    #[serde(default)]
    pub query: Option<String>,
    /// The stored tables that its rows come from.
    pub tables: Vec<String>,
    /// The shortest buckets that it can tell apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finest_grain: Option<Grain>,
    /// Whether a row depends on rows before it, whenever they were. Those of a query always do.
    #[serde(default)]
    pub is_history: bool,
    /// Of a query: what a question may choose. `{option:NAME}` in it is the SQL of the chosen value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<MetricOption>,
    /// Days after the window whose rows count as well, such as payments of those who signed up in it.
    #[serde(default)]
    pub reads_after_days: u32,
    /// Of rows that say what persons do: the person, as an SQL expression. Few persons are not shown to everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Whether organizations may send rows of it, which metrics of staff leave out.
    #[serde(default)]
    pub is_self_reported: bool,
    /// The columns and expressions that its rows can be split by and filtered by.
    pub dimensions: Vec<Dimension>,
}

/// What rows can be split by, and filtered by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dimension {
    /// The name in requests. Without `expression` it is the name of the column too.
    pub name: String,
    /// The type of its values; `type` in YAML, where text is the default.
    #[serde(rename = "type", default)]
    pub kind: DimensionType,
    /// The SQL expression, where it is not the column of that name. `{local}` is the row's time on the clock of the zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// The column of the organization's record that it is: as it is at the cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_organization: Option<String>,
    /// Who may split and filter by it; everybody by default. For others it does not exist.
    #[serde(default)]
    pub audience: Audience,
}

/// The type of a dimension's values. A filter gives values as texts, which must be readable as this type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DimensionType {
    /// Any text.
    #[default]
    Text,
    /// A whole number of 64 bits with a sign, such as a status code.
    Integer,
    /// `true` or `false`.
    Boolean,
}

impl Metric {
    /// With what follows from its kind.
    pub(crate) fn completed(mut self) -> Self {
        if let Some(conversion) = &self.conversion {
            if self.source.is_empty() {
                conversion::SOURCE.clone_into(&mut self.source);
            }
            self.matures_days = self.matures_days.max(conversion.within_days);
        }
        self
    }

    /// Whether its values are of one currency each.
    pub fn has_currency(&self) -> bool {
        self.by_currency || self.unit == Unit::Money
    }

    /// Its value where no row is: nothing of a count or an amount, and no value of what is divided.
    pub fn empty_value(&self) -> Option<Number> {
        let is_counted = matches!(self.unit, Unit::Count | Unit::Money);
        let is_divided = match self.kind {
            MetricKind::Ratio | MetricKind::Percentile | MetricKind::Conversion => true,
            MetricKind::Derived => self.additive() == Additivity::None,
            MetricKind::Aggregate | MetricKind::Distinct | MetricKind::Cumulative => false,
        };
        (is_counted && !is_divided).then_some(Number::ZERO)
    }

    /// Whether the values of groups add up to that of all.
    pub fn additive_by_group(&self) -> bool {
        self.additive() != Additivity::None
    }

    /// Whether the values of buckets add up to that of the window.
    pub fn additive_by_time(&self) -> bool {
        self.additive() == Additivity::All
    }

    fn additive(&self) -> Additivity {
        self.additive.unwrap_or(match self.kind {
            MetricKind::Aggregate => Additivity::All,
            MetricKind::Cumulative => Additivity::Groups,
            MetricKind::Distinct
            | MetricKind::Ratio
            | MetricKind::Percentile
            | MetricKind::Derived
            | MetricKind::Conversion => Additivity::None,
        })
    }
}

impl Source {
    /// The source for the clock of a question.
    pub(crate) fn localized(&self, request: &MetricRequest) -> Self {
        let mut source = self.clone();
        let expressions =
            source.dimensions.iter_mut().filter_map(|dimension| dimension.expression.as_mut());
        for expression in expressions.filter(|expression| expression.contains("{local}")) {
            let local = local_sql(&self.time, request.from, request.to, request.zone);
            *expression = expression.replace("{local}", &format!("({local})"));
        }
        source
    }
}

impl Dimension {
    /// A column of texts.
    #[cfg(test)]
    pub(crate) fn text(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: DimensionType::Text,
            expression: None,
            of_organization: None,
            audience: Audience::Organization,
        }
    }

    /// What stands for it in SQL.
    pub(crate) fn sql(&self) -> &str {
        self.expression.as_deref().unwrap_or(&self.name)
    }

    /// Whether it says something of a person.
    pub fn is_personal(&self) -> bool {
        let mut columns = Table::ALL.iter().flat_map(|table| table.columns());
        columns.any(|column| column.is_personal && column.name == self.name)
    }
}
