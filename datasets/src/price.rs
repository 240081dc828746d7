//! The models on sale and the exact price of a request.
//!
//! A price of one micro-dollar per million tokens is one pico-dollar (10⁻¹² USD) per token, so amounts are
//! whole pico-dollars: twelve fraction digits, and never a float. Price lists are such that every tier and
//! every purchase price is whole, too.

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Chat,
    Embedding,
    Image,
    Audio,
}

/// A model of an invented provider.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) provider: &'static str,
    pub(crate) operation: Operation,
    pub(crate) reasons: bool,
    /// List prices in pico-dollars per token, per image.
    input: u64,
    output: u64,
    image: u64,
    /// What AI Hub pays the provider, in percent of the list price.
    cost_percent: u64,
    /// Median milliseconds to the first token, and milliseconds per output token.
    pub(crate) first_token_ms: f64,
    pub(crate) token_ms: f64,
    /// Popularity on the first day and after 120 days; in between it moves in a straight line.
    share: [f64; 2],
}

pub(crate) const MODELS: usize = 10;
/// The day on which `merlin-3` appears and begins to take over from `merlin-2`.
pub(crate) const LAUNCH_DAY: u32 = 54;
const LAUNCHED: usize = 6;

const CENT: u64 = 10_000;

pub(crate) static CATALOG: [Model; MODELS] = [
    chat("aurora-large", "boreal", 300, 1_500, 74, [420.0, 14.0], [0.19, 0.15]),
    chat("aurora-mini", "boreal", 20, 80, 70, [210.0, 5.0], [0.20, 0.24]),
    of(Operation::Embedding, chat("aurora-embed", "boreal", 2, 0, 65, [45.0, 0.0], [0.13, 0.12])),
    reasoning(chat("mosaic-pro", "tessera", 500, 2_000, 78, [700.0, 16.0], [0.09, 0.11])),
    chat("mosaic-lite", "tessera", 10, 40, 68, [180.0, 4.0], [0.12, 0.11]),
    chat("merlin-2", "kestrel", 100, 400, 75, [330.0, 9.0], [0.16, 0.05]),
    reasoning(chat("merlin-3", "kestrel", 200, 800, 76, [380.0, 8.0], [0.0, 0.14])),
    image("mosaic-canvas", "tessera", 400, 80, [5_200.0, 0.0], [0.025, 0.03]),
    of(
        Operation::Audio,
        chat("spinnaker-voice", "halyard", 600, 2_400, 72, [260.0, 3.0], [0.025, 0.025]),
    ),
    chat("spinnaker-chat", "halyard", 60, 240, 70, [240.0, 7.0], [0.06, 0.04]),
];

/// The quantities of one request that have a price.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Quantities {
    pub(crate) input: u64,
    pub(crate) cached: u64,
    pub(crate) cache_write: u64,
    pub(crate) output: u64,
    pub(crate) images: u64,
}

/// How urgent a request is; it changes the price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Standard,
    Batch,
    Priority,
}

impl Tier {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Batch => "batch",
            Self::Priority => "priority",
        }
    }

    fn percent(self) -> u64 {
        match self {
            Self::Standard => 100,
            Self::Batch => 50,
            Self::Priority => 150,
        }
    }
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
            Self::Image => "image",
            Self::Audio => "audio",
        }
    }
}

impl Model {
    /// The (cost, list price) of a request in pico-dollars. Cached input costs a tenth, writing the cache a
    /// quarter more.
    pub(crate) fn price(&self, tier: Tier, of: &Quantities) -> (u64, u64) {
        let fresh = of.input - of.cached - of.cache_write;
        let base = fresh * self.input
            + of.cached * (self.input / 10)
            + of.cache_write * (self.input / 4 * 5)
            + of.output * self.output
            + of.images * self.image;
        let list = base / 100 * tier.percent();
        (list / 100 * self.cost_percent, list)
    }
}

/// The popularity of each model on a day.
pub(crate) fn shares(day: u32) -> [f64; MODELS] {
    let way = f64::from(day.min(120)) / 120.0;
    let launched = (f64::from(day) - f64::from(LAUNCH_DAY) + 1.0).clamp(0.0, 30.0) / 30.0;
    std::array::from_fn(|index| {
        let [first, last] = CATALOG[index].share;
        match index {
            LAUNCHED => last * launched,
            _ if CATALOG[index].provider == "kestrel" => first + (last - first) * launched,
            _ => first + (last - first) * way,
        }
    })
}

/// Prices are given in cents per million tokens.
const fn chat(
    name: &'static str,
    provider: &'static str,
    input_cents: u64,
    output_cents: u64,
    cost_percent: u64,
    [first_token_ms, token_ms]: [f64; 2],
    share: [f64; 2],
) -> Model {
    Model {
        name,
        provider,
        operation: Operation::Chat,
        reasons: false,
        input: input_cents * CENT,
        output: output_cents * CENT,
        image: 0,
        cost_percent,
        first_token_ms,
        token_ms,
        share,
    }
}

/// The price is given in hundredths of a cent per image.
const fn image(
    name: &'static str,
    provider: &'static str,
    price: u64,
    cost_percent: u64,
    pace: [f64; 2],
    share: [f64; 2],
) -> Model {
    let model = of(Operation::Image, chat(name, provider, 50, 0, cost_percent, pace, share));
    Model { image: price * 100_000_000, ..model }
}

const fn reasoning(model: Model) -> Model {
    Model { reasons: true, ..model }
}

const fn of(operation: Operation, model: Model) -> Model {
    Model { operation, ..model }
}

#[cfg(test)]
mod tests {
    use super::{CATALOG, LAUNCH_DAY, LAUNCHED, Model, Quantities, Tier, shares};

    #[test]
    fn every_unit_price_is_whole() {
        for Model { input, output, image, .. } in &CATALOG {
            for unit in [*input, input / 10, input / 4 * 5, *output, *image] {
                assert_eq!(unit % 100, 0, "the tier's percentage leaves no remainder");
                for percent in [50, 100, 150] {
                    assert_eq!(unit / 100 * percent % 100, 0, "nor does the cost's");
                }
            }
            assert_eq!(input % 20, 0, "a tenth and five quarters are whole");
        }
    }

    #[test]
    fn the_list_price_is_above_the_cost() {
        let of = Quantities { input: 1_000, cached: 256, cache_write: 128, output: 77, images: 0 };
        for model in &CATALOG {
            let (cost, list) = model.price(Tier::Standard, &of);
            assert!(cost < list);
        }
        // 616 × 3 $ + 256 × 0.3 $ + 128 × 3.75 $ + 77 × 15 $, per million.
        assert_eq!(CATALOG[0].price(Tier::Standard, &of).1, 3_559_800_000);
        assert_eq!(CATALOG[0].price(Tier::Batch, &of).1, 1_779_900_000);
    }

    #[test]
    fn a_model_launches_midway() {
        assert_eq!(shares(LAUNCH_DAY - 1)[LAUNCHED], 0.0);
        assert!(shares(LAUNCH_DAY)[LAUNCHED] > 0.0);
        assert!(shares(119)[LAUNCHED] > shares(119)[LAUNCHED - 1]);
    }
}
