//! Changes of bytes without a look at what they mean.

use crate::draw::Draw;

/// The most changes of one input.
const CHANGES: usize = 4;

/// Changes some bytes.
pub(crate) fn change(draw: &mut Draw, bytes: &mut Vec<u8>) {
    for _ in 0..=draw.below(CHANGES) {
        change_once(draw, bytes);
    }
}

fn change_once(draw: &mut Draw, bytes: &mut Vec<u8>) {
    let inserted = draw.random_bytes(12);
    if bytes.is_empty() {
        bytes.extend(inserted);
        return;
    }
    let at = draw.below(bytes.len());
    let end = (at + 1 + draw.below(16)).min(bytes.len());
    match draw.below(8) {
        0 => bytes[at] ^= 1 << draw.below(8),
        1 => bytes[at] = draw.byte(),
        2 => bytes[at] = *draw.pick(&[0, 1, 0x7f, 0x80, 0xff]).unwrap_or(&0),
        3 => bytes.truncate(at),
        4 => drop(bytes.splice(at..at, inserted)),
        5 => drop(bytes.drain(at..end)),
        6 => {
            let again = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, again));
        }
        _ => {
            let number = draw.number().to_le_bytes();
            let end = (at + number.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
    }
}
