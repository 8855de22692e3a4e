//! Values as arguments: the text itself, `@FILE`, or `-` for standard input.

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use anyhow::Context as _;
use bytes::Bytes;

/// Reads what the argument stands for.
pub(super) fn read(argument: OsString) -> anyhow::Result<Bytes> {
    let bytes = argument.as_bytes();
    if bytes == b"-" {
        let mut value = Vec::new();
        std::io::stdin().read_to_end(&mut value).context("can't read the value from standard input")?;
        return Ok(value.into());
    }
    match bytes.strip_prefix(b"@") {
        Some(file) => {
            let file = OsStr::from_bytes(file);
            let value = std::fs::read(file).with_context(|| {
                format!(
                    "can't read the value from {} (a value that begins with @ can be piped in: `-`)",
                    file.display()
                )
            })?;
            Ok(value.into())
        }
        None => Ok(argument.into_vec().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_text_or_a_file() {
        assert_eq!(read("text".into()).unwrap(), "text");
        assert_eq!(read(OsString::new()).unwrap(), "");
        assert_eq!(read(OsString::from_vec(vec![0xff])).unwrap(), &[0xff][..]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\0\xff\n").unwrap();
        assert_eq!(read(format!("@{}", file.path().display()).into()).unwrap(), &b"\0\xff\n"[..]);
        assert!(read("@/no/such/file".into()).unwrap_err().to_string().contains("/no/such/file"));
    }
}
