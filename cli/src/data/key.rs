//! A key as an argument: the text itself, hexadecimal digits, or `@FILE`. A key may be any bytes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::ValueHint;

/// The key of a command.
#[derive(Debug, clap::Args)]
pub(super) struct Key {
    /// The key; @FILE reads it from a file, exactly as it is there.
    #[arg(allow_negative_numbers = true, value_hint = ValueHint::Other)]
    key: OsString,
    /// The key is given in hexadecimal digits, two for each byte.
    #[arg(long)]
    hex: bool,
}

impl Key {
    /// Returns the bytes of the key.
    pub(super) fn read(self) -> anyhow::Result<Bytes> {
        let bytes = self.key.as_bytes();
        if self.hex {
            return from_hex(bytes);
        }
        match bytes.strip_prefix(b"@") {
            Some(file) => {
                let file = OsStr::from_bytes(file);
                let key = std::fs::read(file).with_context(|| {
                    format!(
                        "can't read the key from {} (a key that begins with @ can be given with --hex)",
                        file.display()
                    )
                })?;
                Ok(key.into())
            }
            None => Ok(self.key.into_vec().into()),
        }
    }
}

fn from_hex(digits: &[u8]) -> anyhow::Result<Bytes> {
    let pairs = digits.chunks(2);
    let byte = |pair: &[u8]| {
        let pair =
            std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2)
    };
    match pairs.map(byte).collect::<Option<Vec<u8>>>() {
        Some(bytes) => Ok(bytes.into()),
        None => bail!(
            "{:?} isn't hexadecimal: two digits for each byte, such as ff00",
            String::from_utf8_lossy(digits)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: impl Into<OsString>, hex: bool) -> anyhow::Result<Bytes> {
        Key { key: key.into(), hex }.read()
    }

    #[test]
    fn a_key_may_be_any_bytes() {
        assert_eq!(read("text", false).unwrap(), "text");
        assert_eq!(read(OsString::from_vec(vec![0xff, 1]), false).unwrap(), &[0xff, 1][..]);
        assert_eq!(read("fF0041", true).unwrap(), &[0xff, 0, 0x41][..]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"a\n").unwrap();
        assert_eq!(read(format!("@{}", file.path().display()), false).unwrap(), "a\n");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for digits in ["f", "fff", "xy", "+f", "0x"] {
            assert!(read(digits, true).is_err(), "{digits}");
        }
        let message = read("@/no/such/file", false).unwrap_err().to_string();
        assert!(message.contains("/no/such/file") && message.contains("--hex"), "{message}");
    }
}
