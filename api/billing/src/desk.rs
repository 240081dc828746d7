//! What the features of this crate work with.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use delivery::Courier;
use serde::{Deserialize, Serialize};
use state::{State, secret::Secret};

use crate::{
    payments::{Call, PAYPAL, PayPal, STRIPE, Stripe},
    usage::UsageSource,
};

/// Prices, subscriptions and invoices. Clones share everything.
#[derive(Debug, Clone)]
pub struct Billing {
    /// The database, the clock and the background tasks.
    pub state: State,
    pub(crate) usage: Arc<dyn UsageSource>,
    pub(crate) courier: Arc<Courier>,
    pub(crate) settings: Arc<Settings>,
    /// If it is configured.
    pub(crate) stripe: Option<Arc<Stripe>>,
    pub(crate) paypal: Option<Arc<PayPal>>,
}

/// The section `billing` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The zone in which days of new subscriptions begin.
    #[serde(with = "zone_name")]
    pub zone: chrono_tz::Tz,
    /// Hours between the end of a billing period and its final invoice, in which usage still comes.
    pub grace_hours: u32,
    /// Invoices stay drafts until somebody of staff finalizes them.
    pub approve_drafts: bool,
    /// Days in which an invoice is to be paid.
    pub payment_days: u32,
    /// Days between reminders of an invoice that is overdue.
    pub reminder_days: u32,
    /// Days after which an overdue invoice suspends the organization.
    pub suspend_days: u32,
    /// Days after which an overdue invoice is given up as uncollectible.
    pub uncollectible_days: u32,
    /// The plan of an organization whose subscription has ended.
    pub plan_after: String,
    /// Who sells: its legal name.
    pub seller_name: String,
    /// Its address, in lines.
    pub seller_address: String,
    /// Its tax id.
    pub seller_tax_id: String,
    /// Where questions go.
    pub seller_email: String,
    /// Where money goes by bank transfer, in lines.
    pub seller_bank_account: String,
    /// The secret key of an account of Stripe; empty: there is none.
    pub stripe_secret_key: Secret,
    /// What Stripe signs its webhooks with.
    pub stripe_webhook_secret: Secret,
    /// Where Stripe is.
    pub stripe_url: String,
    /// The client id of an account of PayPal; empty: there is none.
    pub paypal_client_id: String,
    /// Its secret.
    pub paypal_secret: Secret,
    /// The id of our webhook at PayPal.
    pub paypal_webhook_id: String,
    /// Where PayPal is.
    pub paypal_url: String,
    /// Usage is kept for so many days; 0: for good. It is `retention.usage_ledger`.
    #[serde(skip)]
    pub usage_kept_days: u32,
    /// A font with Chinese letters for PDF; empty: one of the system.
    pub font: std::path::PathBuf,
}

/// Who sells, as it stands on invoices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Seller {
    /// Its legal name.
    pub name: String,
    /// Its address, in lines.
    pub address: String,
    /// Its tax id.
    pub tax_id: String,
    /// Where questions go.
    pub email: String,
    /// Where money goes by bank transfer, in lines.
    pub bank_account: String,
}

mod zone_name {
    use chrono_tz::Tz;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(zone: &Tz, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(zone.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Tz, D::Error> {
        let name = String::deserialize(from)?;
        let unknown =
            |_| D::Error::custom(format!("`{name}` is no time zone, such as Europe/Berlin"));
        name.parse().map_err(unknown)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            zone: chrono_tz::Tz::UTC,
            grace_hours: 1,
            approve_drafts: false,
            payment_days: 14,
            reminder_days: 7,
            suspend_days: 14,
            uncollectible_days: 90,
            plan_after: "free".to_owned(),
            seller_name: String::new(),
            seller_address: String::new(),
            seller_tax_id: String::new(),
            seller_email: String::new(),
            seller_bank_account: String::new(),
            stripe_secret_key: Secret::default(),
            stripe_webhook_secret: Secret::default(),
            stripe_url: "https://api.stripe.com".to_owned(),
            paypal_client_id: String::new(),
            paypal_secret: Secret::default(),
            paypal_webhook_id: String::new(),
            paypal_url: "https://api-m.paypal.com".to_owned(),
            usage_kept_days: 0,
            font: std::path::PathBuf::new(),
        }
    }
}

impl Settings {
    /// The first day whose usage is kept as a whole.
    pub(crate) fn kept_from(&self, now: DateTime<Utc>) -> NaiveDate {
        match self.usage_kept_days {
            0 => NaiveDate::MIN,
            // Days of the west begin later.
            days => (now - TimeDelta::days(i64::from(days) - 2)).date_naive(),
        }
    }

    /// Who sells.
    pub fn seller(&self) -> Seller {
        Seller {
            name: self.seller_name.clone(),
            address: self.seller_address.clone(),
            tax_id: self.seller_tax_id.clone(),
            email: self.seller_email.clone(),
            bank_account: self.seller_bank_account.clone(),
        }
    }

    /// Whether the values are possible.
    pub fn check(&self) -> Result<(), String> {
        if self.plan_after.is_empty() {
            return Err("`billing.plan_after` is the name of a plan".to_owned());
        }
        if self.grace_hours > 24 * 28 {
            return Err("`billing.grace_hours` is at most 672: four weeks".to_owned());
        }
        for (name, days) in [
            ("payment_days", self.payment_days),
            ("reminder_days", self.reminder_days),
            ("suspend_days", self.suspend_days),
            ("uncollectible_days", self.uncollectible_days),
        ] {
            if days > 3_650 || (name == "reminder_days" && days == 0) {
                return Err(format!("`billing.{name}` is 0 to 3650, and reminders are apart"));
            }
        }
        let is_half = |one: bool, other: bool| one != other;
        if is_half(
            self.stripe_secret_key.reveal().is_empty(),
            self.stripe_webhook_secret.reveal().is_empty(),
        ) {
            let both = "`billing.stripe_secret_key` and `billing.stripe_webhook_secret`";
            return Err(format!(
                "{both} are set together: without webhooks payments would be missed"
            ));
        }
        let is_there = !self.paypal_client_id.is_empty();
        if is_half(is_there, !self.paypal_secret.reveal().is_empty())
            || is_half(is_there, !self.paypal_webhook_id.is_empty())
        {
            let all = "`billing.paypal_client_id`, `paypal_secret` and `paypal_webhook_id`";
            return Err(format!(
                "{all} are set together: without webhooks payments would be missed"
            ));
        }
        for (name, url) in [("stripe_url", &self.stripe_url), ("paypal_url", &self.paypal_url)] {
            if !url.starts_with("https://") && !url.starts_with("http://127.0.0.1") {
                return Err(format!("`billing.{name}` begins with https://"));
            }
        }
        Ok(())
    }
}

impl Billing {
    /// Billing over the usage of the lake. Fails for settings that are not possible.
    pub fn new(
        state: State,
        usage: Arc<dyn UsageSource>,
        courier: Courier,
        settings: Settings,
    ) -> Result<Self, String> {
        settings.check()?;
        let stripe = match settings.stripe_secret_key.reveal() {
            "" => None,
            _ => Some(Arc::new(Stripe {
                call: Call::new(&settings.stripe_url)?,
                key: settings.stripe_secret_key.clone(),
                webhook_secret: settings.stripe_webhook_secret.clone(),
            })),
        };
        let paypal = match settings.paypal_client_id.as_str() {
            "" => None,
            id => Some(Arc::new(PayPal {
                call: Call::new(&settings.paypal_url)?,
                client_id: id.to_owned(),
                secret: settings.paypal_secret.clone(),
                webhook_id: settings.paypal_webhook_id.clone(),
            })),
        };
        let (courier, settings) = (Arc::new(courier), Arc::new(settings));
        Ok(Self { state, usage, courier, settings, stripe, paypal })
    }

    /// The payment providers that are configured.
    pub(crate) fn providers(&self) -> Vec<&'static str> {
        let known = [(self.stripe.is_some(), STRIPE), (self.paypal.is_some(), PAYPAL)];
        known.into_iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name).collect()
    }
}
