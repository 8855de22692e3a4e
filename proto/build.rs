//! Compiles the .proto files in process, so that no protoc is needed, and notes where messages can hold
//! more than their bytes: `src/bound.rs` tells why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

const FILES: [&str; 10] = [
    "lab/v1/cluster",
    "lab/v1/lab",
    "v1/admin",
    "v1/common",
    "v1/entry",
    "v1/error",
    "v1/handoff",
    "v1/kv",
    "v1/raft",
    "v1/shard_manager",
];

/// The message with a field in a box. An error is many times as large as any other answer: unboxed, each answer
/// would take the memory of an error.
const WITH_BOX: &str = ".shardedkv.v1.Answer";
/// That field.
const BOXED: &str = ".shardedkv.v1.Answer.answer.error";
/// The type in the box.
const IN_BOX: &str = "crate::v1::Error";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files: Vec<PathBuf> = FILES.iter().map(|f| root.join(format!("shardedkv/{f}.proto"))).collect();
    println!("cargo:rerun-if-changed=shardedkv");

    let descriptors = protox::compile(&files, [&root])?;
    std::fs::write(out.join("shardedkv.bin"), descriptors.encode_to_vec())?;
    std::fs::write(out.join("shapes.rs"), shapes(&descriptors)?)?;
    // Services are for programs that send or receive; the others need the messages only.
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .codec_path("crate::codec::BoundedCodec")
        .bytes(".")
        .boxed(BOXED)
        .compile_fds(descriptors)?;
    Ok(())
}

/// Returns Rust code that gives each message its shape: the fields that are repeated, or have repeated
/// fields in them.
fn shapes(descriptors: &FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let mut messages = BTreeMap::new();
    for file in descriptors.file.iter().filter(|file| file.package().starts_with("shardedkv.")) {
        let module = file.package().trim_start_matches("shardedkv.").replace('.', "::");
        for message in &file.message_type {
            note(&mut messages, &format!(".{}", file.package()), &format!("crate::{module}"), message);
        }
    }
    // Those that are repeated, and then those that hold one that can grow, until there are no more.
    let mut growing: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = growing.len();
        for (name, (_, fields)) in &messages {
            if fields.iter().any(|field| is_repeated(field) || growing.contains(field.type_name())) {
                growing.insert(name);
            }
        }
        if growing.len() == before {
            break;
        }
    }
    let mut code = String::new();
    for (name, (path, fields)) in &messages {
        let counted = fields.iter().filter(|field| is_repeated(field) || growing.contains(field.type_name()));
        for element in fields.iter().filter(|field| is_repeated(field)) {
            if let Some((path, _)) = messages.get(element.type_name()) {
                let size = size_of_element(element.type_name(), path);
                writeln!(code, "const _: () = assert!({size} <= LARGEST_ELEMENT);")?;
            }
        }
        let fields: Vec<String> = counted.map(|field| shape_of(field, &messages, &growing)).collect();
        writeln!(code, "static {}: Shape = Shape {{ fields: &[{}] }};", constant(name), fields.join(", "))?;
        writeln!(code, "impl Shaped for {path} {{ const SHAPE: &'static Shape = &{}; }}", constant(name))?;
    }
    Ok(code)
}

/// A message's path in Rust, and its fields.
type Noted<'a> = (String, &'a [FieldDescriptorProto]);

fn note<'a>(
    messages: &mut BTreeMap<String, Noted<'a>>,
    package: &str,
    module: &str,
    message: &'a DescriptorProto,
) {
    let name = format!("{package}.{}", message.name());
    messages.insert(name.clone(), (format!("{module}::{}", message.name()), &message.field));
    let inner = format!("{module}::{}", snake_case(message.name()));
    for nested in &message.nested_type {
        note(messages, &name, &inner, nested);
    }
}

fn is_repeated(field: &FieldDescriptorProto) -> bool {
    field.label() == Label::Repeated
}

/// Returns the shape of a field; `growing` are the messages that can grow, and only those are looked into.
fn shape_of(
    field: &FieldDescriptorProto,
    messages: &BTreeMap<String, Noted>,
    growing: &BTreeSet<&str>,
) -> String {
    let number = field.number();
    let message = messages.get(field.type_name());
    let inner = if growing.contains(field.type_name()) {
        format!("Some(&{})", constant(field.type_name()))
    } else {
        "None".to_owned()
    };
    let each = match (is_repeated(field), field.r#type(), message) {
        (false, ..) => "Each::Once".to_owned(),
        (true, _, Some((path, _))) => format!("Each::Item({})", size_of_element(field.type_name(), path)),
        (true, Type::Bytes, _) => "Each::Item(size_of::<bytes::Bytes>())".to_owned(),
        (true, Type::String, _) => "Each::Item(size_of::<String>())".to_owned(),
        (true, ..) => "Each::Number".to_owned(),
    };
    format!("Field {{ number: {number}, each: {each}, message: {inner} }}")
}

/// Returns Rust code for the memory that an element of a list may take beside its lists and texts: its own, and
/// that of its box.
fn size_of_element(name: &str, path: &str) -> String {
    let own = format!("size_of::<{path}>()");
    if name == WITH_BOX { format!("{own} + size_of::<{IN_BOX}>()") } else { own }
}

fn constant(name: &str) -> String {
    name.trim_start_matches('.').replace('.', "_").to_uppercase()
}

/// Returns the module of a message's own messages.
fn snake_case(name: &str) -> String {
    let mut module = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !module.is_empty() {
            module.push('_');
        }
        module.extend(letter.to_lowercase());
    }
    module
}
