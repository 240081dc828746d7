//! Every `code` that a client can get. Programs decide by it: a code is never renamed, and never means something else.

use ingest::RejectionCode;
use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};
use utoipa::ToSchema;

/// What went wrong, in one stable word.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Code {
    // Who asks.
    /// 401: no key and no session.
    NoCredentials,
    /// 401: the e-mail address or the password is wrong, or the header is no `Bearer`.
    WrongCredentials,
    /// 401: the API key is unknown, expired or revoked.
    WrongKey,
    /// 403: the organization of the API key is suspended or disabled, or the key is not for this address.
    KeyDisabled,
    /// 401: sign in again.
    SessionOver,
    /// 403: the password was given too long ago for what is asked; see `POST /v1/auth/confirm`.
    ConfirmationRequired,
    /// 401: the password is right, and the code of the second factor is missing; see `challenge`.
    SecondFactorRequired,
    /// 401: the code of the second factor is wrong, or was used before.
    WrongCode,
    /// 403: the present password is wrong.
    WrongPassword,
    /// 403: nobody can register here, or only who is invited.
    RegistrationClosed,
    /// 403: no mail server is configured.
    NoMail,
    /// 403: a permission is missing, or another organization is named.
    Forbidden,
    /// 403: the request comes from another site.
    CrossSiteRequest,
    /// 403: the answer would show what says something of persons.
    PersonsHidden,

    // How it is asked.
    /// 400: a parameter of the address, or of a query, is unknown or not possible.
    InvalidParameters,
    /// 400: the body is not the JSON that is expected.
    InvalidJson,
    /// 400: the body cannot be read or unpacked.
    InvalidBody,
    /// 400: the form cannot be read.
    InvalidForm,
    /// 400: a header is not usable.
    InvalidHeader,
    /// 400: a field has a value that is not possible; `field` names it.
    InvalidField,
    /// 400: the `as_of` is of somebody else, or too old.
    InvalidAsOf,
    /// 400: the password is too short, or too common.
    WeakPassword,
    /// 400: a link of a mail is not valid any more: it was used, or is too old.
    InvalidToken,
    /// 400: there is no such organization.
    UnknownOrganization,
    /// 400: the persons to erase are not named as they must be.
    InvalidPersons,
    /// 404: nothing is there, or it belongs to somebody else.
    NotFound,
    /// 405: the path takes another method; see `Allow`.
    MethodNotAllowed,
    /// 408: the body did not come in time.
    RequestTimeout,
    /// 413: the body is too large, or holds too many events.
    PayloadTooLarge,
    /// 415: another content type or coding.
    UnsupportedMediaType,

    // When it is asked.
    /// 429: too much at once; see `Retry-After`.
    TooManyRequests,
    /// 429: too many queries of yours wait; see `Retry-After`.
    TooManyQueries,
    /// 503: not now; see `Retry-After`. `reason` may say why.
    Unavailable,
    /// 500: our fault. The log has more, under the request id.
    InternalError,

    // What is there already.
    /// 409: the second factor is on already, or off.
    SecondFactorState,
    /// 409: a user has this e-mail address.
    EmailTaken,
    /// 409: somebody else saved a query or a dashboard under this name.
    NameTaken,
    /// 409: too many versions of queries are saved, or too many bytes.
    TooManySavedQueries,
    /// 409: there are too many reports, or schedules of one.
    TooManyReports,
    /// 409: there are too many alerts.
    TooManyAlerts,
    /// 409: there are too many webhooks.
    TooManyWebhooks,
    /// 409: it cannot be done to the webhook as it stands: it is off, or the delivery is under way.
    WebhookState,
    /// 422: the idempotency key was used for another request.
    IdempotencyKeyReused,
    /// 409: a request with this idempotency key is under way.
    RequestInProgress,
    /// 409: there are too many annotations.
    TooManyAnnotations,
    /// 409: there are too many dashboards.
    TooManyDashboards,
    /// 409: there are too many links to the dashboard.
    TooManyLinks,
    /// 409: somebody else has saved in between.
    VersionConflict,
    /// 409: the incident is resolved.
    IncidentResolved,
    /// 403: the address is no user's, and its domain is not among `reports.recipient_domains`.
    RecipientNotAllowed,
    /// 409: only a failed job is tried again.
    JobNotFailed,
    /// 409: it is the last administrator who can sign in.
    LastAdministrator,
    /// 409: administrators see persons always.
    AlwaysGranted,
    /// 409: the query in the background is not done yet.
    QueryNotDone,
    /// 409: the import is at work, too large, was replaced, or still counts.
    ImportNotUsable,
    /// 409: the event is void, so it cannot be corrected.
    EventIsVoid,
    /// 409: an event of this kind is not voided or corrected by this key.
    NotCorrectable,
    /// 409: others change the event all the time.
    ChangedMeanwhile,

    // Billing.
    /// 409: the price was used, or would change what was used.
    PriceFrozen,
    /// 409: a plan has no price on a day that is asked for.
    PriceMissing,
    /// 409: it cannot be done to the subscription as it stands.
    SubscriptionState,
    /// 409: it cannot be done to the invoice as it stands.
    InvoiceState,
    /// 409: no font for the document is installed.
    FontMissing,
    /// 409: the payment provider is not configured.
    PaymentsNotConfigured,

    // Events; those of one event stand in its verdict, too.
    /// 400: the body is not UTF-8 or not JSON, or holds no event.
    MalformedBody,
    /// 400: every event was rejected; `results` says why.
    AllRejected,
    /// The line or element is not a JSON object.
    MalformedJson,
    /// Something required is absent or empty.
    MissingField,
    /// A member has another JSON type than its column.
    WrongType,
    /// The type is right, and the value is not possible.
    InvalidValue,
    /// `type` names no table.
    UnknownType,
    /// The key belongs to one organization, the event names another.
    WrongOrganization,
    /// Parts of the tokens exceed their total.
    InconsistentTokens,
    /// The JSON is nested too deep.
    TooDeep,
    /// The event is too old for the key.
    TimeTooOld,
    /// The event lies ahead of our clock.
    TimeInFuture,
    /// Too many attributes, or one that is not possible.
    InvalidAttributes,
    /// The same identity was accepted before with other content.
    IdConflict,
    /// The key may not send under this source.
    SourceNotAllowed,
    /// The key may not send events of this type.
    TypeNotAllowed,
    /// An organization's own key states no cost, price or currency.
    MoneyNotAllowed,
    /// With `strict=true`: a member of `data` is no column.
    UnknownMember,

    // Queries.
    /// 400: not SQL; `position` says where.
    SyntaxError,
    /// 400: SQL that names what is not there, or mixes types.
    InvalidQuery,
    /// 400: larger or harder than a statement may be.
    TooComplex,
    /// 403: it would write, or reach outside, or its form is not offered.
    NotAllowed,
    /// 409, 422: it failed on the rows.
    QueryFailed,
    /// 422: a number does not fit its type.
    NumberOutOfRange,
    /// 422: it needs more memory than it may use.
    OutOfMemory,
    /// 422: somebody stopped it.
    QueryCanceled,
    /// 422: the worker died.
    QueryLost,
    /// 413: more rows, or larger ones, than an answer may have.
    ResultTooLarge,
    /// 504: not done in time.
    DeadlineExceeded,
    /// 422: the past of the metric is too short to learn from.
    NotForecastable,
}

impl Code {
    /// The text in answers, such as `wrong_key`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Every code, in the order of their declaration.
    pub const ALL: &'static [Self] = Self::VARIANTS;
}

impl From<RejectionCode> for Code {
    fn from(code: RejectionCode) -> Self {
        match code {
            RejectionCode::MalformedJson => Self::MalformedJson,
            RejectionCode::MissingField => Self::MissingField,
            RejectionCode::WrongType => Self::WrongType,
            RejectionCode::InvalidValue => Self::InvalidValue,
            RejectionCode::UnknownType => Self::UnknownType,
            RejectionCode::WrongOrganization => Self::WrongOrganization,
            RejectionCode::InconsistentTokens => Self::InconsistentTokens,
            RejectionCode::InvalidAttributes => Self::InvalidAttributes,
            RejectionCode::TooDeep => Self::TooDeep,
            RejectionCode::TimeTooOld => Self::TimeTooOld,
            RejectionCode::TimeInFuture => Self::TimeInFuture,
            RejectionCode::IdConflict => Self::IdConflict,
            RejectionCode::SourceNotAllowed => Self::SourceNotAllowed,
            RejectionCode::TypeNotAllowed => Self::TypeNotAllowed,
            RejectionCode::MoneyNotAllowed => Self::MoneyNotAllowed,
            RejectionCode::UnknownMember => Self::UnknownMember,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_rejections_keep_their_words() {
        for &code in RejectionCode::ALL {
            assert_eq!(Code::from(code).as_str(), code.as_str());
        }
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
