//! Any body in any form and coding is refused as a whole, or each of its events is a row or rejected.
#![no_main]

use ingest::{
    decode::{Coding, EventFormat, Sender, decode},
    identity::Pseudonyms,
    time::Window,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, body) = input;
    let form = [EventFormat::Json, EventFormat::Ndjson][usize::from(choice % 2)];
    let coding = [Coding::Identity, Coding::Gzip, Coding::Zstd][usize::from(choice / 2 % 3)];
    let Ok(body) = coding.unpack(body, 1 << 20) else { return };
    let pseudonyms = Pseudonyms::new([1; 32]);
    let sender = Sender { organization: None, grant: &ingest::Grant::ALL, pseudonyms: &pseudonyms, window: Window::ANY, is_strict: false };
    let decoded = match decode(form, &body, &sender, 1_800_000_000_000_000) {
        Ok(Ok(decoded)) => decoded,
        Ok(Err(_)) => return,
        Err(error) => panic!("{error}"),
    };
    // Each event is a row, which gets its verdict from the log, or it is rejected.
    let mut places: Vec<u32> = decoded.rejected.iter().map(|(place, _)| *place).collect();
    places.extend(decoded.batches.iter().flat_map(|batch| &batch.index));
    places.sort_unstable();
    places.dedup();
    assert!(places.into_iter().eq(0..decoded.events));
});
