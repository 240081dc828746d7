//! The rows that a statement reads, and the keys that it groups them by.

use crate::{
    Audience, Dimension, DimensionType, Error, Group, Groups, Metric, MetricKind, MetricRequest,
    Rollups, Source, bucketed,
    event::sent_by_staff,
    filter::quoted,
    grain::literal,
    rollup::{RollupRead, SELF},
};

/// What the metrics of one statement have in common.
#[derive(Debug, Clone)]
pub(crate) struct StatementContext<'a> {
    pub(crate) source: &'a Source,
    pub(crate) request: &'a MetricRequest,
    /// Whether currencies are separate.
    has_currency: bool,
    dimensions: Vec<&'a Dimension>,
    filtered: Vec<&'a Dimension>,
    /// The filter in SQL, and the columns of organizations that it or a key needs.
    filter: Option<String>,
    joined: Vec<&'a Dimension>,
    audience: Audience,
    /// What the statement begins with, where the rows are those of a query.
    tables: String,
    /// What is read instead of the source.
    rollup: Option<RollupRead>,
}

/// An expression that rows are grouped by, and the name of its column.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) expression: String,
    pub(crate) name: String,
}

impl<'a> StatementContext<'a> {
    pub(crate) fn new(
        source: &'a Source,
        sources: &[Source],
        request: &'a MetricRequest,
        has_currency: bool,
        audience: Audience,
    ) -> Result<Self, Error> {
        let tables = match source.query {
            Some(_) => bucketed::tables(source, sources, request, audience)?,
            None => String::new(),
        };
        let find = |name: &str| source.dimension(&request.metric, name, audience);
        let dimensions: Vec<_> =
            request.by.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
        let filter = request.filter.as_ref().map(|filter| filter.sql(&find)).transpose()?;
        let conditions = request.filter.iter().flat_map(|filter| filter.conditions());
        let filtered: Vec<_> =
            conditions.map(|condition| find(&condition.dimension)).collect::<Result<_, _>>()?;
        let mut joined: Vec<&Dimension> = Vec::new();
        for dimension in dimensions.iter().chain(&filtered).copied() {
            if dimension.of_organization.is_some() && !joined.contains(&dimension) {
                joined.push(dimension);
            }
        }
        Ok(Self {
            source,
            request,
            has_currency,
            dimensions,
            filtered,
            filter,
            joined,
            audience,
            tables,
            rollup: None,
        })
    }

    /// The same question, of a rollup's rows.
    pub(crate) fn over(&self, rollup: RollupRead) -> Self {
        Self { rollup: Some(rollup), ..self.clone() }
    }

    /// The same question, whose source reads usage from rollups; nothing if they do not have it.
    pub(crate) fn with_usage_of(&self, sources: &[Source], rollups: &Rollups<'_>) -> Option<Self> {
        let (request, audience) = (self.request, self.audience);
        let tables = bucketed::tables_over(self.source, sources, request, audience, rollups)?;
        Some(Self { tables, ..self.clone() })
    }

    /// What rows are split and filtered by.
    pub(crate) fn needed_dimensions(&self) -> impl Iterator<Item = &'a Dimension> {
        self.dimensions.iter().chain(&self.filtered).copied()
    }

    /// The same rows, whatever the filter says.
    pub(crate) fn without_filter(self) -> Self {
        Self { filter: None, ..self }
    }

    /// A dimension of the source.
    pub(crate) fn dimension(&self, name: &str) -> Result<&'a Dimension, Error> {
        self.source.dimension(&self.request.metric, name, self.audience)
    }

    /// Whether it reads the records of organizations.
    pub(crate) fn reads_organizations(&self) -> bool {
        !self.joined.is_empty()
    }

    /// What rows are grouped by, the bucket first.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let MetricRequest { from, to, grain, zone, groups, .. } = self.request;
        let key = |expression: String, name: &str| Key { expression, name: name.to_owned() };
        let bucket = grain.map(|grain| match self.source.query {
            Some(_) => "at".to_owned(),
            None => grain.sql(&self.source.time, *from, *to, *zone),
        });
        let mut keys: Vec<_> = bucket.into_iter().map(|bucket| key(bucket, "at")).collect();
        let told = match groups {
            Groups::These(groups) => Some(self.is_listed_group(groups)),
            Groups::All | Groups::Largest(_) => None,
        };
        for (i, dimension) in self.dimensions.iter().enumerate() {
            let expression = match &told {
                Some(told) => format!("CASE WHEN {told} THEN {} END", dimension.sql()),
                None => dimension.sql().to_owned(),
            };
            keys.push(key(expression, &format!("by{i}")));
        }
        if let Some(told) = told {
            keys.push(key(format!("NOT coalesce({told}, false)"), "other"));
        }
        if self.has_currency {
            keys.push(key("currency".into(), "currency"));
        }
        keys
    }

    /// Whether a row is of one of these groups.
    fn is_listed_group(&self, groups: &[Group]) -> String {
        let column = |dimension: &Dimension| match dimension.kind {
            DimensionType::Text => dimension.sql().to_owned(),
            _ => format!("CAST({} AS VARCHAR)", dimension.sql()),
        };
        if let [dimension] = self.dimensions.as_slice() {
            let values: Vec<_> =
                groups.iter().flatten().flatten().map(|value| quoted(value)).collect();
            let listed = (!values.is_empty())
                .then(|| format!("{} IN ({})", column(dimension), values.join(", ")));
            let null = groups.iter().any(|group| group == &[None]);
            let null = null.then(|| format!("{} IS NULL", dimension.sql()));
            let either: Vec<_> = listed.into_iter().chain(null).collect();
            return if either.is_empty() {
                "false".into()
            } else {
                format!("({})", either.join(" OR "))
            };
        }
        // One text per group, in which each value has its length before it: a list of texts is one operator, however long
        // it is.
        let coded = self.dimensions.iter().map(|dimension| {
            let column = column(dimension);
            format!(
                "CASE WHEN {column} IS NULL THEN '-' \
                 ELSE concat(CAST(char_length({column}) AS VARCHAR), ':', {column}) END"
            )
        });
        let coded = coded.collect::<Vec<_>>().join(", ");
        let code = |value: &Option<String>| match value {
            Some(value) => format!("{}:{value}", value.chars().count()),
            None => "-".to_owned(),
        };
        let codes = groups.iter().map(|group| quoted(&group.iter().map(code).collect::<String>()));
        let codes: Vec<_> = codes.collect();
        if codes.is_empty() {
            return "false".into();
        }
        format!("concat({coded}) IN ({})", codes.join(", "))
    }

    /// The rows that a value comes from, the newest first: of a stock all rows up to the end of the window.
    pub(crate) fn rows_of(&self, metric: &Metric, currency: Option<&str>, limit: usize) -> String {
        let mut filter = match metric.kind {
            MetricKind::Cumulative => self.until_end(),
            _ => self.within(),
        };
        if let Some(counted) = &metric.filter {
            filter += &format!(" AND ({counted})");
        }
        if matches!(metric.kind, MetricKind::Percentile | MetricKind::Distinct) {
            filter += &format!(" AND {} IS NOT NULL", metric.value);
        }
        if let Some(currency) = currency {
            filter += &format!(" AND currency = {}", quoted(currency));
        }
        let order = match &self.source.query {
            Some(_) => "at, organization_id",
            None => &format!("{} DESC", self.source.time),
        };
        let (tables, rows) = (&self.tables, self.rows());
        format!("{tables}SELECT * FROM {rows} WHERE {filter} ORDER BY {order} LIMIT {limit}")
    }

    /// The rows of the window.
    pub(crate) fn within(&self) -> String {
        if self.source.query.is_some() || self.rollup.is_some() {
            return format!("true{}", self.conditions());
        }
        let (from, to) = (literal(self.request.from), literal(self.request.to));
        format!("{time} >= {from} AND {time} < {to}{}", self.conditions(), time = self.source.time)
    }

    /// The rows of all time before the end of the window.
    pub(crate) fn until_end(&self) -> String {
        format!("{} < {}{}", self.source.time, literal(self.request.to), self.conditions())
    }

    /// The filter; and staff's metrics leave out what organizations say of themselves.
    fn conditions(&self) -> String {
        let mut conditions = String::new();
        let by_staff = match self.rollup {
            Some(_) => (self.audience == Audience::Staff).then(|| format!("{SELF} = 0")),
            None => sent_by_staff(self.audience),
        };
        let by_staff = by_staff.filter(|_| self.source.is_self_reported);
        for condition in by_staff.iter().chain(&self.filter) {
            conditions += &format!(" AND {condition}");
        }
        conditions
    }

    pub(crate) fn select(
        &self,
        keys: &[Key],
        values: impl IntoIterator<Item = String>,
        filter: &str,
    ) -> String {
        let columns = keys.iter().map(|key| format!("{} AS {}", key.expression, key.name));
        let columns: Vec<_> = columns.chain(values).collect();
        let group: Vec<_> = (1..=keys.len()).map(|place| place.to_string()).collect();
        let group = match group.is_empty() {
            true => String::new(),
            false => format!(" GROUP BY {}", group.join(", ")),
        };
        let (tables, rows) = (&self.tables, self.rows());
        format!("{tables}SELECT {} FROM {rows} WHERE {filter}{group}", columns.join(", "))
    }

    /// The source, beside the records of organizations where they are needed. No two columns share a name.
    pub(crate) fn rows(&self) -> String {
        let name = match &self.rollup {
            Some(read) => format!("({}) AS rolled", read.rows()),
            None if self.source.query.is_some() => "cells".to_owned(),
            None => self.source.name.clone(),
        };
        if self.joined.is_empty() {
            return name;
        }
        let columns = self.joined.iter().map(|dimension| {
            format!(
                ", {} AS {}",
                dimension.of_organization.as_deref().unwrap_or_default(),
                dimension.name
            )
        });
        let columns: String = columns.collect();
        format!(
            "{name} LEFT JOIN (SELECT organization_id AS recorded_organization_id{columns} FROM organizations) \
             AS records ON organization_id = recorded_organization_id"
        )
    }
}
