//! What units did, as rows: who, when, and which step of the question it is.
//!
//! Whose an act is: an `anonymous_id` belongs to the last sign-up before the act, else to the first after it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use ingest::Table;

use super::{AnalysisScope, AnalysisUnit, EventFilter};
use crate::{
    Catalog, Error, Grain, MetricRequest, Source, TableRead, Viewer, Zone,
    context::StatementContext,
    event::{EventType, sent_by_staff},
};

/// The acts of one analysis.
pub(super) struct Acts<'a> {
    catalog: &'a Catalog,
    viewer: Viewer,
    scope: AnalysisScope,
    selects: Vec<String>,
    tables: Vec<Table>,
    lookups: BTreeSet<Lookup>,
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

/// What an act is looked up in to find whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lookup {
    /// The sign-up that an `anonymous_id` belongs to at a time.
    Identities,
    /// The visitor who signed up as a user.
    Users,
    /// Who signed up first for an organization.
    Founders,
}

/// The time of a row in microseconds.
pub(super) const AT: &str = "CAST(occurred_at AS BIGINT)";

/// The bucket of a row in microseconds.
pub(super) fn bucket(grain: Grain, from: DateTime<Utc>, to: DateTime<Utc>, zone: Zone) -> String {
    let start = grain.sql("occurred_at", from, to, zone);
    format!("CAST(arrow_cast({start}, 'Timestamp(Microsecond, Some(\"UTC\"))') AS BIGINT)")
}

impl<'a> Acts<'a> {
    pub(super) fn new(catalog: &'a Catalog, viewer: Viewer, scope: AnalysisScope) -> Self {
        Self {
            catalog,
            viewer,
            scope,
            selects: Vec::new(),
            tables: Vec::new(),
            lookups: BTreeSet::new(),
            from: Some(scope.window.from),
            to: scope.window.to,
        }
    }

    /// Adds the acts that are of an event.
    pub(super) fn add(&mut self, event: &EventFilter, select: &Select<'_>) -> Result<(), Error> {
        let (kind, source) = self.catalog.event(event)?;
        let condition = kind.condition().map(|condition| format!(" AND {condition}"));
        let request = MetricRequest {
            zone: self.scope.window.zone,
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
            "SELECT {unit} AS unit, {AT} AS at, event_id AS id{columns} FROM {}{joins} WHERE {within}{}",
            context.rows(),
            condition.unwrap_or_default()
        ));
        self.tables.extend(source.tables.iter().filter_map(|name| Table::parse(name)));
        self.tables.extend(context.reads_organizations().then_some(Table::Organizations));
        self.from = self.from.zip(select.from).map(|(a, b)| a.min(b));
        self.to = self.to.max(select.to);
        Ok(())
    }

    /// Who did it, with the joins that it takes.
    fn whose(&mut self, source: &str) -> (&'static str, String) {
        let (unit, lookups): (_, &[Lookup]) = match (source, self.scope.unit) {
            ("activity_events", AnalysisUnit::Visitor) => {
                ("coalesce(anonymous_id, u_visitor)", &[Lookup::Users])
            }
            ("activity_events", AnalysisUnit::User) => {
                ("coalesce(user_id, s_user)", &[Lookup::Identities])
            }
            ("activity_events", AnalysisUnit::Organization) => {
                ("coalesce(organization_id, s_organization)", &[Lookup::Identities])
            }
            ("usage_events", AnalysisUnit::Visitor) => (
                "coalesce(u_visitor, CASE WHEN user_id IS NULL THEN o_visitor END)",
                &[Lookup::Users, Lookup::Founders],
            ),
            ("usage_events", AnalysisUnit::User) => ("user_id", &[]),
            ("billing_events", AnalysisUnit::Visitor) => ("o_visitor", &[Lookup::Founders]),
            ("billing_events", AnalysisUnit::User) => ("o_user", &[Lookup::Founders]),
            _ => ("organization_id", &[]),
        };
        self.lookups.extend(lookups);
        (unit, lookups.iter().map(|lookup| lookup.join()).collect())
    }

    /// The common table expressions of the sign-ups and of `acts`, which the statement begins with.
    pub(super) fn sql(&self) -> String {
        let mut sql = String::from("WITH ");
        if !self.lookups.is_empty() {
            let by_staff = sent_by_staff(self.viewer.audience);
            let by_staff =
                by_staff.map(|condition| format!(" AND {condition}")).unwrap_or_default();
            sql += &format!(
                "sign_ups AS (SELECT anonymous_id AS s_visitor, user_id AS s_user, organization_id AS s_organization, \
                 {AT} AS s_at, event_id AS s_id FROM activity_events WHERE action = 'signed_up'{by_staff}), "
            );
        }
        for lookup in &self.lookups {
            sql += lookup.table();
        }
        let selects = self.selects.join(" UNION ALL ");
        sql + &format!("acts AS (SELECT * FROM ({selects}) AS found WHERE unit IS NOT NULL)")
    }

    /// The rows that the statement depends on.
    pub(super) fn reads(&self) -> Vec<TableRead> {
        // A sign-up counts whenever it was.
        let of_sign_ups = (!self.lookups.is_empty()).then_some(Table::ActivityEvents);
        let tables: BTreeSet<Table> = self.tables.iter().copied().chain(of_sign_ups).collect();
        let read = |table: Table| match table.is_dimension() || Some(table) == of_sign_ups {
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
        let found = self.catalog.event(event);
        found.is_ok_and(|(_, source)| {
            source.dimension(&event.event, dimension, self.viewer.audience).is_ok()
        })
    }
}

impl Lookup {
    /// The join of it to the acts of a table.
    fn join(self) -> String {
        match self {
            Self::Identities => format!(
                " LEFT JOIN identities ON anonymous_id = s_visitor AND (s_since IS NULL OR {AT} >= s_since) \
                 AND (s_until IS NULL OR {AT} < s_until)"
            ),
            Self::Users => " LEFT JOIN users ON user_id = u_user".into(),
            Self::Founders => " LEFT JOIN founders ON organization_id = o_organization".into(),
        }
    }

    /// Its common table expression, over the sign-ups.
    fn table(self) -> &'static str {
        match self {
            Self::Identities => {
                "identities AS (SELECT s_visitor, s_user, s_organization, \
                 CASE WHEN row_number() OVER by_visitor > 1 THEN s_at END AS s_since, \
                 lead(s_at) OVER by_visitor AS s_until \
                 FROM sign_ups WHERE s_visitor IS NOT NULL \
                 WINDOW by_visitor AS (PARTITION BY s_visitor ORDER BY s_at, s_id)), "
            }
            Self::Users => {
                "users AS (SELECT s_user AS u_user, first_value(s_visitor ORDER BY s_at, s_id) AS u_visitor \
                 FROM sign_ups WHERE s_user IS NOT NULL AND s_visitor IS NOT NULL GROUP BY s_user), "
            }
            Self::Founders => {
                "founders AS (SELECT s_organization AS o_organization, \
                 first_value(s_visitor ORDER BY s_at, s_id) AS o_visitor, \
                 first_value(s_user ORDER BY s_at, s_id) AS o_user \
                 FROM sign_ups WHERE s_organization IS NOT NULL GROUP BY s_organization), "
            }
        }
    }
}

impl Catalog {
    /// The type of an event, and the source of its rows.
    pub(super) fn event<'e>(
        &self,
        event: &'e EventFilter,
    ) -> Result<(EventType<'e>, &Source), Error> {
        let found = EventType::parse(&event.event).and_then(|kind| {
            let source = self.sources().iter().find(|source| source.name == kind.source)?;
            Some((kind, source))
        });
        found.ok_or_else(|| {
            Error::Invalid(format!(
                "there is no event `{}`: write usage.request, billing.KIND, activity.ACTION, or a family such as activity.*",
                event.event
            ))
        })
    }

    /// Whether an event says what persons do.
    pub fn is_event_of_persons(&self, event: &EventFilter) -> bool {
        self.event(event).is_ok_and(|(_, source)| source.person.is_some())
    }
}
