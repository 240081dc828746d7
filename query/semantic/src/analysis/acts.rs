//! What units did, as rows: who, when, and which step of the question it is.
//!
//! Whose an act is: an `anonymous_id` belongs to the last sign-up before the act, else to the first after it.

use chrono::{DateTime, Utc};
use ingest::{Table, grant::SELF_REPORTED};

use super::{AnalysisUnit, EventFilter};
use crate::{
    Audience, Catalog, Error, Grain, MetricRequest, Source, TableRead, Viewer, Window, Zone,
    context::StatementContext, filter::quoted,
};

/// The acts of one analysis.
pub(super) struct Acts<'a> {
    catalog: &'a Catalog,
    viewer: Viewer,
    unit: AnalysisUnit,
    window: Window,
    selects: Vec<String>,
    tables: Vec<Table>,
    from: Option<DateTime<Utc>>,
    to: DateTime<Utc>,
}

/// Acts of a time, and the columns that are wanted of them besides `unit`, `at` (microseconds since 1970) and `id`.
pub(super) struct Select<'a> {
    /// Without it, acts of all time before `to`.
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: DateTime<Utc>,
    pub(super) columns: &'a [(&'a str, String)],
    /// The dimension that is the column `grp`.
    pub(super) by: Option<&'a str>,
}

/// A family of events: the source of its metrics, the column that has the rest of the type, and the type's first word.
const FAMILIES: [(&str, &str, Option<&str>); 3] = [
    ("activity", "activity_events", Some("action")),
    ("billing", "billing_events", Some("kind")),
    ("usage", "usage_events", None),
];

/// The time of a row in microseconds.
pub(super) const AT: &str = "CAST(occurred_at AS BIGINT)";

/// The bucket of a row in microseconds.
pub(super) fn bucket(grain: Grain, from: DateTime<Utc>, to: DateTime<Utc>, zone: Zone) -> String {
    let start = grain.sql("occurred_at", from, to, zone);
    format!("CAST(arrow_cast({start}, 'Timestamp(Microsecond, Some(\"UTC\"))') AS BIGINT)")
}

impl<'a> Acts<'a> {
    pub(super) fn new(
        catalog: &'a Catalog,
        viewer: Viewer,
        unit: AnalysisUnit,
        window: Window,
    ) -> Self {
        let (selects, tables) = (Vec::new(), Vec::new());
        Self {
            catalog,
            viewer,
            unit,
            window,
            selects,
            tables,
            from: Some(window.from),
            to: window.to,
        }
    }

    /// Adds the acts that are of an event.
    pub(super) fn add(&mut self, event: &EventFilter, select: &Select<'_>) -> Result<(), Error> {
        let (source, condition) = self.event(event)?;
        let request = MetricRequest {
            zone: self.window.zone,
            filter: event.filter.clone(),
            by: select.by.map(str::to_owned).into_iter().collect(),
            ..MetricRequest::new(&event.event, select.from.unwrap_or(select.to), select.to)
        };
        let source = source.localized(&request);
        let filtered = event.filter.iter().flat_map(|filter| filter.conditions());
        let names = filtered.map(|condition| condition.dimension.as_str()).chain(select.by);
        for name in names {
            self.catalog.check_shown(&source, &event.event, name, self.viewer)?;
        }
        if let Some(filter) = &event.filter {
            filter.check()?;
        }
        let audience = self.viewer.audience;
        let context =
            StatementContext::new(&source, self.catalog.sources(), &request, false, audience)?;
        let within = match select.from {
            Some(_) => context.within(),
            None => context.until_end(),
        };
        let (unit, joins) = self.whose(&source.name);
        let group = select.by.map(|name| context.dimension(name)).transpose()?;
        let group = group.map(|dimension| ("grp", format!("CAST({} AS VARCHAR)", dimension.sql())));
        let columns = select.columns.iter().chain(&group);
        let columns: String = columns.map(|(name, sql)| format!(", {sql} AS {name}")).collect();
        self.selects.push(format!(
            "SELECT {unit} AS unit, {AT} AS at, event_id AS id{columns} FROM {}{joins} WHERE {within}{condition}",
            context.rows()
        ));
        self.tables.extend(source.tables.iter().filter_map(|name| Table::parse(name)));
        self.tables.extend(context.reads_organizations().then_some(Table::Organizations));
        self.from = self.from.zip(select.from).map(|(a, b)| a.min(b));
        self.to = self.to.max(select.to);
        Ok(())
    }

    /// The source of a type of events, and the condition that a row is of that type.
    fn event(&self, event: &EventFilter) -> Result<(&'a Source, String), Error> {
        let unknown = || {
            Error::Invalid(format!(
                "there is no event `{}`: write usage.request, billing.KIND, activity.ACTION, or a family such as activity.*",
                event.event
            ))
        };
        let table = ingest::event::table_of(&event.event);
        let (family, rest) = event.event.split_once('.').ok_or_else(unknown)?;
        if table.is_none() && rest != "*" {
            return Err(unknown());
        }
        let (_, source, column) =
            FAMILIES.into_iter().find(|(name, ..)| *name == family).ok_or_else(unknown)?;
        let source = self.catalog.sources().iter().find(|other| other.name == source);
        let condition = match column {
            Some(column) if rest != "*" => format!(" AND {column} = {}", quoted(rest)),
            _ => String::new(),
        };
        Ok((source.ok_or_else(unknown)?, condition))
    }

    /// Who did it, and what that is looked up in.
    fn whose(&self, source: &str) -> (&'static str, String) {
        const OF_USER: &str = " LEFT JOIN users ON user_id = u_user";
        const OF_ORGANIZATION: &str = " LEFT JOIN founders ON organization_id = o_organization";
        // The sign-up that an `anonymous_id` belongs to at the time of the act.
        let of_visitor = |missing: &str| {
            format!(
                " LEFT JOIN identities ON {missing} IS NULL AND anonymous_id = s_visitor \
                 AND (s_since IS NULL OR {AT} >= s_since) AND (s_until IS NULL OR {AT} < s_until)"
            )
        };
        match (source, self.unit) {
            ("activity_events", AnalysisUnit::Visitor) => {
                ("coalesce(anonymous_id, u_visitor)", format!("{OF_USER} AND anonymous_id IS NULL"))
            }
            ("activity_events", AnalysisUnit::User) => {
                ("coalesce(user_id, s_user)", of_visitor("user_id"))
            }
            ("activity_events", AnalysisUnit::Organization) => {
                ("coalesce(organization_id, s_organization)", of_visitor("organization_id"))
            }
            ("usage_events", AnalysisUnit::Visitor) => (
                "coalesce(u_visitor, CASE WHEN user_id IS NULL THEN o_visitor END)",
                format!("{OF_USER}{OF_ORGANIZATION}"),
            ),
            ("usage_events", AnalysisUnit::User) => ("user_id", String::new()),
            ("billing_events", AnalysisUnit::Visitor) => ("o_visitor", OF_ORGANIZATION.into()),
            ("billing_events", AnalysisUnit::User) => ("o_user", OF_ORGANIZATION.into()),
            _ => ("organization_id", String::new()),
        }
    }

    /// The common table expressions of the sign-ups and of `acts`, which the statement begins with.
    pub(super) fn sql(&self) -> String {
        let own = match self.viewer.audience {
            Audience::Staff => format!(" AND source NOT LIKE '{SELF_REPORTED}%'"),
            Audience::Organization => String::new(),
        };
        let text = self.selects.join(" UNION ALL ");
        let mut sql = String::from("WITH ");
        if ["identities", "users", "founders"]
            .iter()
            .any(|name| text.contains(&format!(" {name} ")))
        {
            sql += &format!(
                "sign_ups AS (SELECT anonymous_id AS s_visitor, user_id AS s_user, organization_id AS s_organization, \
                 {AT} AS s_at, event_id AS s_id FROM activity_events WHERE action = 'signed_up'{own}), "
            );
        }
        if text.contains(" identities ") {
            sql += "identities AS (SELECT s_visitor, s_user, s_organization, \
                    CASE WHEN row_number() OVER by_visitor > 1 THEN s_at END AS s_since, \
                    lead(s_at) OVER by_visitor AS s_until \
                    FROM sign_ups WHERE s_visitor IS NOT NULL \
                    WINDOW by_visitor AS (PARTITION BY s_visitor ORDER BY s_at, s_id)), ";
        }
        if text.contains(" users ") {
            sql += "users AS (SELECT s_user AS u_user, first_value(s_visitor ORDER BY s_at, s_id) AS u_visitor \
                    FROM sign_ups WHERE s_user IS NOT NULL AND s_visitor IS NOT NULL GROUP BY s_user), ";
        }
        if text.contains(" founders ") {
            sql += "founders AS (SELECT s_organization AS o_organization, \
                    first_value(s_visitor ORDER BY s_at, s_id) AS o_visitor, \
                    first_value(s_user ORDER BY s_at, s_id) AS o_user \
                    FROM sign_ups WHERE s_organization IS NOT NULL GROUP BY s_organization), ";
        }
        sql + &format!("acts AS (SELECT * FROM ({text}) AS found WHERE unit IS NOT NULL)")
    }

    /// The rows that the statement depends on.
    pub(super) fn reads(&self) -> Vec<TableRead> {
        let mut tables = self.tables.clone();
        // A sign-up counts whenever it was.
        tables.push(Table::ActivityEvents);
        tables.sort_unstable();
        tables.dedup();
        let read = |table: Table| match table.is_dimension() || table == Table::ActivityEvents {
            true => TableRead { table, from: None, to: i64::MAX },
            false => TableRead {
                table,
                from: self.from.map(|from| from.timestamp_micros()),
                to: self.to.timestamp_micros(),
            },
        };
        tables.into_iter().map(read).collect()
    }

    /// Whether an event has a dimension.
    pub(super) fn has(&self, event: &EventFilter, dimension: &str) -> bool {
        let found = self.event(event).map(|(source, _)| source);
        found.is_ok_and(|source| {
            source.dimension(&event.event, dimension, self.viewer.audience).is_ok()
        })
    }
}

/// The type of an event in SQL, as it was sent.
pub(super) fn type_sql(event: &str) -> String {
    let family = event.split('.').next().unwrap_or_default();
    match FAMILIES.into_iter().find(|(name, ..)| *name == family) {
        Some((name, _, Some(column))) => format!("'{name}.' || {column}"),
        _ => "'usage.request'".into(),
    }
}
