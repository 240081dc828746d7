//! Which of many p-values are discoveries.

/// Whether each of these p-values is a discovery, so that of all discoveries a share of at most `rate` is expected to be
/// false. Source: Benjamini and Hochberg, "Controlling the false discovery rate", JRSS B 57 (1995). A p-value that is no
/// number is none.
#[must_use]
pub fn discoveries(p_values: &[f64], rate: f64) -> Vec<bool> {
    let mut ordered: Vec<f64> = p_values.iter().copied().filter(|p| !p.is_nan()).collect();
    ordered.sort_by(f64::total_cmp);
    let count = ordered.len() as f64;
    let limit = ordered
        .iter()
        .enumerate()
        .filter(|(index, p)| **p <= rate * (*index as f64 + 1.0) / count)
        .map(|(_, p)| *p)
        .next_back();
    p_values.iter().map(|p| limit.is_some_and(|limit| *p <= limit)).collect()
}

#[cfg(test)]
mod tests {
    use super::discoveries;

    #[test]
    fn the_example_of_the_paper_has_four_discoveries() {
        let p_values = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0,
        ];
        let found = discoveries(&p_values, 0.05);
        assert_eq!(found.iter().filter(|found| **found).count(), 4);
        assert_eq!(found[..5], [true, true, true, true, false]);
    }

    #[test]
    fn nothing_is_found_among_nothing() {
        assert!(discoveries(&[], 0.05).is_empty());
        assert_eq!(discoveries(&[f64::NAN, 0.9], 0.05), [false, false]);
        assert_eq!(discoveries(&[f64::NAN, 0.01], 0.05), [false, true]);
    }
}
