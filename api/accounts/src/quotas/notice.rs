//! Who is told that a quota is used up by half, by four fifths, or as a whole: each once in a month.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, Utc};
use delivery::{
    Channel, Content, NewDelivery, Personal, enqueue,
    webhooks::{self, EventType},
};
use sea_orm::{ActiveValue::Set, EntityTrait};
use serde_json::json;
use state::store::{StoreContext, StoreError, rfc3339};

use super::{Caller, Measure, Month, QuotaStanding, QuotaUnit, notice_row as row};
use crate::{Directory, keys::KeyError, users};

/// Hundredths of a quota. Where several are reached at once, the highest is told.
const THRESHOLDS: [i32; 3] = [100, 80, 50];
const PAUSE: Duration = Duration::from_secs(2);

/// What was told, as far as this process knows.
type Told = HashSet<(String, Month, QuotaUnit, String, i32)>;

pub(super) fn register(directory: &Directory) {
    let directory = directory.clone();
    directory.state.tasks.clone().keep("quota_notices", move || {
        let directory = directory.clone();
        async move {
            let mut told = Told::new();
            loop {
                let now = directory.state.clock.now();
                if let Err(error) = look(&directory, &mut told, now).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "thresholds of quotas are looked at again");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    });
}

/// Tells of every threshold that was reached and not told of.
async fn look(directory: &Directory, told: &mut Told, now: DateTime<Utc>) -> Result<(), KeyError> {
    let month = Month::of(now);
    told.retain(|(_, of, ..)| *of == month);
    for organization_id in directory.quotas.organizations(month) {
        let now = directory.state.clock.now();
        let organization = directory.keys.organization(&organization_id, now).await?;
        let Some(organization) = organization else { continue };
        let limits = directory.plans.limits(&organization.plan, &organization.overrides, now);
        let caller = Caller { organization_id: &organization_id, limits: &limits, key: None };
        // What is not counted yet is looked at the next time.
        for quota in directory.quotas.standing(&caller, now).unwrap_or_default() {
            let percent = quota.percent();
            let Some(threshold) = THRESHOLDS.into_iter().find(|at| percent >= i128::from(*at))
            else {
                continue;
            };
            let limit = shown(quota.limit);
            let name = (organization_id.clone(), month, quota.unit, limit, threshold);
            if !told.contains(&name) {
                tell(directory, &organization_id, month, &quota, threshold, now).await?;
                told.insert(name);
            }
        }
    }
    Ok(())
}

/// Tells of a threshold, unless that or a higher one was told of before.
async fn tell(
    directory: &Directory,
    organization_id: &str,
    month: Month,
    quota: &QuotaStanding,
    threshold: i32,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let recipients = users::addresses_of(&directory.state.store, organization_id).await?;
    let write = directory.state.store.write().await?;
    let name = month.start().format("%Y-%m").to_string();
    // Of another limit it is told anew.
    let unit = format!("{}:{}", quota.unit.as_str(), shown(quota.limit));
    for at in THRESHOLDS.into_iter().filter(|at| *at >= threshold) {
        let key = (organization_id.to_owned(), name.clone(), unit.clone(), at);
        let known = row::Entity::find_by_id(key).one(write.db()).await;
        if known.doing("reading notices of quotas")?.is_some() {
            return Ok(());
        }
    }
    let told = row::ActiveModel {
        organization_id: Set(organization_id.to_owned()),
        month: Set(name.clone()),
        unit: Set(unit.clone()),
        threshold: Set(threshold),
        told_at: Set(now.timestamp_micros()),
    };
    let added = row::Entity::insert(told).exec_without_returning(write.db()).await;
    added.doing("adding a notice of a quota")?;
    let reference = format!("quota:{organization_id}:{name}:{unit}:{threshold}");
    let content = content(organization_id, month, quota, threshold, now);
    let mails = recipients.into_iter().filter(|_| directory.courier.sends_mail());
    let mails = mails.map(|address| (Channel::Mail, address));
    let hook = Some(directory.quota_webhook.clone()).filter(|address| !address.is_empty());
    for (channel, address) in mails.chain(hook.map(|address| (Channel::Webhook, address))) {
        let new = NewDelivery {
            reference: reference.clone(),
            channel,
            address,
            content_id: reference.clone(),
            personal: Personal::new(),
            notice: None,
        };
        enqueue(&write, &new, &content, now).await?;
    }
    let event = EventType::QuotaThresholdReached;
    let data = json!({
        "period": content.json["period"], "threshold_percent": threshold, "quota": quota,
    });
    webhooks::publish(&write, organization_id, event, &data, now).await?;
    write.commit().await?;
    directory.state.jobs.wake();
    Ok(())
}

fn shown(measure: Measure) -> String {
    json!(measure).to_string().trim_matches('"').to_owned()
}

fn content(
    organization_id: &str,
    month: Month,
    quota: &QuotaStanding,
    threshold: i32,
    now: DateTime<Utc>,
) -> Content {
    let (unit, unit_zh) = match quota.unit {
        QuotaUnit::Requests => ("requests", "请求数"),
        QuotaUnit::Tokens => ("tokens", "Token 数"),
        QuotaUnit::Spend => ("spend", "花费"),
    };
    let currency = quota.currency.map(|code| format!(" {}", code.as_str())).unwrap_or_default();
    let (used, limit) = (shown(quota.used), shown(quota.limit));
    let until = month.end().format("%Y-%m-%d").to_string();
    let (effect, effect_zh) = match (quota.soft, threshold >= 100) {
        (true, _) => ("Calls beyond the quota are let through.", "超出配额的调用仍会放行。"),
        (false, true) => ("Calls are refused until the month ends.", "本月结束前，调用将被拒绝。"),
        (false, false) => ("Calls beyond the quota will be refused.", "超出配额的调用将被拒绝。"),
    };
    let subject = format!("{threshold} % of the monthly quota of {unit} is used");
    let text = format!(
        "Organization {organization_id} has used {used} of {limit}{currency} ({unit}) this month. {effect} \
         The quota begins anew on {until} (UTC).\n\n\
         组织 {organization_id} 本月已使用 {used} / {limit}{currency}（{unit_zh}）。{effect_zh}\
         配额将于 {until}（UTC）重新计算。\n"
    );
    let json = json!({
        "type": "quota.threshold_reached",
        "organization_id": organization_id,
        "period": {"start": rfc3339(month.start()), "end": rfc3339(month.end())},
        "threshold_percent": threshold,
        "quota": quota,
        "at": rfc3339(now),
    });
    Content { subject, text, json, ..Content::default() }
}
