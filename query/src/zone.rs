//! The zone that a session shows times in. A time stays the same instant; its day, its hour and how it is
//! written are those of the zone.

use std::sync::Arc;

use arrow::{array::timezone::Tz, datatypes::DataType};
use datafusion::{
    common::DataFusionError,
    datasource::TableProvider,
    logical_expr::{cast, ident},
    prelude::SessionContext,
};
use serde::{Deserialize, Serialize};

use crate::{QueryError, Reason};

const UTC: &str = "UTC";

/// An IANA zone such as `Europe/Berlin`, or an offset such as `+02:00`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Zone(String);

impl Zone {
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.parse::<Tz>().is_err() {
            let message = format!("`{text}` is not a time zone; take a name such as Europe/Berlin");
            return Err(QueryError::new(Reason::Parameters, message));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A table whose times are in this zone. Truncating one then gives a day of the zone.
    pub(crate) fn present(
        &self,
        context: &SessionContext,
        table: Arc<dyn TableProvider>,
    ) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        if self.0 == UTC {
            return Ok(table);
        }
        let schema = table.schema();
        let columns = schema.fields().iter().map(|field| match field.data_type() {
            DataType::Timestamp(unit, Some(_)) => {
                let zoned = DataType::Timestamp(*unit, Some(self.0.as_str().into()));
                cast(ident(field.name()), zoned).alias(field.name())
            }
            _ => ident(field.name()),
        });
        Ok(context.read_table(table)?.select(columns.collect::<Vec<_>>())?.into_view())
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(UTC.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_names_or_offsets() {
        for zone in ["UTC", "Europe/Berlin", "America/New_York", "+05:30"] {
            assert_eq!(Zone::parse(zone).unwrap().as_str(), zone);
        }
        for other in ["", "Berlin", "utc'", "+99:00", "../../etc/localtime"] {
            assert!(Zone::parse(other).is_err(), "{other}");
        }
    }
}
