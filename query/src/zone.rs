//! The zone that a session shows times in. A time stays the same instant; its day, its hour and how it is
//! written are those of the zone.

use arrow::array::timezone::Tz;
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
