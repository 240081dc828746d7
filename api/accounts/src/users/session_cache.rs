//! Sessions of programs, remembered: whose they are, until anything about sessions or users changes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use state::{
    revision::{self, Remembered},
    store::{Store, StoreContext},
};

use super::{
    AccountError, SessionKind, User,
    session::{Session, user_of},
    session_row as row,
};

/// Beyond this many, they are read again.
const REMEMBERED_MAX: usize = 100_000;

/// Looks at one number for each request, and at the sessions themselves only when it has grown.
#[derive(Debug, Default)]
pub(super) struct SessionCache(Mutex<RememberedSessions>);

#[derive(Debug, Default)]
struct RememberedSessions {
    revision: i64,
    sessions: HashMap<String, (User, Session)>,
}

impl SessionCache {
    /// A session that is not over, with its user, who may sign in.
    pub(super) async fn find(
        &self,
        store: &Store,
        session_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<(User, Session)>, AccountError> {
        // First: what changes while the session is read is read once more.
        let revision = revision::read_of(store, Remembered::Sessions).await?;
        {
            let mut held = self.lock();
            if held.revision != revision || held.sessions.len() > REMEMBERED_MAX {
                *held = RememberedSessions { revision, sessions: HashMap::new() };
            }
            if let Some(found) = held.sessions.get(session_id) {
                return Ok((now < found.1.expires_at).then(|| found.clone()));
            }
        }
        let found = row::Entity::find()
            .filter(row::Column::SessionId.eq(session_id))
            .filter(row::Column::Kind.eq(<&str>::from(SessionKind::Program)))
            .filter(row::Column::ExpiresAt.gt(now.timestamp_micros()))
            .one(store.db())
            .await
            .doing("looking up a session")?;
        let Some(session) = found.map(Session::try_from).transpose()? else { return Ok(None) };
        let found = user_of(store, &session).await?.map(|user| (user, session));
        let mut held = self.lock();
        if let Some(found) = found.as_ref().filter(|_| held.revision == revision) {
            held.sessions.insert(session_id.to_owned(), found.clone());
        }
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, RememberedSessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
