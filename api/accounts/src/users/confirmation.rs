//! Acts that ask for the password again, some time after it was given: what a session that somebody else got hold of must not
//! do.

use actix_web::{HttpRequest, HttpResponse, post, web};
use chrono::{DateTime, TimeDelta, Utc};
use rest::{
    body::Body,
    principal::{Authorized, SignedIn},
    problem::{Code, Denied, Problem},
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde::Deserialize;
use state::{
    State,
    audit::AuditOrigin,
    revision::{self, Remembered},
    store::StoreContext,
};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    AccountError, Accounts, Session,
    recovery::{record, unchanged},
    routes::own_user,
    session_row as row,
};

/// The password of the user who asks.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordAgain {
    #[schema(format = Password)]
    password: String,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(confirm);
}

impl Accounts {
    /// Whether the password was given too long ago for acts that ask for it again.
    pub(crate) fn needs_confirmation(&self, session: &Session, now: DateTime<Utc>) -> bool {
        let lasts = TimeDelta::seconds(self.settings.confirm_seconds.get().into());
        now - session.confirmed_at >= lasts
    }

    /// Notes that the user of a session gave the password again. Guesses are counted as at sign-in.
    pub async fn confirm(
        &self,
        user_id: &str,
        session_id: &str,
        password: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let user = self.confirmed(user_id, password, origin).await?;
        let write = self.store.write().await?;
        unchanged(&write, &user).await?;
        row::Entity::update_many()
            .col_expr(row::Column::ConfirmedAt, Expr::value(now.timestamp_micros()))
            .filter(row::Column::UserId.eq(user_id))
            .filter(row::Column::SessionId.eq(session_id))
            .exec(write.db())
            .await
            .doing("noting that a password was given again")?;
        revision::bump_of(&write, Remembered::Sessions).await?;
        record(write, "user.confirmed", user_id, origin, now).await
    }
}

/// Takes the password again, for what was answered with `confirmation_required`: keys, members, and acts of administrators.
#[utoipa::path(
    operation_id = "confirm_password",
    tag = "accounts",
    request_body = PasswordAgain,
    responses(
        (status = 204), (status = 400, body = Problem), Denied, (status = 429, body = Problem),
    )
)]
#[post("/v1/auth/confirm")]
async fn confirm(
    principal: Authorized<SignedIn>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: PasswordAgain = body.json(&principal).await?;
    let user_id = own_user(&principal)?;
    let no_session = || Problem::forbidden(Code::Forbidden, "this is for users in a session");
    let session_id = principal.session_id.as_deref().ok_or_else(no_session)?;
    let origin = principal.origin(&request);
    accounts.confirm(user_id, session_id, &body.password, &origin, state.clock.now()).await?;
    Ok(HttpResponse::NoContent().finish())
}
