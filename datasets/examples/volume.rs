//! Prints how much a profile yields and how fast: `cargo run --release -p datasets --example volume -- 1 300 120`
//! (seed, organizations, days; with a fourth argument the truth as JSON).

use std::time::Instant;

use datasets::{Business, Profile};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<u64> =
        std::env::args().skip(1).map_while(|argument| argument.parse().ok()).collect();
    let standard = Profile::default();
    let number = |at: usize, or: u64| numbers.get(at).copied().unwrap_or(or);
    let profile = Profile::ending(
        number(0, standard.seed),
        u32::try_from(number(1, u64::from(standard.organizations)))?,
        u32::try_from(number(2, u64::from(standard.days)))?,
        standard.end(),
    )?;

    let began = Instant::now();
    let business = Business::new(profile);
    println!("organizations {} in {:?}", business.organizations().len(), began.elapsed());

    let began = Instant::now();
    let mut tally = business.tally();
    let (mut bytes, mut events) = (0, 0);
    for day in business.days() {
        bytes += day.ndjson.len();
        events += day.events;
        tally.add(&day.facts);
    }
    let seconds = began.elapsed().as_secs_f64();
    let truth = tally.truth();
    println!(
        "usage {} billing {} activity {}",
        truth.usage_events, truth.billing_events, truth.activity_events
    );
    println!(
        "{bytes} bytes, {:.0} per event, {:.0} events/s in {seconds:.2} s",
        bytes as f64 / events as f64,
        events as f64 / seconds
    );
    let began = Instant::now();
    let same = business.truth() == truth;
    println!("the truth alone in {:?}, same: {same}", began.elapsed());
    if numbers.len() > 3 {
        println!("{}", serde_json::to_string_pretty(&truth)?);
    }
    Ok(())
}
