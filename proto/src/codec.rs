//! The codec of all services: prost's, behind a look at the size that a message will have, and before a
//! look at the size that it has.

use std::marker::PhantomData;

use bytes::{Buf as _, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::{Error, Shaped, check_size};

/// Encodes `T`, and decodes those `U` that don't take too much memory.
#[derive(Debug, Clone)]
pub(crate) struct BoundedCodec<T, U>(PhantomData<fn(T) -> U>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        BoundedCodec(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Shaped + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> BoundedDecoder<U> {
        BoundedDecoder(ProstDecoder::new(BufferSettings::default()))
    }
}

/// Shorter messages may stay as they came, whatever is in them.
const SHORT: usize = 16 << 10;

/// Decodes messages that don't take too much memory.
#[derive(Debug)]
pub(crate) struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + Shaped> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // A message lies in one piece when it is decoded.
        check_size::<U>(message.chunk()).map_err(|excess| Error::InvalidArgument(excess.to_string()))?;
        let came = message.remaining();
        let decoded = self.0.decode(message)?;
        decoded.map(|decoded| compact(decoded, came)).transpose()
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Copies a message of which most isn't used: fields that are unknown here or were given twice. The bytes
/// of a message are kept by each part of it that waits, so that a key of one byte would keep megabytes.
fn compact<U: Message + Default>(message: U, came: usize) -> Result<U, Status> {
    if came <= SHORT || message.encoded_len() >= came / 2 {
        return Ok(message);
    }
    let used = Bytes::from(message.encode_to_vec());
    // Not both at once.
    drop(message);
    U::decode(used).map_err(|error| Status::internal(format!("a message that was just decoded: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::GetRequest;

    /// A request for a key of one byte, after this many bytes of a field that nobody knows.
    fn padded(padding: usize) -> Bytes {
        let mut bytes = Vec::new();
        prost::encoding::bytes::encode(999, &vec![7; padding], &mut bytes);
        bytes.extend(GetRequest { key: "k".into(), ..GetRequest::default() }.encode_to_vec());
        bytes.into()
    }

    #[test]
    fn a_key_does_not_keep_the_megabytes_that_it_came_with() {
        for (padding, kept) in [(1 << 20, false), (SHORT / 2, true)] {
            let came = padded(padding);
            let decoded = GetRequest::decode(came.clone()).unwrap();
            let request = compact(decoded, came.len()).unwrap();
            assert_eq!(request.key, "k");
            assert_eq!(!came.is_unique(), kept, "{padding}");
        }
    }

    #[test]
    fn a_message_of_which_most_is_used_is_not_copied() {
        let request = GetRequest { key: vec![7; 1 << 20].into(), ..GetRequest::default() };
        let came = Bytes::from(request.encode_to_vec());
        let decoded = GetRequest::decode(came.clone()).unwrap();
        let kept = compact(decoded, came.len()).unwrap();
        assert!(!came.is_unique() && kept == request);
    }
}
