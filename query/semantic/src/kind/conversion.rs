//! A conversion: of the organizations that did one thing for the first time, how many do another within some days.

use crate::{
    Audience, Conversion, ConversionEvent,
    event::{EventType, sent_by_staff},
};

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
    let rows = |event| rows(event, audience);
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
fn rows(event: &ConversionEvent, audience: Audience) -> Result<String, String> {
    let known = EventType::parse(&event.event).filter(|_| !event.event.ends_with(".*"));
    let known =
        known.ok_or_else(|| format!("has the event `{}`, which is not there", event.event))?;
    // Organizations send no billing events.
    let by_staff = sent_by_staff(audience).filter(|_| known.source != "billing_events");
    let filter = event.filter.as_ref().map(|filter| format!("({filter})"));
    let conditions = [known.condition(), by_staff, filter].into_iter().flatten();
    let conditions: String = conditions.map(|condition| format!(" AND {condition}")).collect();
    Ok(format!("{} WHERE organization_id IS NOT NULL{conditions}", known.source))
}
