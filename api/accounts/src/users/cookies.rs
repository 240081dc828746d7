//! The cookies of a browser that signed in.

use actix_web::{HttpRequest, cookie::Cookie};
use chrono::{DateTime, Utc};
use rest::principal::{Gate, SESSION_COOKIE};

use super::SignedInSession;

/// It admits to nothing: it only says that this browser has signed in before.
const DEVICE_COOKIE: &str = "aihub_device";
/// Browsers keep a cookie no longer than 400 days.
const DEVICE_LIFETIME_S: i64 = 400 * 24 * 3600;

/// What a browser gets that has signed in: its session, and the mark of its device.
pub(crate) fn signed_in(
    gate: &Gate,
    session: &SignedInSession,
    now: DateTime<Utc>,
) -> [Cookie<'static>; 2] {
    let lifetime_s = (session.expires_at - now).num_seconds();
    [
        gate.cookie(SESSION_COOKIE, session.token.reveal(), lifetime_s),
        gate.cookie(DEVICE_COOKIE, &session.device, DEVICE_LIFETIME_S),
    ]
}

/// The mark of the device, if the browser sends one.
pub(crate) fn mark(request: &HttpRequest) -> Option<String> {
    request.cookie(DEVICE_COOKIE).map(|cookie| cookie.value().to_owned())
}

/// The end of a session.
pub(super) fn signed_out(gate: &Gate) -> Cookie<'static> {
    gate.cookie(SESSION_COOKIE, "", 0)
}
