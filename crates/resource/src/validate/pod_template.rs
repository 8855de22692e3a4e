//! The fields of pods that `spec.podTemplate` can't set, each with the reason.

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use super::Check;
use crate::PodTemplate;

/// The containers of our programs.
const OURS: [&str; 2] = [PodTemplate::SERVER, PodTemplate::SHARD_MANAGER];

/// The ports of our programs, by which Services and policies know them.
const PORTS: [&str; 4] =
    [PodTemplate::CLIENT_PORT, PodTemplate::PEER_PORT, PodTemplate::MANAGER_PORT, PodTemplate::HTTP_PORT];

/// The beginning of the variables that our programs read.
const VARIABLES: &str = "SKV_";

/// Fields of a pod that have another place, or aren't free.
const OF_PODS: [(&str, &str); 17] = [
    ("restartPolicy", "a server that ends must be started again"),
    ("activeDeadlineSeconds", "servers don't end by themselves"),
    ("hostname", "servers find each other by the names that Kubernetes gives their pods"),
    ("subdomain", "servers find each other by the names that Kubernetes gives their pods"),
    ("setHostnameAsFQDN", "servers find each other by the names that Kubernetes gives their pods"),
    ("nodeName", "all pods would be on this node: use spec.scheduling.nodeSelector"),
    ("nodeSelector", "use spec.scheduling.nodeSelector"),
    ("tolerations", "use spec.scheduling.tolerations"),
    ("affinity", "use spec.scheduling.affinity"),
    ("topologySpreadConstraints", "use spec.scheduling.topologySpreadConstraints"),
    ("priorityClassName", "use spec.scheduling.priorityClassName"),
    ("imagePullSecrets", "use spec.image.pullSecrets"),
    ("securityContext", "use spec.podSecurityContext"),
    ("automountServiceAccountToken", "shard managers need their token, and servers none"),
    ("terminationGracePeriodSeconds", "it follows from how long a leader's hand-over may take"),
    ("ephemeralContainers", "they are added to pods that run: use kubectl debug"),
    ("serviceAccount", "is an old name: use serviceAccountName"),
];

/// Fields of the containers of our programs that have another place, or aren't free.
const OF_OUR_CONTAINERS: [(&str, &str); 11] = [
    ("command", "it follows from the specification"),
    ("args", "they follow from the specification"),
    ("ports", "use spec.ports"),
    ("image", "use spec.image"),
    ("imagePullPolicy", "use spec.image.pullPolicy"),
    ("resources", "use spec.server.resources and spec.shardManager.resources"),
    ("lifecycle", "a server that stops must be out of its Services first"),
    ("restartPolicy", "a server that ends must be started again"),
    ("workingDir", "all paths of our programs are absolute"),
    ("stdin", "our programs read none"),
    ("tty", "our programs have none"),
];

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const HANDLERS: [&str; 4] = ["httpGet", "exec", "tcpSocket", "grpc"];

const PATH: &str = "spec.podTemplate";

pub(super) fn check_pod_template(check: &mut Check, template: &PodTemplate) {
    for name in template.fields().keys().filter(|name| *name != "spec") {
        let reason = match name.as_str() {
            "metadata" => "labels and annotations of pods are set by spec.podMetadata",
            _ => "unknown field, expected spec",
        };
        check.fails(&format!("{PATH}.{name}"), reason.to_owned());
    }
    let Some(given) = template.fields().get("spec") else { return };
    let pod: PodSpec = match serde_path_to_error::deserialize(given) {
        Ok(pod) => pod,
        Err(error) => {
            let path = format!("{PATH}.spec.{}", error.path());
            return check.fails(&path, error.into_inner().to_string());
        }
    };
    if let Some(unknown) = serde_json::to_value(pod).ok().and_then(|known| unknown(given, &known)) {
        let reason = "unknown field: no pod has it".to_owned();
        check.fails(&format!("{PATH}.spec{unknown}"), reason);
    }
    refuse(check, given, &format!("{PATH}.spec"), &OF_PODS);
    for (index, container) in items(given, "containers").enumerate() {
        let path = format!("{PATH}.spec.containers[{index}]");
        if name(container).is_some_and(|name| OURS.contains(&name)) {
            check_our_container(check, container, &path);
        } else {
            check_sidecar(check, container, &path);
        }
    }
    for (index, container) in items(given, "initContainers").enumerate() {
        if let Some(name) = name(container).filter(|name| OURS.contains(name)) {
            let reason = format!("{name} is the name of a container that isn't one of these");
            check.fails(&format!("{PATH}.spec.initContainers[{index}].name"), reason);
        }
    }
    for (index, volume) in items(given, "volumes").enumerate() {
        if name(volume) == Some(PodTemplate::DATA) {
            let reason = "is the volume of a server's data: use spec.storage".to_owned();
            check.fails(&format!("{PATH}.spec.volumes[{index}].name"), reason);
        }
    }
}

fn check_our_container(check: &mut Check, container: &Value, path: &str) {
    refuse(check, container, path, &OF_OUR_CONTAINERS);
    let handlers = HANDLERS.map(|handler| (handler, "our programs are asked by HTTP, on their port http"));
    for probe in PROBES {
        refuse(check, &container[probe], &format!("{path}.{probe}"), &handlers);
    }
    for (index, variable) in items(container, "env").enumerate() {
        if name(variable).is_some_and(|name| name.starts_with(VARIABLES)) {
            let reason = format!("variables that begin with {VARIABLES} follow from the specification");
            check.fails(&format!("{path}.env[{index}].name"), reason);
        }
    }
    for (index, mount) in items(container, "volumeMounts").enumerate() {
        let mounted_at = mount.get("mountPath").and_then(Value::as_str).unwrap_or_default();
        if name(mount) == Some(PodTemplate::DATA) || is_in_data(mounted_at) {
            let reason = format!("{} is the directory of a server's data", PodTemplate::DATA_DIR);
            check.fails(&format!("{path}.volumeMounts[{index}]"), reason);
        }
    }
}

fn is_in_data(path: &str) -> bool {
    path.strip_prefix(PodTemplate::DATA_DIR).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check_sidecar(check: &mut Check, container: &Value, path: &str) {
    for (index, port) in items(container, "ports").enumerate() {
        if let Some(name) = name(port).filter(|name| PORTS.contains(name)) {
            let reason = format!("{name} is the name of a port of ours: Services would lead to this one too");
            check.fails(&format!("{path}.ports[{index}].name"), reason);
        }
    }
}

/// Refuses these fields of an object.
fn refuse(check: &mut Check, object: &Value, path: &str, fields: &[(&str, &str)]) {
    for (field, reason) in fields {
        if object.get(field).is_some_and(|value| !value.is_null()) {
            check.fails(&format!("{path}.{field}"), format!("can't be set here: {reason}"));
        }
    }
}

fn items<'a>(object: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn name(object: &Value) -> Option<&str> {
    object.get("name")?.as_str()
}

/// Returns the path of a field that was lost when the whole was read, since nothing knows it.
fn unknown(given: &Value, known: &Value) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            let mut given = given.iter().filter(|(_, value)| !value.is_null());
            given.find_map(|(name, value)| {
                let below = match known.get(name) {
                    Some(known) => unknown(value, known)?,
                    None => String::new(),
                };
                Some(format!(".{name}{below}"))
            })
        }
        (Value::Array(given), Value::Array(known)) => {
            let mut pairs = given.iter().zip(known).enumerate();
            pairs.find_map(|(index, (given, known))| Some(format!("[{index}]{}", unknown(given, known)?)))
        }
        _ => None,
    }
}
