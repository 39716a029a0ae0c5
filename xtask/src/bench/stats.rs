//! Medians, percentiles and intervals of small samples.

/// The value below which `fraction` of the sorted sample lies.
pub(crate) fn percentile(values: &mut [f64], fraction: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index into the sample
    let at = (fraction * (values.len() - 1) as f64).round() as usize;
    values[at.min(values.len() - 1)]
}

/// The middle value.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    percentile(values, 0.5)
}

/// The lower end of the 95 % interval of the mean (Student's t for 15 and more pairs).
pub(crate) fn lower_bound(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    // t(0.975) falls from 2.15 at 14 degrees of freedom to 1.96; the larger is the cautious one.
    mean - 2.15 * (variance / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_samples() {
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((percentile(&mut [1.0, 2.0, 3.0, 4.0, 100.0], 1.0) - 100.0).abs() < 1e-9);
        assert!(lower_bound(&[1.0; 20]) > 0.999_999);
        assert!(lower_bound(&[0.9, 1.1, 0.9, 1.1]) < 0.9);
    }
}
