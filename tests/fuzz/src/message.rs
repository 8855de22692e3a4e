//! Messages by their .proto files: any message that can be written, and valid ones with any field changed.

use std::collections::HashMap;

use anyhow::Context as _;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};

use crate::draw::Draw;
use crate::raw;

/// The most messages in each other that are drawn.
const DEEPEST: u32 = 7;
/// The most elements that a list is swollen by: more than a message may have.
const SWOLLEN: usize = 200_000;
/// The ways into a message that are tried in search of a list.
const TRIES: usize = 20;

/// Draws messages.
pub(crate) struct Messages {
    pool: DescriptorPool,
    /// Messages that are valid where the inputs go, by type: drawn messages have them in most places.
    known: HashMap<String, Vec<DynamicMessage>>,
}

impl Messages {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let pool = DescriptorPool::decode(skv_proto::FILE_DESCRIPTOR_SET).context("the .proto files")?;
        Ok(Messages { pool, known: HashMap::new() })
    }

    pub(crate) fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// Returns a type of messages.
    pub(crate) fn of(&self, name: &str) -> anyhow::Result<MessageDescriptor> {
        self.pool.get_message_by_name(name).with_context(|| format!("there is no message {name}"))
    }

    /// Adds a valid message of a type.
    pub(crate) fn know(&mut self, name: &str, message: &impl prost::Message) -> anyhow::Result<()> {
        let known = DynamicMessage::decode(self.of(name)?, message.encode_to_vec().as_slice())?;
        self.known.entry(name.to_owned()).or_default().push(known);
        Ok(())
    }

    /// Draws the bytes of a message: mostly one that can be decoded.
    pub(crate) fn bytes(&self, draw: &mut Draw, of: &MessageDescriptor) -> Vec<u8> {
        if draw.chance(3) {
            return draw.random_bytes(300);
        }
        let mut message = self.message(draw, of, 0);
        while draw.chance(30) {
            self.change(draw, &mut message);
        }
        let mut bytes = message.encode_to_vec();
        if draw.chance(12) {
            raw::change(draw, &mut bytes);
        }
        if draw.chance(1) {
            swell(draw, of, &mut bytes);
        }
        bytes
    }

    /// Draws a message.
    fn message(&self, draw: &mut Draw, of: &MessageDescriptor, depth: u32) -> DynamicMessage {
        if draw.chance(80)
            && let Some(known) = self.known.get(of.full_name()).and_then(|known| draw.pick(known))
        {
            let mut message = known.clone();
            if draw.chance(15) {
                self.change(draw, &mut message);
            }
            return message;
        }
        let mut message = DynamicMessage::new(of.clone());
        for choice in of.oneofs() {
            let fields: Vec<FieldDescriptor> = choice.fields().collect();
            if draw.chance(90)
                && let Some(field) = draw.pick(&fields)
            {
                message.set_field(field, self.value(draw, field, depth));
            }
        }
        for field in of.fields().filter(|field| field.containing_oneof().is_none()) {
            if draw.chance(75) {
                message.set_field(&field, self.value(draw, &field, depth));
            }
        }
        message
    }

    fn value(&self, draw: &mut Draw, field: &FieldDescriptor, depth: u32) -> Value {
        if !field.is_list() {
            return self.single(draw, &field.kind(), depth);
        }
        let count = if depth > DEEPEST { 0 } else { draw.count() };
        Value::List((0..count).map(|_| self.single(draw, &field.kind(), depth)).collect())
    }

    fn single(&self, draw: &mut Draw, kind: &Kind, depth: u32) -> Value {
        match kind {
            Kind::Message(of) if depth > DEEPEST => Value::Message(DynamicMessage::new(of.clone())),
            Kind::Message(of) => Value::Message(self.message(draw, of, depth + 1)),
            Kind::Enum(of) => {
                let values: Vec<i32> = of.values().map(|value| value.number()).collect();
                let known = draw.pick(&values).copied().unwrap_or(0);
                Value::EnumNumber(if draw.chance(90) { known } else { draw.number() as i32 })
            }
            Kind::String => Value::String(draw.text()),
            Kind::Bytes => Value::Bytes(draw.bytes()),
            Kind::Bool => Value::Bool(draw.chance(50)),
            Kind::Double => Value::F64(f64::from_bits(draw.number())),
            Kind::Float => Value::F32(f32::from_bits(draw.number() as u32)),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(draw.number() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(draw.number().cast_signed()),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(draw.number() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(draw.number()),
        }
    }

    /// Changes a field somewhere in a message.
    pub(crate) fn change(&self, draw: &mut Draw, message: &mut DynamicMessage) {
        let is_message = |field: &FieldDescriptor| matches!(field.kind(), Kind::Message(_));
        let inner: Vec<FieldDescriptor> =
            message.fields().map(|(field, _)| field).filter(is_message).collect();
        if draw.chance(75)
            && let Some(field) = draw.pick(&inner)
        {
            match message.get_field_mut(field) {
                Value::Message(message) => return self.change(draw, message),
                Value::List(messages) if !messages.is_empty() && draw.chance(80) => {
                    let at = draw.below(messages.len());
                    if let Value::Message(message) = &mut messages[at] {
                        return self.change(draw, message);
                    }
                }
                _ => {}
            }
        }
        let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
        let Some(field) = draw.pick(&fields) else { return };
        if draw.chance(20) {
            message.clear_field(field);
        } else if let Value::List(elements) = message.get_field_mut(field)
            && !elements.is_empty()
            && draw.chance(60)
        {
            let (at, other) = (draw.below(elements.len()), draw.below(elements.len()));
            match draw.below(3) {
                0 => drop(elements.remove(at)),
                1 => elements.swap(at, other),
                _ => elements.insert(other, elements[at].clone()),
            }
        } else {
            let value = self.value(draw, field, 0);
            message.set_field(field, value);
        }
    }
}

/// Draws a message in which a list, at any depth, has very many elements of no bytes; and maybe comes in two
/// parts.
pub(crate) fn swollen(draw: &mut Draw, of: &MessageDescriptor) -> Vec<u8> {
    let Some(path) = (0..TRIES).find_map(|_| path_to_list(draw, of, DEEPEST)) else { return Vec::new() };
    let mut bytes = nested(&path, draw.below(SWOLLEN));
    if draw.chance(30) {
        bytes.extend(nested(&path, draw.below(SWOLLEN)));
    }
    bytes
}

/// Returns the numbers of the fields that lead to a list of a message, the list's own first.
fn path_to_list(draw: &mut Draw, of: &MessageDescriptor, depth: u32) -> Option<Vec<u32>> {
    let fields: Vec<FieldDescriptor> = of.fields().collect();
    let field = draw.pick(&fields)?;
    let goes_deeper = depth > 0 && (!field.is_list() || draw.chance(50));
    let mut path = match field.kind() {
        Kind::Message(inner) if goes_deeper => path_to_list(draw, &inner, depth - 1)?,
        _ if field.is_list() => Vec::new(),
        _ => return None,
    };
    path.push(field.number());
    Some(path)
}

/// Returns a message in which the field at the beginning of a path comes so many times without a byte.
fn nested(path: &[u32], times: usize) -> Vec<u8> {
    let mut message = Vec::new();
    for (depth, number) in path.iter().enumerate() {
        let mut key = Vec::new();
        encode_key(*number, WireType::LengthDelimited, &mut key);
        if depth == 0 {
            key.push(0);
            message = key.repeat(times);
        } else {
            encode_varint(message.len() as u64, &mut key);
            key.extend(message);
            message = key;
        }
    }
    message
}

/// Adds very many elements to a list, which have two bytes each.
fn swell(draw: &mut Draw, of: &MessageDescriptor, bytes: &mut Vec<u8>) {
    let lists: Vec<u32> = of.fields().filter(FieldDescriptor::is_list).map(|field| field.number()).collect();
    // A field up to 15 has one byte of a key, with the type of what has a length.
    if let Some(&number) = draw.pick(&lists)
        && number < 16
    {
        bytes.extend([(number << 3 | 2) as u8, 0].repeat(draw.below(SWOLLEN)));
    }
}
