//! A size as Kubernetes writes quantities, whole numbers only.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A number of bytes that remembers how it was written, such as `10Gi`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    text: String,
    bytes: u64,
}

/// A text that isn't a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write a whole number and a unit, such as 10Gi")]
pub struct ParseSizeError(String);

const UNITS: [(&str, u64); 11] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("", 1),
];

impl Size {
    /// Returns a size of this number of gibibytes, 2^30 bytes each.
    pub(super) fn gibibytes(number: u32) -> Size {
        Size { text: format!("{number}Gi"), bytes: u64::from(number) << 30 }
    }

    /// Returns the number of bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        let parse = || {
            let (digits, unit) =
                text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
            let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
            let number: u64 = digits.parse().ok().filter(|_| !digits.starts_with('0'))?;
            number.checked_mul(*unit)
        };
        let bytes = parse().ok_or_else(|| ParseSizeError(text.to_owned()))?;
        Ok(Size { text: text.to_owned(), bytes })
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The length bounds the cost of the rules that read it.
        schemars::json_schema!({
            "type": "string",
            "maxLength": 16,
            "pattern": "^[1-9][0-9]*(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_and_stay_as_they_were_written() {
        for (text, bytes) in
            [("1", 1), ("256Mi", 256 << 20), ("10Gi", 10 << 30), ("1k", 1000), ("2T", 2_000_000_000_000)]
        {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, text));
        }
        assert_eq!(Size::gibibytes(3), "3Gi".parse().unwrap());
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "0", "Gi", "-1Gi", "1.5Gi", "1gi", "1 Gi", "1GiB", "99999999999Pi"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
