//! Requests for pages: any method, path, header and body, several on a connection, and parts of requests.

use crate::draw::Draw;
use crate::raw;

const METHODS: [&str; 9] = ["GET", "GET", "HEAD", "POST", "OPTIONS", "CONNECT", "TRACE", "get", ""];
const PATHS: [&str; 12] = [
    "/metrics",
    "/livez",
    "/readyz",
    "/",
    "/metrics/",
    "//livez",
    "/../readyz",
    "/metrics?a=%00&b",
    "/%ff%00",
    "http://a:1/livez",
    "a:443",
    "*",
];
const VERSIONS: [&str; 6] = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", ""];
const HEADERS: [&str; 16] = [
    "Host: a",
    "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    "Accept: text/plain;q=nan, application/openmetrics-text;q=-inf",
    "Accept: text/*;q=1e39;q=,;,;;",
    "Accept-Encoding: gzip, br",
    "Connection: close",
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Content-Length: 5",
    "Content-Length: 18446744073709551615",
    "Content-Length: -1",
    "Expect: 100-continue",
    "Range: bytes=0-,-1",
];
const BODIES: [&[u8]; 5] =
    [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nhello", b"0\r\nHost: b\r\n\r\n"];
/// More headers than a request may have.
const MANY: usize = 200;

/// Draws the bytes of a connection: one request, or a few, or a part of one.
pub(super) fn requests(draw: &mut Draw) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=draw.below(3) {
        request(draw, &mut bytes);
    }
    if draw.chance(20) {
        raw::change(draw, &mut bytes);
    }
    if draw.chance(25) {
        bytes.truncate(draw.below(bytes.len() + 1));
    }
    bytes
}

fn request(draw: &mut Draw, bytes: &mut Vec<u8>) {
    let method = draw.pick(&METHODS).copied().unwrap_or_default();
    let version = draw.pick(&VERSIONS).copied().unwrap_or_default();
    let path = if draw.chance(8) { draw.text() } else { one(draw, &PATHS) };
    bytes.extend(format!("{method} {path} {version}\r\n").into_bytes());
    let headers = if draw.chance(3) { MANY } else { draw.count() };
    for _ in 0..headers {
        let header = one(draw, &HEADERS);
        let header = if draw.chance(15) { format!("{header}, {}", draw.text()) } else { header };
        bytes.extend(header.into_bytes());
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"\r\n");
    bytes.extend(draw.pick(&BODIES).copied().unwrap_or_default());
}

fn one(draw: &mut Draw, choices: &[&str]) -> String {
    draw.pick(choices).copied().unwrap_or_default().to_owned()
}
