//! Subscriptions of organizations: what customers and staff do to them. Each act that counts is an event of the lake, in the
//! transaction of the act, so that recurring revenue moves by exactly that.

mod acts;
mod announcing;
mod routes;
mod row;
mod stored;

use rest::feature::Feature;

pub(crate) use acts::Act;
pub(crate) use announcing::{SOURCE, announce};
pub(crate) use routes::{ActPreview, SubscriptionView};
pub use stored::StoredSubscription;
pub(crate) use stored::{newest, of_ids, open, put};

use crate::Billing;

/// Subscriptions.
pub(crate) const FEATURE: Feature<Billing> =
    Feature::new("subscriptions").with_routes(routes::routes);
