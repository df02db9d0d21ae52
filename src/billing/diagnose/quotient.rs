//! How often one amount goes into another, in whole numbers.

use crate::money::Money;

/// The largest count whose product with `step` is not beyond `amount`, up to `limit`. `None` unless
/// both are positive or `amount` is zero.
pub fn quotient(amount: Money, step: Money, limit: u64) -> Option<u64> {
    if amount.is_negative() || step.is_negative() || step.is_zero() {
        return None;
    }
    let (mut low, mut high) = (0, limit.checked_add(1)?);
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        match step.checked_mul(middle) {
            Ok(product) if product <= amount => low = middle,
            // A product beyond every amount is beyond this one.
            _ => high = middle,
        }
    }
    Some(low)
}

/// `part` in per cent of `whole`, to one decimal, with its sign: `+4.0 %`. `None` where there is no
/// such number.
pub fn percent_words(part: Money, whole: Money) -> Option<String> {
    let twice = whole.abs().checked_mul(2).ok()?;
    let thousandths = part.abs().checked_mul(2_000).ok()?;
    let rounded = thousandths.checked_add(whole.abs()).ok()?;
    let tenths = quotient(rounded, twice, u64::from(u32::MAX))?;
    let sign = if part.is_zero() {
        ""
    } else if part.is_negative() {
        "-"
    } else {
        "+"
    };
    Some(format!("{sign}{}.{} %", tenths / 10, tenths % 10))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::money;
    use super::*;

    #[test]
    fn amounts_go_into_amounts_whole_times() {
        for (amount, step, count) in [
            ("1", "0.3", Some(3)),
            ("0.9", "0.3", Some(3)),
            ("0", "0.3", Some(0)),
            ("1e10", "1e-28", Some(1_000)),
            ("1", "0", None),
            ("-1", "1", None),
            ("1", "-1", None),
        ] {
            assert_eq!(
                quotient(money(amount), money(step), 1_000),
                count,
                "{amount} / {step}"
            );
        }
    }

    #[test]
    fn percentages_are_rounded_to_the_nearest_tenth() {
        for (part, whole, words) in [
            ("0.5", "12.5", Some("+4.0 %")),
            ("-0.00005", "0.00125", Some("-4.0 %")),
            ("0", "1", Some("0.0 %")),
            ("1", "3", Some("+33.3 %")),
            ("0.0005", "1", Some("+0.1 %")),
            ("1", "0", None),
        ] {
            let found = percent_words(money(part), money(whole));
            assert_eq!(found.as_deref(), words, "{part} of {whole}");
        }
    }
}
