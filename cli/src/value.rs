//! Values as arguments: the text itself, `@FILE`, or `-` for standard input.

use std::io::Read as _;

use anyhow::Context as _;
use bytes::Bytes;

/// Reads the value that the argument stands for.
pub(crate) fn read(argument: String) -> anyhow::Result<Bytes> {
    if argument == "-" {
        let mut value = Vec::new();
        std::io::stdin().read_to_end(&mut value).context("can't read the value from standard input")?;
        return Ok(value.into());
    }
    match argument.strip_prefix('@') {
        Some(file) => {
            let value = std::fs::read(file).with_context(|| {
                format!("can't read the value from {file} (a value that begins with @ can be piped in: `-`)")
            })?;
            Ok(value.into())
        }
        None => Ok(argument.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_text_or_a_file() {
        assert_eq!(read("text".into()).unwrap(), "text");
        assert_eq!(read(String::new()).unwrap(), "");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\0\xff\n").unwrap();
        assert_eq!(read(format!("@{}", file.path().display())).unwrap(), &b"\0\xff\n"[..]);
        assert!(read("@/no/such/file".into()).unwrap_err().to_string().contains("/no/such/file"));
    }
}
