//! The way from a resource to the objects that it consists of, one file per object.
//!
//! The same [`Input`] always gives the same objects.

mod client_service;
mod disruption_budget;
mod headless_service;
mod input;
mod manager_deployment;
mod manager_service;
mod network_policy;
mod node_ports;
mod pod;
mod rbac;
mod service_accounts;
mod shard_map;
mod statefulset;

use kube::core::{ApiResource, NamespaceResourceScope};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

pub use input::{ExistingServers, Input, Users};

/// An object in its intended form.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The object's kind.
    pub resource: ApiResource,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The whole object.
    pub content: Value,
}

/// Returns all objects of a resource, in the order in which they are needed.
pub fn build(input: &Input) -> Result<Vec<Desired>, serde_json::Error> {
    let mut objects = vec![
        Desired::new(&shard_map::shard_map(input))?,
        Desired::new(&service_accounts::servers(input))?,
        Desired::new(&service_accounts::shard_manager(input))?,
        Desired::new(&rbac::role(input))?,
        Desired::new(&rbac::role_binding(input)?)?,
        Desired::new(&manager_service::manager_service(input))?,
        Desired::new(&client_service::client_service(input))?,
    ];
    if input.resolved.spec.network_policy.enabled {
        objects.push(Desired::new(&network_policy::network_policy(input))?);
    }
    if let Some(service) = node_ports::of_shard_manager(input) {
        objects.push(Desired::new(&service)?);
    }
    if let Some(budget) = disruption_budget::of_shard_managers(input) {
        objects.push(Desired::new(&budget)?);
    }
    objects.push(Desired::new(&manager_deployment::manager_deployment(input)?)?);
    for set in input.server_sets() {
        if !input.is_retired(set) {
            objects.push(Desired::new(&headless_service::headless_service(input, set))?);
            for service in node_ports::of_groups(input, set) {
                objects.push(Desired::new(&service)?);
            }
        }
        if let Some(budget) = disruption_budget::of_servers(input, set) {
            objects.push(Desired::new(&budget)?);
        }
        objects.push(Desired::new(&statefulset::statefulset(input, set)?)?);
    }
    Ok(objects)
}

impl Desired {
    fn new<K>(object: &K) -> Result<Desired, serde_json::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize,
    {
        Ok(Desired {
            resource: ApiResource::erase::<K>(&()),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            content: serde_json::to_value(object)?,
        })
    }

    /// Returns true if applying the object sets a number of pods.
    pub fn counts_pods(&self) -> bool {
        self.resource.kind == "StatefulSet"
    }

    /// Returns true if it is a Service that only leads clients to the store: no pod depends on it.
    pub fn is_entrance(&self) -> bool {
        self.resource.kind == "Service" && self.content["spec"]["clusterIP"] != "None"
    }

    /// Returns the kind and the name, for people.
    pub fn title(&self) -> String {
        format!("{} {}", self.resource.kind, self.name)
    }
}

#[cfg(test)]
mod tests;
