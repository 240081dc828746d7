//! A conversion: of the organizations that did one thing for the first time, how many do another within some days.

use ingest::grant::SELF_REPORTED;

use crate::{Audience, Conversion, filter::quoted};

/// The source of conversions. In its query `{start}` and `{goal}` are the events, and `{within}` the time.
pub(crate) const SOURCE: &str = "conversions";

/// What a conversion is of the rows of its source, and of how many.
pub(crate) const VALUE: &str = "count(*) FILTER (WHERE has_converted)";
pub(crate) const OVER: &str = "count(*)";

/// The query of the source for one conversion.
pub(crate) fn query(
    template: &str,
    conversion: &Conversion,
    audience: Audience,
) -> Result<String, String> {
    let rows = |event: &crate::ConversionEvent| rows(event, audience);
    Ok(template
        .replace("{start}", &rows(&conversion.start)?)
        .replace("{goal}", &rows(&conversion.goal)?)
        .replace("{within}", &format!("INTERVAL '{} days'", conversion.within_days)))
}

/// The stored tables that a conversion depends on.
pub(crate) fn tables(conversion: &Conversion) -> Vec<String> {
    let events = [&conversion.start, &conversion.goal];
    let tables = events.iter().filter_map(|event| ingest::event::table_of(&event.event));
    tables.map(|table| table.name().to_owned()).collect()
}

/// The table of an event, and the condition that a row is of it.
fn rows(event: &crate::ConversionEvent, audience: Audience) -> Result<String, String> {
    let unknown = || format!("has the event `{}`, which is not there", event.event);
    ingest::event::table_of(&event.event).ok_or_else(unknown)?;
    let (family, rest) = event.event.split_once('.').ok_or_else(unknown)?;
    let (table, mut condition) = match family {
        "billing" => ("billing_events", format!("kind = {}", quoted(rest))),
        "activity" => ("activity_events", format!("action = {}", quoted(rest))),
        _ => ("usage_events", "true".to_owned()),
    };
    if audience == Audience::Staff && table != "billing_events" {
        condition += &format!(" AND source NOT LIKE '{SELF_REPORTED}%'");
    }
    if let Some(filter) = &event.filter {
        condition += &format!(" AND ({filter})");
    }
    Ok(format!("{table} WHERE organization_id IS NOT NULL AND {condition}"))
}
