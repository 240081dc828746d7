//! The requests of one organization on one day.

use crate::business::DayContext;
use crate::day::DayFacts;
use crate::identity::{member, session};
use crate::price::{CATALOG, MODELS, Model, Operation, Quantities, Tier};
use crate::random::{Purpose, Stream};
use crate::roster::Account;
use crate::write::{EventHead, Fields, Page};

/// Requests per day of an organization of mean size on the first day.
const REQUESTS_PER_DAY: f64 = 75.0;
const HOUR_US: f64 = 3.6e9;

/// One request. Everything but its organization and what follows from that.
struct Request {
    /// Microseconds within the day.
    at: u64,
    hour: u32,
    model: &'static Model,
    tier: Tier,
    project: u32,
    key: u32,
    user: u32,
    feature: &'static str,
    tokens: Quantities,
    reasoning: u64,
    audio: [u64; 2],
    failure: Option<(u64, &'static str)>,
    latency_ms: u64,
    first_token_ms: Option<u64>,
    sdk: Option<&'static str>,
}

/// The expected requests of each hour of a day, before anything breaks.
pub(crate) fn expected(scene: &DayContext<'_>, account: &Account, level: f64) -> [f64; 24] {
    let growth = 1.0 + account.slope * f64::from(scene.day);
    let hourly = REQUESTS_PER_DAY / 24.0 * account.weight * growth * level;
    scene.hours(account).map(|factor| factor * hourly)
}

/// Writes and counts the requests of an organization.
pub(crate) fn day(
    scene: &DayContext<'_>,
    account: &Account,
    expected: &[f64; 24],
    page: &mut Page,
    facts: &mut DayFacts,
) {
    let entity = u64::from(account.index);
    let mut stream = Stream::new(scene.seed, Purpose::Usage, entity, scene.day);
    let mood = stream.spread(0.22) * 0.976;
    let mut liking = [0.0; MODELS];
    for (model, like) in liking.iter_mut().enumerate() {
        *like = scene.shares[model] * account.taste[model];
    }
    let mut busy = false;
    for (hour, usual) in (0_u32..).zip(expected) {
        let traffic =
            scene.anomaly.map_or(*usual, |anomaly| anomaly.traffic(hour, account.index, expected));
        for _ in 0..stream.count(traffic * mood) {
            let request = Request::draw(&mut stream, scene, account, hour, &liking);
            request.write(scene, account, page, facts);
            busy = true;
        }
    }
    if busy {
        facts.active.push(account.index);
    }
}

impl Request {
    fn draw(
        stream: &mut Stream,
        scene: &DayContext<'_>,
        account: &Account,
        hour: u32,
        liking: &[f64; MODELS],
    ) -> Self {
        const FEATURES: [&str; 6] =
            ["assistant", "search", "summaries", "agents", "support", "coding"];
        let at = ((f64::from(hour) + stream.unit()) * HOUR_US) as u64;
        let model = &CATALOG[stream.pick(liking)];
        let leaked =
            scene.anomaly.is_some_and(|a| a.leaks(hour, account.index)) && stream.chance(0.95);
        let skewed = stream.unit();
        let user = if leaked { 0 } else { (skewed * skewed * f64::from(account.users)) as u32 };
        let project = if leaked { 0 } else { stream.below(account.projects) };
        let key = if leaked { 0 } else { stream.below(2) };
        let tier = match stream.below(100) {
            0..7 => Tier::Batch,
            7..13 => Tier::Priority,
            _ => Tier::Standard,
        };
        let mut request = Self {
            at,
            hour,
            model,
            tier,
            project,
            key,
            user,
            feature: FEATURES[((account.index + project * 5) % 6) as usize],
            tokens: Quantities::default(),
            reasoning: 0,
            audio: [0, 0],
            failure: failure(stream, scene, hour, model),
            latency_ms: 0,
            first_token_ms: None,
            sdk: stream.chance(0.15).then_some("python"),
        };
        request.draw_tokens(stream);
        request.draw_latency(stream, scene.anomaly.map_or(1.0, |a| a.slowness(hour, model)));
        request
    }

    fn draw_tokens(&mut self, stream: &mut Stream) {
        let tokens = &mut self.tokens;
        match self.model.operation {
            Operation::Chat => {
                tokens.input = (1_500.0 * stream.spread(1.1)) as u64 + 8;
                if tokens.input > 1_024 && stream.chance(0.45) {
                    tokens.cached =
                        tokens.input * u64::from(20 + stream.below(70)) / 100 / 128 * 128;
                } else if tokens.input > 1_024 && stream.chance(0.2) {
                    tokens.cache_write = tokens.input * 3 / 4;
                }
                tokens.output = (300.0 * stream.spread(0.8)) as u64 + 1;
                if self.model.reasons {
                    self.reasoning = (480.0 * stream.spread(0.9)) as u64;
                    tokens.output += self.reasoning;
                }
            }
            Operation::Embedding => tokens.input = (260.0 * stream.spread(1.1)) as u64 + 4,
            Operation::Image => {
                tokens.input = (60.0 * stream.spread(0.6)) as u64 + 4;
                tokens.images = 1 + u64::from(stream.below(4));
            }
            Operation::Audio => {
                self.audio[0] = (380.0 * stream.spread(0.6)) as u64 + 10;
                self.audio[1] = (300.0 * stream.spread(0.6)) as u64 + 10;
                tokens.input = self.audio[0] + 12 + u64::from(stream.below(60));
                tokens.output = self.audio[1] + u64::from(stream.below(40));
            }
        }
        if self.failure.is_some() {
            let input = tokens.input;
            *tokens = Quantities { input, ..Quantities::default() };
            self.reasoning = 0;
            self.audio[1] = 0;
        }
    }

    fn draw_latency(&mut self, stream: &mut Stream, slowness: f64) {
        let first = self.model.first_token_ms * stream.spread(0.45) * slowness;
        let rest = self.model.token_ms * stream.spread(0.15) * slowness;
        let streams = self.model.operation == Operation::Chat && stream.chance(0.75);
        self.latency_ms = match self.failure {
            Some((503, _)) => 900 + u64::from(stream.below(4_000)),
            Some(_) => 15 + u64::from(stream.below(120)),
            None => (first + rest * self.tokens.output as f64) as u64 + 1,
        };
        if streams && self.failure.is_none() {
            self.first_token_ms = Some(first as u64 + 1);
        }
    }

    fn write(
        &self,
        scene: &DayContext<'_>,
        account: &Account,
        page: &mut Page,
        facts: &mut DayFacts,
    ) {
        let failed = self.failure.is_some();
        let (cost, list) = match failed {
            true => (0, 0),
            false => self.model.price(self.tier, &self.tokens),
        };
        facts.requests += 1;
        facts.errors += u64::from(failed);
        facts.input_tokens += self.tokens.input;
        facts.output_tokens += self.tokens.output;
        facts.cost_pico += u128::from(cost);
        facts.list_price_pico += u128::from(list);
        if scene.anomaly.is_some_and(|a| a.covers(self.hour, account.index, self.model)) {
            facts.observed.requests += 1;
            facts.observed.errors += u64::from(failed);
        }
        let head = EventHead {
            prefix: "req_",
            source: account.place.gateway,
            kind: "usage.request",
            organization: Some(account.index),
            at: self.at,
        };
        page.event(&head, |fields| {
            self.write_who(scene, account, fields);
            self.write_quantities(fields);
            self.write_outcome(fields);
            fields.text("region", account.place.region);
            fields.pico("cost", cost);
            fields.pico("list_price", list);
            fields.text("currency", "USD");
            if let Some(sdk) = self.sdk {
                fields.attribute("sdk", sdk);
            }
        });
    }

    fn write_who(&self, scene: &DayContext<'_>, account: &Account, fields: &mut Fields<'_>) {
        let id = |part| scene.ids.short(member(account.index, part));
        fields.code("project_id", "proj_", &id(self.project));
        fields.code("api_key_id", "key_", &id(self.project * 2 + self.key));
        fields.code("user_id", "user_", &id(self.user));
        if self.model.operation == Operation::Chat {
            let number = session(scene.day, self.hour, account.index, self.user);
            fields.code("session_id", "ses_", &scene.ids.long(number));
        }
        fields.text("model", self.model.name);
        fields.text("provider", self.model.provider);
        fields.text("operation", self.model.operation.name());
        fields.text("service_tier", self.tier.name());
        fields.text("feature", self.feature);
    }

    /// Quantities that do not occur are left out, but for the two token counts.
    fn write_quantities(&self, fields: &mut Fields<'_>) {
        fields.number("input_tokens", self.tokens.input);
        fields.number("output_tokens", self.tokens.output);
        for (key, value) in [
            ("cached_input_tokens", self.tokens.cached),
            ("cache_write_input_tokens", self.tokens.cache_write),
            ("reasoning_tokens", self.reasoning),
            ("audio_input_tokens", self.audio[0]),
            ("audio_output_tokens", self.audio[1]),
            ("images", self.tokens.images),
        ] {
            if value > 0 {
                fields.number(key, value);
            }
        }
    }

    fn write_outcome(&self, fields: &mut Fields<'_>) {
        match self.failure {
            Some((status, code)) => {
                fields.number("status_code", status);
                fields.text("error_code", code);
            }
            None => fields.number("status_code", 200),
        }
        fields.number("latency_ms", self.latency_ms);
        if let Some(first) = self.first_token_ms {
            fields.number("time_to_first_token_ms", first);
        }
        fields.flag("cache_hit", self.tokens.cached > 0);
    }
}

/// Usually 1.4 % of requests fail; more while the provider is out.
fn failure(
    stream: &mut Stream,
    scene: &DayContext<'_>,
    hour: u32,
    model: &Model,
) -> Option<(u64, &'static str)> {
    let outage = scene.anomaly.map_or(0.0, |a| a.outage(hour, model));
    if outage > 0.0 && stream.chance(outage) {
        return Some((503, "provider_unavailable"));
    }
    match stream.below(10_000) {
        0..60 => Some((429, "rate_limited")),
        60..100 => Some((400, "invalid_request")),
        100..125 => Some((500, "server_error")),
        125..140 => Some((503, "overloaded")),
        _ => None,
    }
}
