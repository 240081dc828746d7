//! Who pays, as it stands on invoices: name, address, tax. Also who was suspended since an invoice was not paid.

mod routes;
mod row;

use accounts::organizations;
use chrono::{DateTime, Utc};
use ingest::control;
use rest::feature::Feature;
use rust_decimal::Decimal;
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, sea_query::OnConflict};
use serde::{Deserialize, Serialize};
use state::{
    audit::{self, AuditAction, AuditOrigin},
    store::{StoreContext, StoreError, Write},
};
use utoipa::ToSchema;

pub(crate) use routes::state_own;

use crate::{Billing, fault::Fault};

/// Customers.
pub(crate) const FEATURE: Feature<Billing> =
    Feature::new("billing_customers").with_routes(routes::routes);

const TABLE: &str = "billing_customers";
const LINE_MAX: usize = 200;
const ADDRESS_MAX: usize = 1_000;

/// Who pays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Customer {
    /// The legal name; empty: that of the organization.
    pub name: String,
    /// In lines.
    pub address: String,
    /// The tax id, such as a VAT number.
    pub tax_id: String,
    /// Where invoices are sent; empty: to the members who manage the organization.
    pub email: String,
    /// `en` or `zh-CN`: of invoices and mails.
    pub language: String,
    /// Percent of tax. Staff sets it.
    #[schema(value_type = String)]
    pub tax_percent: Decimal,
    /// The customer owes the tax itself: no tax is charged, and the invoice says so. Staff sets it.
    pub reverse_charge: bool,
}

impl Customer {
    /// What is charged as tax.
    pub(crate) fn charged_tax(&self) -> Decimal {
        if self.reverse_charge { Decimal::ZERO } else { self.tax_percent }
    }

    fn check(&self) -> Result<(), Fault> {
        for (field, text) in
            [("name", &self.name), ("tax_id", &self.tax_id), ("email", &self.email)]
        {
            if text.len() > LINE_MAX || control::in_name(text) {
                let reason = "is at most 200 bytes without control characters";
                return Err(Fault::invalid(field, reason));
            }
        }
        let mut lines = self.address.lines();
        if self.address.len() > ADDRESS_MAX || lines.any(control::in_name) {
            let reason = "is at most 1000 bytes in lines without control characters";
            return Err(Fault::invalid("address", reason));
        }
        if !self.email.is_empty() && accounts::Email::parse(&self.email).is_err() {
            return Err(Fault::invalid("email", "is an e-mail address, or empty"));
        }
        if !["", "en", "zh-CN"].contains(&self.language.as_str()) {
            return Err(Fault::invalid("language", "is `en` or `zh-CN`"));
        }
        let percent = self.tax_percent;
        if !(Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(&percent) || percent.scale() > 4 {
            return Err(Fault::invalid("tax_percent", "is 0 to 100, with at most four digits"));
        }
        if self.reverse_charge && self.tax_id.is_empty() {
            return Err(Fault::invalid("reverse_charge", "needs a `tax_id`"));
        }
        Ok(())
    }
}

/// Who pays for an organization; what was not said is empty.
pub(crate) async fn customer(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Customer, StoreError> {
    let found = row::Entity::find_by_id(organization_id).one(db).await;
    let Some(row) = found.doing("reading a customer")? else { return Ok(Customer::default()) };
    let damaged = |_| StoreError::Damaged { table: TABLE, what: "a profile that is not readable" };
    serde_json::from_str(&row.profile).map_err(damaged)
}

/// Stores who pays.
pub(crate) async fn store_customer(
    write: &Write,
    organization_id: &str,
    customer: &Customer,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    customer.check()?;
    put(write, organization_id, customer, now).await?;
    // A name or an address of a person could never be erased.
    let detail = serde_json::json!({
        "tax_percent": customer.tax_percent, "reverse_charge": customer.reverse_charge,
    });
    let target = organization_id.to_owned();
    let act = AuditAction { action: "organization.billing_changed", target, detail };
    Ok(audit::append(write, origin, act, now).await.map(drop)?)
}

async fn put(
    write: &Write,
    organization_id: &str,
    customer: &Customer,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let profile = serde_json::to_string(customer)
        .map_err(|_| StoreError::Damaged { table: TABLE, what: "a profile does not encode" })?;
    let stored = row::ActiveModel {
        organization_id: Set(organization_id.to_owned()),
        profile: Set(profile),
        suspended_at: Set(None),
        updated_at: Set(now.timestamp_micros()),
    };
    let replace = OnConflict::column(row::Column::OrganizationId)
        .update_columns([row::Column::Profile, row::Column::UpdatedAt])
        .to_owned();
    let stored = row::Entity::insert(stored).on_conflict(replace);
    let stored = stored.exec_without_returning(write.db()).await.doing("storing a customer");
    stored.map(drop).map_err(|error| match error {
        error if error.is_foreign_key_violation() => {
            Fault::Unknown(format!("organization `{organization_id}`"))
        }
        error => error.into(),
    })
}

/// Suspends an organization whose invoice is not paid, unless it does not work anyway.
pub(crate) async fn suspend(
    write: &Write,
    organization_id: &str,
    now: DateTime<Utc>,
) -> Result<bool, Fault> {
    use organizations::OrganizationStatus::{Active, Suspended};
    if organizations::change_status(write, organization_id, (Active, Suspended), &billing(), now)
        .await?
    {
        let customer = customer(write.db(), organization_id).await?;
        put(write, organization_id, &customer, now).await?;
        mark(write, organization_id, Some(now)).await?;
        return Ok(true);
    }
    Ok(false)
}

/// Lifts what [`suspend`] did. What somebody of staff suspended stays so.
pub(crate) async fn lift(
    write: &Write,
    organization_id: &str,
    now: DateTime<Utc>,
) -> Result<bool, Fault> {
    use organizations::OrganizationStatus::{Active, Suspended};
    let found = row::Entity::find_by_id(organization_id).one(write.db()).await;
    if found.doing("reading a customer")?.is_none_or(|row| row.suspended_at.is_none()) {
        return Ok(false);
    }
    mark(write, organization_id, None).await?;
    let change = (Suspended, Active);
    Ok(organizations::change_status(write, organization_id, change, &billing(), now).await?)
}

async fn mark(
    write: &Write,
    organization_id: &str,
    at: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    use sea_orm::{ColumnTrait, QueryFilter, sea_query::Expr};
    let at = at.map(|at| at.timestamp_micros());
    row::Entity::update_many()
        .col_expr(row::Column::SuspendedAt, Expr::value(at))
        .filter(row::Column::OrganizationId.eq(organization_id))
        .exec(write.db())
        .await
        .doing("suspending a customer")
        .map(drop)
}

/// Who acts where nobody asked.
pub(crate) fn billing() -> AuditOrigin {
    AuditOrigin::local("billing")
}
