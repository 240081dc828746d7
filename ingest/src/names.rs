//! What others call our columns. A [`Vocabulary`] reads the payload of a gateway or an SDK by its own names; without
//! one, a name that is not ours becomes an attribute, and [`meant`] tells which column may have been meant.
//!
//! Sources of the names: the API references of OpenAI (chat completions, responses, usage) and Anthropic (messages),
//! LiteLLM's `StandardLoggingPayload` and spend logs, and the semantic conventions of OpenTelemetry for generative AI.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::value::RawValue;

use crate::{Table, decode::EventFormat, money};

/// The names of one system.
#[derive(Debug)]
pub struct Vocabulary {
    pub word: &'static str,
    /// Where its payload has what, and our column. `a.b` is the member `a.b`, or else the member `b` of the object `a`.
    /// Of two for one column the first that is there counts.
    pub(crate) members: &'static [(&'static str, &'static str)],
    pub(crate) fixed: &'static [Fixed],
}

/// What is so of all payloads of a system.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) member: &'static str,
    pub(crate) json: &'static str,
    /// Only where this column has a value.
    beside: &'static str,
}

/// A member of `data` that says how `input_tokens` is counted. `false`: without cached and cache-write tokens, which
/// are added then.
pub(crate) const INCLUDES_CACHED: &str = "input_includes_cached";

pub const VOCABULARIES: [Vocabulary; 4] = [
    Vocabulary {
        word: "openai",
        members: &[
            ("model", "model"),
            ("service_tier", "service_tier"),
            ("usage.prompt_tokens", "input_tokens"),
            ("usage.input_tokens", "input_tokens"),
            ("prompt_tokens", "input_tokens"),
            ("usage.prompt_tokens_details.cached_tokens", "cached_input_tokens"),
            ("usage.input_tokens_details.cached_tokens", "cached_input_tokens"),
            ("prompt_tokens_details.cached_tokens", "cached_input_tokens"),
            ("input_tokens_details.cached_tokens", "cached_input_tokens"),
            ("input_cached_tokens", "cached_input_tokens"),
            ("usage.prompt_tokens_details.audio_tokens", "audio_input_tokens"),
            ("prompt_tokens_details.audio_tokens", "audio_input_tokens"),
            ("input_audio_tokens", "audio_input_tokens"),
            ("usage.completion_tokens", "output_tokens"),
            ("usage.output_tokens", "output_tokens"),
            ("completion_tokens", "output_tokens"),
            ("usage.completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
            ("usage.output_tokens_details.reasoning_tokens", "reasoning_tokens"),
            ("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
            ("output_tokens_details.reasoning_tokens", "reasoning_tokens"),
            ("usage.completion_tokens_details.audio_tokens", "audio_output_tokens"),
            ("completion_tokens_details.audio_tokens", "audio_output_tokens"),
            ("output_audio_tokens", "audio_output_tokens"),
        ],
        fixed: &[],
    },
    Vocabulary {
        word: "anthropic",
        members: &[
            ("model", "model"),
            ("usage.input_tokens", "input_tokens"),
            ("usage.cache_read_input_tokens", "cached_input_tokens"),
            ("cache_read_input_tokens", "cached_input_tokens"),
            ("usage.cache_creation_input_tokens", "cache_write_input_tokens"),
            ("cache_creation_input_tokens", "cache_write_input_tokens"),
            ("usage.output_tokens", "output_tokens"),
            ("usage.service_tier", "service_tier"),
        ],
        fixed: &[Fixed { member: INCLUDES_CACHED, json: "false", beside: "input_tokens" }],
    },
    Vocabulary {
        word: "litellm",
        members: &[
            ("model", "model"),
            ("custom_llm_provider", "provider"),
            ("call_type", "operation"),
            ("prompt_tokens", "input_tokens"),
            ("usage.prompt_tokens", "input_tokens"),
            ("prompt_tokens_details.cached_tokens", "cached_input_tokens"),
            ("usage.prompt_tokens_details.cached_tokens", "cached_input_tokens"),
            ("cache_read_input_tokens", "cached_input_tokens"),
            ("usage.cache_read_input_tokens", "cached_input_tokens"),
            ("cache_creation_input_tokens", "cache_write_input_tokens"),
            ("usage.cache_creation_input_tokens", "cache_write_input_tokens"),
            ("completion_tokens", "output_tokens"),
            ("usage.completion_tokens", "output_tokens"),
            ("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
            ("usage.completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
            ("cache_hit", "cache_hit"),
            ("response_cost", "cost"),
            ("spend", "cost"),
            ("request_duration_ms", "latency_ms"),
            ("error_information.error_code", "error_code"),
            ("end_user", "user_id"),
            ("metadata.user_api_key_end_user_id", "user_id"),
            ("metadata.user_api_key_hash", "api_key_id"),
            ("api_key", "api_key_id"),
            ("metadata.user_api_key_team_id", "project_id"),
            ("team_id", "project_id"),
        ],
        // Its costs are in US dollars.
        fixed: &[Fixed { member: "currency", json: "\"USD\"", beside: "cost" }],
    },
    Vocabulary {
        word: "otel",
        members: &[
            ("gen_ai.request.model", "model"),
            ("gen_ai.response.model", "model"),
            ("gen_ai.provider.name", "provider"),
            ("gen_ai.system", "provider"),
            ("gen_ai.operation.name", "operation"),
            ("gen_ai.usage.input_tokens", "input_tokens"),
            ("gen_ai.usage.prompt_tokens", "input_tokens"),
            ("gen_ai.usage.cache_read.input_tokens", "cached_input_tokens"),
            ("gen_ai.usage.cache_creation.input_tokens", "cache_write_input_tokens"),
            ("gen_ai.usage.output_tokens", "output_tokens"),
            ("gen_ai.usage.completion_tokens", "output_tokens"),
            ("gen_ai.usage.reasoning.output_tokens", "reasoning_tokens"),
            ("gen_ai.conversation.id", "session_id"),
            ("openai.response.service_tier", "service_tier"),
            ("gen_ai.openai.response.service_tier", "service_tier"),
            ("http.response.status_code", "status_code"),
            ("error.type", "error_code"),
            ("enduser.id", "user_id"),
            ("user.id", "user_id"),
            ("cloud.region", "region"),
        ],
        fixed: &[],
    },
];

/// Other words for columns, that no vocabulary has.
const OTHERS: [(&str, &str); 22] = [
    ("tokens_in", "input_tokens"),
    ("tokens_out", "output_tokens"),
    ("tokens_prompt", "input_tokens"),
    ("tokens_completion", "output_tokens"),
    ("context_tokens", "input_tokens"),
    ("generated_tokens", "output_tokens"),
    ("cached_tokens", "cached_input_tokens"),
    ("cache_read_tokens", "cached_input_tokens"),
    ("cache_write_tokens", "cache_write_input_tokens"),
    ("cache_creation_tokens", "cache_write_input_tokens"),
    ("model_name", "model"),
    ("vendor", "provider"),
    ("latency", "latency_ms"),
    ("duration", "latency_ms"),
    ("duration_ms", "latency_ms"),
    ("ttft", "time_to_first_token_ms"),
    ("ttft_ms", "time_to_first_token_ms"),
    ("status", "status_code"),
    ("price", "list_price"),
    ("cost_usd", "cost"),
    ("user", "user_id"),
    ("interval", "billing_interval"),
];

impl Vocabulary {
    pub fn find(word: &str) -> Option<&'static Self> {
        VOCABULARIES.iter().find(|vocabulary| vocabulary.word == word)
    }

    /// Says that a word is none, with those that there are.
    pub fn unknown(word: &str) -> String {
        let words: Vec<_> = VOCABULARIES.iter().map(|v| format!("`{}`", v.word)).collect();
        format!("`{word}` is not one of {}", words.join(", "))
    }

    /// The events of a body with our names, one per line. What has no name of ours and is not in `attributes` is left
    /// out. What is no event stays as it is, for whoever rejects it.
    pub fn translate(&self, events: &[&str]) -> String {
        let mut text = String::new();
        for event in events {
            match self.translated(event) {
                Some(event) => text.push_str(&event),
                None => text.extend(event.chars().filter(|c| *c != '\n')),
            }
            text.push('\n');
        }
        text
    }

    /// The form of what [`Self::translate`] gives.
    pub const TRANSLATED: EventFormat = EventFormat::Ndjson;

    fn translated(&self, event: &str) -> Option<String> {
        let mut members: Object<'_> = serde_json::from_str(event).ok()?;
        let data: Object<'_> = serde_json::from_str(members.get("data")?.get()).ok()?;
        let mut named: BTreeMap<&str, &RawValue> = BTreeMap::new();
        for (name, value) in &data {
            let is_ours = Table::OF_EVENTS.iter().any(|table| table.place(name, 0).is_some())
                || [INCLUDES_CACHED, "attributes"].contains(&name.as_str());
            if is_ours && !is_none(value) {
                named.insert(name, value);
            }
        }
        for (path, column) in self.members {
            if !named.contains_key(column)
                && let Some(value) = find(&data, path)
            {
                named.insert(column, value);
            }
        }
        for Fixed { member, json, beside } in self.fixed {
            if named.contains_key(beside) && !named.contains_key(member) {
                named.insert(member, serde_json::from_str(json).ok()?);
            }
        }
        // Costs are computed in binary fractions.
        let cost = named.get("cost").and_then(|cost| money::rounded(cost.get()));
        let cost = cost.and_then(|cost| RawValue::from_string(cost).ok());
        if let Some(cost) = &cost {
            named.insert("cost", cost);
        }
        let data = serde_json::value::to_raw_value(&named).ok()?;
        members.insert("data".into(), &data);
        serde_json::to_string(&members).ok()
    }
}

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// Whether there is no value: `None` is what Python writes.
fn is_none(value: &RawValue) -> bool {
    ["null", "\"None\"", "\"\""].contains(&value.get())
}

/// What lies at a path, unless it is null.
fn find<'a>(object: &Object<'a>, path: &str) -> Option<&'a RawValue> {
    if let Some(value) = object.get(path) {
        return (!is_none(value)).then_some(*value);
    }
    path.match_indices('.').find_map(|(at, _)| {
        let inner: Object<'a> = serde_json::from_str(object.get(&path[..at])?.get()).ok()?;
        find(&inner, &path[at + 1..])
    })
}

/// The column of a table that a member with another name may be meant for.
pub fn meant(table: Table, member: &str) -> Option<&'static str> {
    let plain = plain(member);
    let (_, known) = KNOWN.iter().find(|(of, _)| *of == table)?;
    if let Some(column) = known.get(&plain) {
        return Some(column);
    }
    // Longer ones are no slips of the pen.
    let slips = plain.len() / 5;
    if slips == 0 || plain.len() > 32 {
        return None;
    }
    let near = table.columns().iter().filter_map(|column| {
        let distance = strsim::damerau_levenshtein(&plain, &self::plain(column.name));
        (distance <= slips).then_some((distance, column.name))
    });
    near.min().map(|(_, name)| name)
}

/// Other writings of the columns of each table, as [`plain`] gives them.
static KNOWN: LazyLock<[(Table, BTreeMap<String, &str>); 3]> = LazyLock::new(|| {
    // The last part of a path alone says something of tokens only.
    let last = |path: &'static str| path.rsplit('.').next().filter(|name| name.contains("tokens"));
    let theirs = VOCABULARIES.iter().flat_map(|vocabulary| vocabulary.members);
    let theirs = theirs.flat_map(|(path, column)| [(Some(*path), *column), (last(path), *column)]);
    let theirs = theirs.filter_map(|(name, column)| Some((name?, column)));
    let all: Vec<_> = theirs.chain(OTHERS).collect();
    Table::OF_EVENTS.map(|table| {
        let theirs = all.iter().filter(|(_, column)| table.place(column, 0).is_some());
        let own = table.columns().iter().map(|column| (column.name, column.name));
        (table, theirs.copied().chain(own).map(|(name, column)| (plain(name), column)).collect())
    })
});

/// A name without what is only a manner of writing: `inputTokens` and `input-tokens` are `inputtokens`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn translated(word: &str, data: &Value) -> Value {
        let event = json!({"id": "1", "type": "usage.request", "data": data}).to_string();
        let text = Vocabulary::find(word).unwrap().translate(&[&event]);
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&event["id"], &event["type"]), (&json!("1"), &json!("usage.request")));
        event["data"].clone()
    }

    #[test]
    fn payloads_are_read_by_their_own_names() {
        for (word, data, expected) in [
            (
                "openai",
                json!({"id": "chatcmpl-1", "model": "m", "choices": [{"message": {"content": "secret"}}],
                    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                        "completion_tokens_details": {"reasoning_tokens": 3}},
                    "latency_ms": 9, "attributes": {"team": "x"}}),
                json!({"model": "m", "input_tokens": 10, "output_tokens": 5, "cached_input_tokens": 4,
                    "audio_input_tokens": 0, "reasoning_tokens": 3, "latency_ms": 9, "attributes": {"team": "x"}}),
            ),
            (
                "openai",
                json!({"model": "m", "usage": {"input_tokens": 7, "output_tokens": 2,
                    "input_tokens_details": {"cached_tokens": 6}}}),
                json!({"model": "m", "input_tokens": 7, "output_tokens": 2, "cached_input_tokens": 6}),
            ),
            (
                "anthropic",
                json!({"model": "m", "usage": {"input_tokens": 2, "cache_read_input_tokens": 30,
                    "cache_creation_input_tokens": null, "output_tokens": 4}}),
                json!({"model": "m", "input_tokens": 2, "cached_input_tokens": 30, "output_tokens": 4,
                    "input_includes_cached": false}),
            ),
            (
                "litellm",
                json!({"model": "m", "custom_llm_provider": "p", "prompt_tokens": 3, "completion_tokens": 1,
                    "response_cost": 0.000125, "messages": [], "metadata": {"user_api_key_team_id": "t"}}),
                json!({"model": "m", "provider": "p", "input_tokens": 3, "output_tokens": 1, "cost": 0.000125,
                    "currency": "USD", "project_id": "t"}),
            ),
            (
                "otel",
                json!({"gen_ai.request.model": "m", "gen_ai.response.model": "m-1", "gen_ai.system": "p",
                    "gen_ai.usage.input_tokens": 3, "gen_ai.usage.cache_read.input_tokens": 1,
                    "gen_ai": {"usage": {"output_tokens": 4}}, "server.address": "x"}),
                json!({"model": "m", "provider": "p", "input_tokens": 3, "cached_input_tokens": 1,
                    "output_tokens": 4}),
            ),
            (
                "litellm",
                json!({"model": "m", "response_cost": 0.1 + 0.2, "cache_hit": "None"}),
                json!({"model": "m", "cost": 0.3, "currency": "USD"}),
            ),
            // Our own names win.
            ("openai", json!({"input_tokens": 1, "prompt_tokens": 2}), json!({"input_tokens": 1})),
        ] {
            assert_eq!(translated(word, &data), expected, "{word}");
        }
    }

    #[test]
    fn what_is_no_event_stays_as_it_is() {
        let openai = Vocabulary::find("openai").unwrap();
        for text in ["{", "[1]", "{\"data\": 5}", "{}"] {
            assert_eq!(openai.translate(&[text]), format!("{text}\n"));
        }
        assert!(Vocabulary::find("gateway").is_none());
        for vocabulary in &VOCABULARIES {
            for (_, column) in vocabulary.members {
                assert!(Table::UsageLedger.place(column, 0).is_some(), "{column}");
            }
        }
    }

    #[test]
    fn a_column_may_be_meant() {
        for (member, column) in [
            ("prompt_tokens", Some("input_tokens")),
            ("modell", Some("model")),
            ("inputTokens", Some("input_tokens")),
            ("input-tokens", Some("input_tokens")),
            ("output_token", Some("output_tokens")),
            ("gen_ai.usage.output_tokens", Some("output_tokens")),
            ("cache_read_input_tokens", Some("cached_input_tokens")),
            ("curency", Some("currency")),
            ("team", None),
            ("name", None),
            ("mode", None),
            ("id", None),
            ("plan", None),
            ("", None),
        ] {
            assert_eq!(meant(Table::UsageLedger, member), column, "{member}");
        }
        assert_eq!(meant(Table::BillingEvents, "prompt_tokens"), None);
        assert_eq!(meant(Table::BillingEvents, "ammount"), Some("amount"));
        assert_eq!(meant(Table::ActivityEvents, "referer"), Some("referrer"));
    }
}
