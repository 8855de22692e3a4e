//! The settings of a manifest that take a restart to change: all but the number of groups. Pure.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::Value;
use skv_resource::Manifest;

/// Returns a manifest's settings, defaults filled in.
pub fn of(resource: &Manifest) -> anyhow::Result<Value> {
    let mut settings = serde_json::to_value(&resource.spec).context("the manifest can't be remembered")?;
    if let Some(fields) = settings.as_object_mut() {
        fields.remove("groups");
    }
    Ok(settings)
}

/// Refuses a manifest that asks a running store for other changes than the number of groups.
pub fn must_equal(there: &Value, manifest: &Value) -> anyhow::Result<()> {
    let mut found = Vec::new();
    differences("spec", there, manifest, &mut found);
    anyhow::ensure!(
        found.is_empty(),
        "{}. Only the number of groups changes while the store runs: for the rest stop it with `skv down`, and \
         start it with `skv up -f FILE`",
        found.join("; ")
    );
    Ok(())
}

fn differences(path: &str, there: &Value, manifest: &Value, found: &mut Vec<String>) {
    match (there, manifest) {
        (Value::Object(before), Value::Object(after)) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let (before, after) = (&there[name.as_str()], &manifest[name.as_str()]);
                differences(&format!("{path}.{name}"), before, after, found);
            }
        }
        _ if there == manifest => {}
        _ => found.push(format!("{path} is {there} there, {manifest} in the manifest")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(spec: &str) -> Value {
        let yaml = format!(
            "{{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {{name: demo}}, spec: {spec}}}"
        );
        of(&skv_resource::parse(&yaml).unwrap()).unwrap()
    }

    #[test]
    fn only_the_number_of_groups_may_differ() {
        must_equal(&settings("{groups: 2}"), &settings("{groups: 5}")).unwrap();
        let other = settings("{server: {logOperations: true, workerThreads: 2}}");
        let message = must_equal(&settings("{}"), &other).unwrap_err().to_string();
        assert!(
            message.starts_with(
                "spec.server.logOperations is false there, true in the manifest; \
                 spec.server.workerThreads is null there, 2 in the manifest. "
            ),
            "{message}"
        );
        assert!(message.contains("`skv down`"), "{message}");
    }
}
