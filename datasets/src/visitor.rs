//! Visitors of the site before they have an organization. Few of them sign up.
//!
//! A visitor has an `anonymous_id` and no subject. The event `activity.signed_up` carries the same
//! `anonymous_id` together with the new organization and its first user: it stitches the two lives.

use crate::activity::{Action, ActivityEvent, DEVICES, PAGES, REFERRERS};
use crate::business::DayContext;
use crate::day::DayFacts;
use crate::place::{self, PLACES};
use crate::random::{Purpose, Stream};
use crate::roster::{Account, DAY_US, SIGN_UP_DAYS};
use crate::write::Page;

/// Those who sign up, for each visitor who does not: 13 % of all sign up, a little less than the plan's 15 %.
const CONVERSION: f64 = 0.15;
/// A visitor comes back at most so many days after the first visit.
const RETURN_DAYS: u32 = 3;
const MINUTE_US: u64 = 60_000_000;
/// Tells visitors that will sign up from those that will not.
const CONVERTS: u64 = 1 << 40;

/// Writes and counts what visitors do on a day. `newcomers` sign up per [`SIGN_UP_DAYS`]; `accounts` are
/// those that sign up on this day or soon after it.
pub(crate) fn day<'a>(
    scene: &DayContext<'_>,
    newcomers: u32,
    accounts: impl Iterator<Item = &'a Account>,
    page: &mut Page,
    facts: &mut DayFacts,
) {
    let expected = f64::from(newcomers) / f64::from(SIGN_UP_DAYS) / CONVERSION;
    for back in 0..=RETURN_DAYS.min(scene.day) {
        let first_day = scene.day - back;
        let mut stream = Stream::new(scene.seed, Purpose::VisitorCount, 0, first_day);
        let count = stream.count(expected * bustle(scene.seed, first_day));
        for number in 0..count {
            let code = (u64::from(first_day) << 20) | u64::from(number);
            visitor(scene, code, back, page, facts);
        }
    }
    for account in accounts {
        newcomer(scene, account, page, facts);
    }
}

/// The days from `day` on whose sign-ups may already be visiting.
pub(crate) fn horizon(day: u32) -> std::ops::RangeInclusive<u32> {
    day..=day + RETURN_DAYS
}

/// Some days bring more visitors than others.
fn bustle(seed: u64, day: u32) -> f64 {
    Stream::new(seed, Purpose::VisitorCount, 1, day).spread(0.2)
}

/// Someone who never signs up: one visit, and with luck a second within three days.
fn visitor(scene: &DayContext<'_>, code: u64, back: u32, page: &mut Page, facts: &mut DayFacts) {
    let mut stream = Stream::new(scene.seed, Purpose::Visitor, code, 0);
    let guest = Guest::draw(&mut stream, code, anywhere);
    let returns = stream.chance(0.2).then(|| 1 + stream.below(RETURN_DAYS));
    if back != 0 && returns != Some(back) {
        return;
    }
    let mut visit = Stream::new(scene.seed, Purpose::Visit, code, back);
    let hour = f64::from(8 - PLACES[guest.place].offset) + visit.between(0.0, 15.0);
    let at = (hour.rem_euclid(24.0) * 3.6e9) as u64;
    guest.browse(scene, &mut visit, at, DAY_US, page, facts);
}

/// Someone who signs up: perhaps a first visit some days before, then the visit that ends with the sign-up.
fn newcomer(scene: &DayContext<'_>, account: &Account, page: &mut Page, facts: &mut DayFacts) {
    let Some(day) = account.sign_up_day else { return };
    let code = CONVERTS | u64::from(account.index);
    let mut stream = Stream::new(scene.seed, Purpose::Visitor, code, 0);
    let home = PLACES.iter().position(|place| place.country == account.place.country);
    let guest = Guest::draw(&mut stream, code, |_| home.unwrap_or(0));
    let lead = stream.below(2 * RETURN_DAYS).min(RETURN_DAYS);
    let mut visit = Stream::new(scene.seed, Purpose::Visit, code, day - scene.day);
    if day > scene.day {
        if day - scene.day == lead {
            let at = (visit.between(0.0, 23.0) * 3.6e9) as u64;
            guest.browse(scene, &mut visit, at, DAY_US, page, facts);
        }
        return;
    }
    let at = account.signed_up_us.unsigned_abs() % DAY_US;
    let begin = at.saturating_sub(u64::from(6 + visit.below(30)) * MINUTE_US);
    guest.browse(scene, &mut visit, begin, at, page, facts);
    facts.registered.push(code);
    let signed_up = ActivityEvent {
        organization: Some(account.index),
        user: Some(0),
        path: Some("/sign-up"),
        ..guest.act(scene, Action::SignedUp, at)
    };
    signed_up.write(scene, page, facts);
}

struct Guest {
    code: u64,
    place: usize,
    device: &'static str,
    referrer: &'static str,
}

/// The index of a place, drawn by its share.
fn anywhere(stream: &mut Stream) -> usize {
    stream.pick(&place::shares())
}

impl Guest {
    fn draw(stream: &mut Stream, code: u64, place: impl FnOnce(&mut Stream) -> usize) -> Self {
        Self {
            code,
            place: place(stream),
            device: stream.choose(&DEVICES),
            referrer: stream.choose(&REFERRERS),
        }
    }

    /// Looks at some pages from `begin` on, all of them before `end`.
    fn browse(
        &self,
        scene: &DayContext<'_>,
        stream: &mut Stream,
        begin: u64,
        end: u64,
        page: &mut Page,
        facts: &mut DayFacts,
    ) {
        facts.visitors.push(self.code);
        let mut at = begin;
        for _ in 0..1 + stream.below(6) {
            let view = ActivityEvent {
                path: Some(PAGES[stream.below(PAGES.len() as u32) as usize]),
                ..self.act(scene, Action::PageViewed, at)
            };
            view.write(scene, page, facts);
            at += u64::from(5_000_000 + stream.below(85_000_000));
            if at >= end {
                break;
            }
        }
    }

    fn act(&self, scene: &DayContext<'_>, action: Action, at: u64) -> ActivityEvent {
        ActivityEvent {
            at,
            action,
            organization: None,
            anonymous: Some(self.code),
            user: None,
            session: (1 << 63) | (u64::from(scene.day) << 42) | self.code,
            feature: None,
            path: None,
            referrer: Some(self.referrer),
            device: self.device,
            country: PLACES[self.place].country,
        }
    }
}
