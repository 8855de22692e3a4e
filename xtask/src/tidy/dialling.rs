//! Only `crates/net` dials: it tries the addresses of a name beside each other, asks no proxy, and lets a simulation
//! carry the bytes. tonic's own connections do none of that. Tests and measurements play strangers, and may use them.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};
use syn::{ExprMethodCall, Item};

use super::finding::Finding;
use super::imports::Names;
use super::modules::Module;
use super::sources::{Sources, is_item_for_tests};

const RULE: &str = "dialling";
const ALLOWED: [&str; 4] = ["crates/net/", "benches/", "tests/", "xtask/"];
/// Methods of tonic's `Endpoint`, beside `connect` itself.
const METHODS: [&str; 3] = ["connect_lazy", "connect_with_connector", "connect_with_connector_lazy"];

/// Returns a finding for each place of a target at which the product dials by itself.
pub(super) fn check(sources: &Sources, modules: &[Module]) -> Vec<Finding> {
    let is_product =
        |file: &str| file.contains("/src/") && !ALLOWED.iter().any(|allowed| file.starts_with(allowed));
    let product = modules.iter().filter(|module| !module.for_tests && is_product(&module.file));
    product.flat_map(|module| judge(sources, module)).collect()
}

fn judge(sources: &Sources, module: &Module) -> Vec<Finding> {
    let Some(source) = sources.get(&module.file) else { return Vec::new() };
    let mut calls = Calls::default();
    calls.visit_file(&source.syntax);
    for mention in Names::of(&source.syntax).mentions.iter().filter(|mention| dials(&mention.path)) {
        calls.0.insert((mention.line, mention.path.join("::")));
    }
    let at = |(line, what)| {
        let problem = format!("{what} dials past crates/net: use skv_net::dial or skv_net::open");
        Finding::new(RULE, format!("{}:{line}", module.file), problem)
    };
    calls.0.into_iter().map(at).collect()
}

/// Returns true for the functions of tonic, and of the clients that it generates, that make connections.
fn dials(path: &[String]) -> bool {
    let [.., of, name] = path else { return false };
    match of.as_str() {
        "Endpoint" => ["new", "from_shared", "from_static"].contains(&name.as_str()),
        "Channel" => ["builder", "from_shared", "from_static"].contains(&name.as_str()),
        of => of.ends_with("Client") && name == "connect",
    }
}

/// The calls of methods that dial, by their lines.
#[derive(Default)]
struct Calls(BTreeSet<(usize, String)>);

impl<'ast> Visit<'ast> for Calls {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_item_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let name = call.method.to_string();
        // Others that connect are told what to.
        if METHODS.contains(&name.as_str()) || name == "connect" && call.args.is_empty() {
            self.0.insert((call.method.span().start().line, format!("{name}()")));
        }
        visit::visit_expr_method_call(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::modules;

    fn places(file: &str, text: &str) -> Vec<String> {
        let sources = Sources::parse([(file, text)]).unwrap();
        let modules = modules::of_target(&sources, file).unwrap();
        check(&sources, &modules).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn the_product_dials_by_one_crate_alone() {
        for text in [
            "fn f() { endpoint.connect_lazy(); }",
            "fn f() { g(Channel::from_static(\"http://a:1\")); }",
            "async fn f() { tonic::transport::Endpoint::new(a)?.tcp_nodelay(true); }",
            "async fn f() { v1::kv_client::KvClient::connect(a).await; }",
            "async fn f() { settings.connect().await; }",
        ] {
            assert_eq!(places("kvserver/src/lib.rs", text), ["kvserver/src/lib.rs:1"], "{text}");
            assert_eq!(places("crates/net/src/lib.rs", text), [""; 0]);
            assert_eq!(places("kvserver/tests/servers/main.rs", text), [""; 0]);
            let in_test = format!("#[cfg(test)] mod tests {{ {text} }}");
            assert_eq!(places("kvserver/src/lib.rs", &in_test), [""; 0]);
        }
    }

    #[test]
    fn what_is_told_how_to_connect_doesnt_dial_by_itself() {
        let text = "async fn f() { names.connect(&address, open).await; Clerk::connect(options); skv_net::dial(c); }";
        assert_eq!(places("kvserver/src/lib.rs", text), [""; 0]);
    }
}
