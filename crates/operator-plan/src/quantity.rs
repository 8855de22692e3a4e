//! Quantities of Kubernetes in one spelling each: `1024Mi` and `1Gi` are the same.

/// The suffixes, each with its value in billionths. Those of whole numbers come last.
const SUFFIXES: [(&str, u128); 16] = [
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("", BILLION),
    ("k", BILLION * 1_000),
    ("M", BILLION * 1_000_000),
    ("G", BILLION * 1_000_000_000),
    ("T", BILLION * 1_000_000_000_000),
    ("P", BILLION * 1_000_000_000_000_000),
    ("E", BILLION * 1_000_000_000_000_000_000),
    ("Ki", BILLION << 10),
    ("Mi", BILLION << 20),
    ("Gi", BILLION << 30),
    ("Ti", BILLION << 40),
    ("Pi", BILLION << 50),
    ("Ei", BILLION << 60),
];

const BILLION: u128 = 1_000_000_000;

/// Returns the one spelling of a quantity: the largest suffix with a whole number before it, of the binary
/// ones if any of them fits. A text that isn't a quantity, or has an exponent, stays as it is.
pub fn canonical(text: &str) -> String {
    let Some(billionths) = billionths(text) else { return text.to_owned() };
    if billionths == 0 {
        return "0".to_owned();
    }
    let fitting = SUFFIXES.iter().rev().find(|(_, value)| billionths.is_multiple_of(*value));
    fitting.map_or_else(|| text.to_owned(), |(suffix, value)| format!("{}{suffix}", billionths / value))
}

fn billionths(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (_, unit) = SUFFIXES.iter().find(|(name, _)| *name == suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Finer than a billionth of the unit is no quantity that anybody writes.
    if number.is_empty() || number == "." || fraction.len() > 9 {
        return None;
    }
    let parsed = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let of_fraction = parsed(fraction)?.checked_mul(*unit)? / 10_u128.pow(fraction.len() as u32);
    parsed(whole)?.checked_mul(*unit)?.checked_add(of_fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_has_one_spelling() {
        for (spelling, others) in [
            ("1Gi", &["1Gi", "1024Mi", "1073741824", "1048576Ki", "1.0Gi"][..]),
            ("1536Mi", &["1.5Gi", "1536Mi"][..]),
            ("500m", &["500m", "0.5", ".5", "500000u"][..]),
            ("1500m", &["1.5", "1500m"][..]),
            ("2", &["2", "2000m", "2.0", "2."][..]),
            ("1G", &["1G", "1000M", "1000000000"][..]),
            ("0", &["0", "0m", "0Gi"][..]),
        ] {
            for other in others {
                assert_eq!(canonical(other), spelling, "{other}");
            }
        }
    }

    #[test]
    fn what_is_no_quantity_stays_as_it_is() {
        for text in ["", ".", "x", "1x", "1e3", "-1", "1..2", "99999999999999999999999999999999999999999Ei"] {
            assert_eq!(canonical(text), text);
        }
    }
}
