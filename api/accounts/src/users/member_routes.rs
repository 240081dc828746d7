//! `/v1/members` and `/v1/invitations`: who belongs to an organization, as those handle it who manage it.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, put, web};
use chrono::{DateTime, Utc};
use pages::Language;
use rest::{
    body::Body,
    page::language,
    principal::{
        Ability, Authorized, ManageMembers, Principal, ReadMetrics, Role, caller, refuse_cross_site,
    },
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use state::State;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Accounts, Email, Invitation, Member, invitations, members_of, routes::UserView};

/// Whose members.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberParameters {
    /// For staff; everybody else means the own organization.
    organization_id: Option<String>,
}

/// A member.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberView {
    user_id: String,
    email: String,
    name: Option<String>,
    /// `user` or `enterprise`
    role: &'static str,
    /// `active`, `suspended` or `disabled`
    status: &'static str,
    /// Whether a second factor is asked for.
    second_factor: bool,
    #[schema(value_type = String, format = DateTime)]
    joined_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberList {
    members: Vec<MemberView>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleBody {
    /// Of a customer's user `user` or `enterprise`, of staff `admin`, `analyst` or `manager`.
    role: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InvitationBody {
    email: String,
    /// `user` or `enterprise`; of staff `admin`, `analyst` or `manager`.
    role: String,
    /// For staff: the organization; without one, the invitation is to staff.
    organization_id: Option<String>,
    /// Of the mail: `en` or `zh-CN`. Left out: what the `Accept-Language` header prefers.
    language: Option<String>,
}

/// An invitation that is not answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InvitationView {
    invitation_id: String,
    email: String,
    role: &'static str,
    /// The id of who invited.
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InvitationList {
    invitations: Vec<InvitationView>,
}

/// A token that a mail carried, and the password from then on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcceptBody {
    #[schema(format = Password)]
    token: String,
    #[schema(format = Password)]
    password: String,
    /// The address, where the invitation names none: that of the first administrator.
    email: Option<String>,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_members)
        .service(change_role)
        .service(remove_member)
        .service(list_invitations)
        .service(invite)
        .service(revoke_invitation)
        .service(accept_invitation);
}

/// The organization that a principal means. Staff without one means staff.
fn organization(principal: &Principal, asked: Option<String>) -> Result<Option<String>, Problem> {
    match (principal.reach.organization_id(), asked) {
        (Some(own), None) => Ok(Some(own.to_owned())),
        (Some(own), Some(asked)) if own == asked => Ok(Some(asked)),
        (Some(_), Some(_)) => Err(Problem::forbidden(
            Code::Forbidden,
            "`organization_id` is another organization than yours",
        )),
        // Staff is managed by administrators only.
        (None, None) if !principal.may(Ability::Administer) => {
            Err(Problem::invalid_parameters("say which `organization_id`"))
        }
        (None, asked) => Ok(asked),
    }
}

/// The one organization that a principal means.
pub(super) fn one_organization(
    principal: &Principal,
    asked: MemberParameters,
) -> Result<String, Problem> {
    let found = organization(principal, asked.organization_id)?;
    found.ok_or_else(|| Problem::invalid_parameters("say which `organization_id`"))
}

pub(super) fn role_of(text: &str) -> Result<Role, Problem> {
    Role::parse(text).map_err(|error| {
        Problem::bad_request(Code::InvalidField, format!("`role` {error}")).with("field", "role")
    })
}

/// The members of an organization, by address.
#[utoipa::path(
    tag = "members",
    params(MemberParameters),
    responses((status = 200, body = MemberList), (status = 400, body = Problem), Denied)
)]
#[get("/v1/members")]
async fn list_members(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<MemberParameters>, actix_web::Error>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    // A key of the organization may read usage, and not who works there.
    if !principal.may(Ability::Administer) && !principal.may(Ability::ManageKeys) {
        return Err(Problem::forbidden(
            Code::Forbidden,
            "members are for users of the organization",
        ));
    }
    let organization_id = one_organization(&principal, asked)?;
    let members = members_of(&state.store, &organization_id).await?;
    let members = members.into_iter().map(MemberView::from).collect();
    Ok(HttpResponse::Ok().json(MemberList { members }))
}

/// Changes the role of a member. The last one who manages an organization keeps the role, and so does the last
/// administrator.
#[utoipa::path(
    operation_id = "change_member_role",
    tag = "members",
    params(("user_id" = String, Path)),
    request_body = RoleBody,
    responses(
        (status = 204), (status = 400, body = Problem), Denied, (status = 404, body = Problem),
        (status = 409, description = "`last_administrator`", body = Problem),
    )
)]
#[put("/v1/members/{user_id}/role")]
async fn change_role(
    principal: Authorized<ManageMembers>,
    user_id: web::Path<String>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: RoleBody = body.json(&principal).await?;
    let (role, origin) = (role_of(&body.role)?, principal.origin(&request));
    let own = principal.reach.organization_id();
    accounts.set_role(own, &user_id, role, &origin, state.clock.now()).await?;
    state.departures.notify_waiters();
    Ok(HttpResponse::NoContent().finish())
}

/// Removes a member: ends the sessions, and frees the address for another account. What the member made stays.
#[utoipa::path(
    tag = "members",
    params(("user_id" = String, Path)),
    responses(
        (status = 204), Denied, (status = 404, body = Problem),
        (status = 409, description = "`last_administrator`", body = Problem),
    )
)]
#[delete("/v1/members/{user_id}")]
async fn remove_member(
    principal: Authorized<ManageMembers>,
    user_id: web::Path<String>,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (own, origin) = (principal.reach.organization_id(), principal.origin(&request));
    accounts.remove_member(own, &user_id, &origin, state.clock.now()).await?;
    state.departures.notify_waiters();
    Ok(HttpResponse::NoContent().finish())
}

/// Invitations that are not answered, the newest first.
#[utoipa::path(
    tag = "members",
    params(MemberParameters),
    responses((status = 200, body = InvitationList), (status = 400, body = Problem), Denied)
)]
#[get("/v1/invitations")]
async fn list_invitations(
    principal: Authorized<ManageMembers>,
    asked: Result<web::Query<MemberParameters>, actix_web::Error>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let of = organization(&principal, parameters(asked)?.organization_id)?;
    let found = invitations(&state.store, of.as_deref(), state.clock.now()).await?;
    let invitations = found.into_iter().map(InvitationView::from).collect();
    Ok(HttpResponse::Ok().json(InvitationList { invitations }))
}

/// Invites somebody by mail. The invitation holds for seven days.
#[utoipa::path(
    operation_id = "create_invitation",
    tag = "members",
    request_body = InvitationBody,
    responses(
        (status = 201, body = InvitationView), (status = 400, body = Problem), Denied,
        (status = 429, body = Problem),
    )
)]
#[post("/v1/invitations")]
async fn invite(
    principal: Authorized<ManageMembers>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: InvitationBody = body.json(&principal).await?;
    let of = organization(&principal, body.organization_id)?;
    let (email, role) = (Email::parse(&body.email)?, role_of(&body.role)?);
    let asked: Option<Language> = body.language.as_deref().and_then(Language::from_tag);
    let language = asked.unwrap_or_else(|| language(&request, None));
    let (origin, now) = (principal.origin(&request), state.clock.now());
    let made = accounts
        .invite(of.as_deref(), (&email, role), &principal.name, language, &origin, now)
        .await?;
    state.jobs.wake();
    Ok(HttpResponse::Created().json(InvitationView::from(made)))
}

/// Takes an invitation back.
#[utoipa::path(
    tag = "members",
    params(("invitation_id" = String, Path), MemberParameters),
    responses((status = 204), Denied, (status = 404, body = Problem))
)]
#[delete("/v1/invitations/{invitation_id}")]
async fn revoke_invitation(
    principal: Authorized<ManageMembers>,
    invitation_id: web::Path<String>,
    asked: Result<web::Query<MemberParameters>, actix_web::Error>,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let of = organization(&principal, parameters(asked)?.organization_id)?;
    let (origin, now) = (principal.origin(&request), state.clock.now());
    accounts.revoke_invitation(of.as_deref(), &invitation_id, &origin, now).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Creates the user who was invited, by the token of the mail.
#[utoipa::path(
    tag = "members",
    request_body = AcceptBody,
    responses(
        (status = 201, body = UserView),
        (status = 400, description = "`invalid_token` or `weak_password`", body = Problem),
        (status = 409, description = "`email_taken`", body = Problem),
    )
)]
#[post("/v1/auth/invitations/accept")]
async fn accept_invitation(
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: AcceptBody = body.json_of_stranger().await?;
    let (origin, now) = (caller("anonymous", &request), state.clock.now());
    let email = body.email.as_deref().map(Email::parse).transpose()?;
    let user = accounts.accept_invitation(&body.token, email, &body.password, &origin, now).await?;
    Ok(HttpResponse::Created().json(UserView::from(user)))
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        Self {
            role: member.user.role.as_str(),
            status: member.user.status.as_str(),
            user_id: member.user.user_id,
            email: member.user.email.to_string(),
            name: member.name,
            second_factor: member.has_second_factor,
            joined_at: member.joined_at,
        }
    }
}

impl From<Invitation> for InvitationView {
    fn from(invitation: Invitation) -> Self {
        Self {
            role: invitation.role.as_str(),
            invitation_id: invitation.invitation_id,
            email: invitation.email,
            created_by: invitation.created_by,
            created_at: invitation.created_at,
            expires_at: invitation.expires_at,
        }
    }
}
