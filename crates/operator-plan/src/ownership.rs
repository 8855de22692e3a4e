//! The owner of an object. Names within resources may collide: `orders` with a group g0 and another
//! resource `orders-g0` want the same Service.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use skv_resource::ShardedKv;

use crate::names::{INSTANCE_LABEL, MANAGED_BY_LABEL, MANAGER, Names};

/// The owner of an object, as the resource sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// The resource itself.
    Ours,
    /// Another resource, of this name.
    Sibling(String),
    /// No operator.
    Foreign,
}

/// Returns the owner of an object: by its controller, or by its label if it has none. Leftovers of an
/// earlier resource of the same name are the resource's.
pub fn ownership(names: &Names, object: &ObjectMeta) -> Ownership {
    let label = |name: &str| object.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    let controller = object.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let is_an_operators = label(MANAGED_BY_LABEL) == Some(MANAGER)
        && controller.is_none_or(|controller| controller.kind == ShardedKv::kind(&()));
    let by_label = || label(INSTANCE_LABEL);
    let resource = controller.map_or_else(by_label, |controller| Some(controller.name.as_str()));
    match resource.filter(|_| is_an_operators) {
        Some(resource) if resource == names.resource => Ownership::Ours,
        Some(sibling) => Ownership::Sibling(sibling.to_owned()),
        None => Ownership::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;
    use crate::names::labels;

    fn of(instance: Option<&str>, controller: Option<(&str, &str)>) -> Ownership {
        let names = Names { resource: "orders".to_owned(), namespace: "prod".to_owned() };
        let mut labels = labels([(MANAGED_BY_LABEL, MANAGER)]);
        labels.extend(instance.map(|instance| (INSTANCE_LABEL.to_owned(), instance.to_owned())));
        let owner = controller.map(|(kind, name)| OwnerReference {
            kind: kind.to_owned(),
            name: name.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        });
        let object = ObjectMeta {
            labels: Some(labels),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        };
        ownership(&names, &object)
    }

    #[test]
    fn an_object_is_a_resources_by_who_controls_it_and_else_by_its_label() {
        let sibling = || Ownership::Sibling("orders-g0".to_owned());
        assert_eq!(of(Some("orders"), None), Ownership::Ours, "such as a shard map that was kept");
        assert_eq!(of(Some("orders"), Some(("ShardedKV", "orders"))), Ownership::Ours);
        assert_eq!(of(Some("orders-g0"), None), sibling());
        assert_eq!(of(Some("orders-g0"), Some(("ShardedKV", "orders-g0"))), sibling());
        assert_eq!(of(Some("orders"), Some(("ShardedKV", "orders-g0"))), sibling());
        assert_eq!(of(Some("x"), Some(("ShardedKV", "orders"))), Ownership::Ours, "its label is put right");
        assert_eq!(of(Some("orders"), Some(("Deployment", "orders"))), Ownership::Foreign);
        assert_eq!(of(None, None), Ownership::Foreign);
        let names = Names { resource: "orders".to_owned(), namespace: "prod".to_owned() };
        assert_eq!(ownership(&names, &ObjectMeta::default()), Ownership::Foreign);
    }
}
