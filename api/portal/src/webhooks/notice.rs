//! Who manages an organization is told by mail that one of its webhooks was turned off.

use std::time::Duration;

use accounts::managers_of;
use delivery::{
    Channel, Content, NewDelivery, Personal, enqueue,
    webhooks::{WebhookEndpoint, mark_told, turned_off},
};
use serde_json::{Value, json};
use state::{
    jobs::{JobError, JobKind, Repeat},
    store::StoreError,
};

use crate::Portal;

const EVERY: Duration = Duration::from_secs(15);

pub(super) fn register(portal: &Portal) {
    let kind = JobKind::new("webhook_notices");
    let working = portal.clone();
    portal.state.jobs.repeat(kind, Repeat::Every(EVERY), EVERY, move |_| {
        let portal = working.clone();
        async move {
            let told = tell(&portal).await.map_err(|error| JobError::of(&error))?;
            // Where nobody was to be told, no entry is kept.
            Ok(if told == 0 { Value::Null } else { json!({"told": told}) })
        }
    });
}

async fn tell(portal: &Portal) -> Result<usize, StoreError> {
    let store = &portal.state.store;
    let off = turned_off(store).await?;
    for endpoint in &off {
        let recipients = managers_of(store.db(), &endpoint.organization_id).await?;
        let link = portal.courier.links.to("/webhooks");
        let now = portal.state.clock.now();
        let reference = format!("webhook:{}:{}", endpoint.webhook_id, now.timestamp_micros());
        let content = content(endpoint, &link);
        let write = store.write().await?;
        for address in recipients.into_iter().filter(|_| portal.courier.sends_mail()) {
            let new = NewDelivery {
                reference: reference.clone(),
                channel: Channel::Mail,
                address,
                content_id: reference.clone(),
                personal: Personal::new(),
                notice: None,
            };
            enqueue(&write, &new, &content, now).await?;
        }
        mark_told(&write, &endpoint.webhook_id).await?;
        write.commit().await?;
    }
    portal.state.jobs.wake();
    Ok(off.len())
}

fn content(endpoint: &WebhookEndpoint, link: &str) -> Content {
    let (reason, reason_zh) = match endpoint.disabled_reason.as_deref() {
        Some("gone") => ("It answered that it is gone (410).", "对方返回 410，表示端点已不存在。"),
        _ => ("No delivery arrived for five days.", "连续五天没有一次发送成功。"),
    };
    let url = &endpoint.url;
    Content {
        subject: "A webhook was turned off · Webhook 已停用".into(),
        text: format!(
            "Nothing is sent to {url} any more. {reason} Turn it on again on the page of webhooks, and replay what \
             failed: {link}\n\n\
             已停止向 {url} 发送。{reason_zh} 请在 Webhook 页面重新启用，并重发失败的内容：{link}\n"
        ),
        ..Content::default()
    }
}
