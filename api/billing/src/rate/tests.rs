use proptest::prelude::*;

use super::*;

fn tiers() -> impl Strategy<Value = Vec<Tier>> {
    proptest::collection::vec((1_u32..500, 0_i64..1_000, 0_i64..300), 1..5).prop_map(|steps| {
        let mut up_to = Decimal::ZERO;
        let count = steps.len();
        let tier = |(place, (width, unit, flat)): (usize, (u32, i64, i64))| {
            up_to += Decimal::new(width.into(), 1);
            let is_last = place + 1 == count;
            Tier {
                up_to: (!is_last).then_some(up_to),
                unit: Decimal::new(unit, 3),
                flat: Decimal::new(flat, 1),
            }
        };
        steps.into_iter().enumerate().map(tier).collect()
    })
}

fn charge(price: ChargeModel) -> Charge {
    Charge {
        name: "used".to_owned(),
        models: Vec::new(),
        in_advance: false,
        meter: Some("units".to_owned()),
        price,
        included: Decimal::ZERO,
        discount_percent: Decimal::ZERO,
        maximum: None,
        minimum: None,
    }
}

fn due(lines: &[RatedLine]) -> Decimal {
    lines.iter().map(|line| line.amount).sum()
}

proptest! {
    /// However a period is split, its parts cost what the whole costs, also below a maximum.
    #[test]
    fn a_split_changes_no_total(
        tiers in tiers(),
        is_volume in any::<bool>(),
        maximum in proptest::option::of(0_i64..3_000),
        included in 0_i64..200,
        steps in proptest::collection::vec(0_i64..2_000, 1..6),
    ) {
        let price = if is_volume { ChargeModel::Volume(tiers) } else { ChargeModel::Graduated(tiers) };
        let maximum = maximum.map(Decimal::from);
        let charge = Charge { included: included.into(), maximum, ..charge(price) };
        let quantities = steps.iter().map(|step| Decimal::new(*step, 1));
        let whole: Decimal = quantities.clone().sum();
        let whole = due(&rate(&charge, whole, &Progress::default(), 12).unwrap());
        let (mut before, mut billed) = (Decimal::ZERO, Decimal::ZERO);
        for quantity in quantities {
            let progress = Progress { before, billed, is_last: false };
            billed += due(&rate(&charge, quantity, &progress, 12).unwrap());
            before += quantity;
        }
        prop_assert_eq!(billed, whole);
    }

    /// The minimum and the maximum hold, whatever is used, and lines add up.
    #[test]
    fn bounds_hold(tiers in tiers(), quantity in 0_i64..10_000, least in 0_i64..500, more in 0_i64..500) {
        let (minimum, maximum) = (Decimal::from(least), Decimal::from(least + more));
        let bounds = Charge { minimum: Some(minimum), maximum: Some(maximum), ..charge(ChargeModel::Graduated(tiers)) };
        let lines = rate(&bounds, Decimal::new(quantity, 1), &Progress::default(), 2).unwrap();
        let sum: Decimal = lines.iter().map(|line| line.amount).sum();
        prop_assert!(sum >= minimum && sum <= maximum, "{} {} {}", minimum, sum, maximum);
        for line in &lines {
            prop_assert_eq!(line.amount, amount(line.gross - line.discount, 2) - line.capped);
        }
    }
}
