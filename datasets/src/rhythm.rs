//! The day and the week: how busy each hour is, seen from UTC.

use crate::place::Country;
use crate::roster::OrganizationKind;

/// Local hours of a business: office hours above a floor of automated traffic. The mean is 1.
const OFFICE: [f64; 24] = [
    0.30, 0.27, 0.25, 0.25, 0.27, 0.32, 0.45, 0.75, 1.25, 1.75, 2.00, 1.95, 1.55, 1.70, 2.00, 1.95,
    1.80, 1.45, 1.05, 0.80, 0.65, 0.50, 0.41, 0.33,
];
/// Local hours of an individual: some of the day, most of the evening. The mean is 1.
const EVENING: [f64; 24] = [
    0.70, 0.45, 0.30, 0.20, 0.20, 0.25, 0.35, 0.55, 0.75, 0.90, 1.00, 1.05, 1.10, 1.05, 1.05, 1.10,
    1.15, 1.25, 1.45, 1.70, 1.95, 2.05, 1.90, 1.55,
];
/// Monday to Sunday.
const OFFICE_WEEK: [f64; 7] = [1.05, 1.12, 1.14, 1.10, 0.98, 0.38, 0.33];
const EVENING_WEEK: [f64; 7] = [0.95, 0.95, 0.97, 0.95, 0.92, 1.12, 1.14];

/// The factor of each UTC hour of a day, whose weekday is counted from Monday = 0.
pub(crate) fn hours(kind: OrganizationKind, place: &Country, weekday: u32) -> [f64; 24] {
    let (hours, week) = match kind {
        OrganizationKind::Business => (&OFFICE, &OFFICE_WEEK),
        OrganizationKind::Individual => (&EVENING, &EVENING_WEEK),
    };
    std::array::from_fn(|hour| {
        let local = hour as i32 + place.offset;
        let day = (weekday as i32 + local.div_euclid(24)).rem_euclid(7);
        hours[local.rem_euclid(24) as usize] * week[day as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::{EVENING, EVENING_WEEK, OFFICE, OFFICE_WEEK};

    #[test]
    fn rhythms_have_a_mean_of_about_one() {
        for table in [&OFFICE[..], &EVENING, &EVENING_WEEK] {
            let mean = table.iter().sum::<f64>() / table.len() as f64;
            assert!((mean - 1.0).abs() < 0.02, "{mean}");
        }
        assert!((OFFICE_WEEK.iter().sum::<f64>() / 7.0 - 0.87).abs() < 0.01);
    }
}
