//! What people do on the site: the acts of members here, those of visitors in `visitor`.

use crate::business::DayContext;
use crate::day::DayFacts;
use crate::identity::{member, session};
use crate::random::{Purpose, Stream};
use crate::roster::Account;
use crate::write::{EventHead, Page};

/// Acts of members for each request of their organization.
const ACTS_PER_REQUEST: f64 = 0.13;

pub(crate) const DEVICES: [&str; 4] = ["desktop", "desktop", "phone", "tablet"];
pub(crate) const REFERRERS: [&str; 4] = ["search", "direct", "newsletter", "community"];
pub(crate) const PAGES: [&str; 6] = ["/", "/pricing", "/models", "/docs", "/blog", "/about"];

#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    PageViewed,
    SignedUp,
    Login,
    FeatureUsed,
    KeyCreated,
    DocsViewed,
}

/// One act on the site.
pub(crate) struct ActivityEvent {
    /// Microseconds within the day.
    pub(crate) at: u64,
    pub(crate) action: Action,
    pub(crate) organization: Option<u32>,
    pub(crate) anonymous: Option<u64>,
    /// The number of the user within the organization.
    pub(crate) user: Option<u32>,
    pub(crate) session: u64,
    pub(crate) feature: Option<&'static str>,
    pub(crate) path: Option<&'static str>,
    pub(crate) referrer: Option<&'static str>,
    pub(crate) device: &'static str,
    pub(crate) country: &'static str,
}

/// Writes and counts the acts of an organization's members. They follow its usual traffic, whatever breaks.
pub(crate) fn day(
    scene: &DayContext<'_>,
    account: &Account,
    expected: &[f64; 24],
    page: &mut Page,
    facts: &mut DayFacts,
) {
    let entity = u64::from(account.index);
    let mut stream = Stream::new(scene.seed, Purpose::Activity, entity, scene.day);
    for (hour, usual) in (0_u32..).zip(expected) {
        for _ in 0..stream.count(usual * ACTS_PER_REQUEST) {
            member_act(&mut stream, scene, account, hour).write(scene, page, facts);
        }
    }
}

fn member_act(
    stream: &mut Stream,
    scene: &DayContext<'_>,
    account: &Account,
    hour: u32,
) -> ActivityEvent {
    const FEATURES: [&str; 4] = ["playground", "usage_report", "batch", "evaluations"];
    const CONSOLE: [&str; 4] = ["/console", "/console/usage", "/console/keys", "/console/billing"];
    const DOCS: [&str; 4] = ["/docs/quickstart", "/docs/chat", "/docs/errors", "/docs/limits"];
    let at = ((f64::from(hour) + stream.unit()) * 3.6e9) as u64;
    let user = stream.below(account.users);
    let (action, feature, path) = match stream.below(100) {
        0..24 => (Action::Login, None, Some("/login")),
        24..62 => (Action::FeatureUsed, Some(stream.choose(&FEATURES)), None),
        62..84 => (Action::PageViewed, None, Some(stream.choose(&CONSOLE))),
        84..99 => (Action::DocsViewed, None, Some(stream.choose(&DOCS))),
        _ => (Action::KeyCreated, None, Some("/console/keys")),
    };
    ActivityEvent {
        at,
        action,
        organization: Some(account.index),
        anonymous: None,
        user: Some(user),
        session: session(scene.day, hour, account.index, user),
        feature,
        path,
        referrer: None,
        device: DEVICES[(user % 4) as usize],
        country: account.place.country,
    }
}

impl Action {
    fn event_type(self) -> &'static str {
        match self {
            Self::PageViewed => "activity.page_viewed",
            Self::SignedUp => "activity.signed_up",
            Self::Login => "activity.login",
            Self::FeatureUsed => "activity.feature_used",
            Self::KeyCreated => "activity.key_created",
            Self::DocsViewed => "activity.docs_viewed",
        }
    }
}

impl ActivityEvent {
    pub(crate) fn write(&self, scene: &DayContext<'_>, page: &mut Page, facts: &mut DayFacts) {
        facts.activity_events += 1;
        let head = EventHead {
            prefix: "act_",
            source: "/web",
            kind: self.action.event_type(),
            organization: self.organization,
            at: self.at,
        };
        page.event(&head, |fields| {
            if let Some(number) = self.anonymous {
                fields.code("anonymous_id", "anon_", &scene.ids.long(number));
            }
            if let (Some(organization), Some(user)) = (self.organization, self.user) {
                fields.code("user_id", "user_", &scene.ids.short(member(organization, user)));
            }
            fields.code("session_id", "ses_", &scene.ids.long(self.session));
            for (key, value) in
                [("feature", self.feature), ("path", self.path), ("referrer", self.referrer)]
            {
                if let Some(value) = value {
                    fields.text(key, value);
                }
            }
            fields.text("device", self.device);
            fields.text("country", self.country);
        });
    }
}
