//! The dashboards and alerts of the chart, evaluated by a Prometheus that reads the pods of a store and of the
//! operator under the labels that the chart's monitors give.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Map, Value, json};
use skv_e2e::{
    Load, OPERATOR_NAMESPACE, Process, Rendered, Store, eventually, free_port, http_get, in_namespace,
    install_operator, reach_pod,
};
use skv_scratch::Directory;

/// The variable with the path of Prometheus.
const PROMETHEUS: &str = "SKV_E2E_PROMETHEUS";
/// The panels that are empty while all is well, with the reason.
const EMPTY: [(&str, &str); 1] =
    [("Refused operations", "a reason has a series from the first operation that is refused for it")];

/// A Prometheus that is killed with the test.
struct Prometheus {
    address: String,
    _process: Process,
    _files: Directory,
}

impl Prometheus {
    /// Starts one with the targets and the alerts.
    fn start(scrapes: &[Value], alerts: &Value) -> Prometheus {
        let program = std::env::var_os(PROMETHEUS)
            .unwrap_or_else(|| panic!("{PROMETHEUS} isn't set: run `cargo xtask e2e` where Go is installed"));
        let files = Directory::new().expect("a directory can be made");
        let path = |name: &str| files.path().join(name);
        // Each JSON document is one of YAML too.
        fs::write(path("rules.yaml"), alerts.to_string()).expect("a file can be written");
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": ["rules.yaml"],
            "scrape_configs": scrapes,
        });
        fs::write(path("prometheus.yaml"), config.to_string()).expect("a file can be written");
        let address = format!("127.0.0.1:{}", free_port());
        let arguments = vec![
            format!("--config.file={}", path("prometheus.yaml").display()),
            format!("--storage.tsdb.path={}", path("data").display()),
            format!("--web.listen-address={address}"),
        ];
        let mut process = Process::new(Path::new(&program), arguments, path("log"));
        process.start();
        Prometheus { address, _process: process, _files: files }
    }

    /// Returns the data of an answer; `None` while it isn't ready. Panics if it says that the request is wrong.
    async fn get(&self, path: &str) -> Option<Value> {
        let (status, text) = http_get(&self.address, path).await?;
        if status == 503 {
            return None;
        }
        assert_eq!(status, 200, "{path}: {text}");
        let mut answer: Value = serde_json::from_str(&text).expect("Prometheus answers in JSON");
        Some(answer["data"].take())
    }

    /// Returns the number of series that an expression has now.
    async fn series(&self, expression: &str) -> Option<usize> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in expression.bytes() {
            let _ = write!(path, "%{byte:02X}");
        }
        let data = self.get(&path).await?;
        data["result"].as_array().map(Vec::len)
    }
}

/// Returns a part of Prometheus's own configuration for one in the words of a monitor: `sourceLabels` is
/// `source_labels` there.
fn in_words_of_prometheus(relabelling: &Value) -> Value {
    let fields = relabelling.as_object().into_iter().flatten().map(|(name, value)| {
        let letters = name.chars().flat_map(|letter| {
            let underscore = letter.is_ascii_uppercase().then_some('_');
            underscore.into_iter().chain([letter.to_ascii_lowercase()])
        });
        (letters.collect::<String>(), value.clone())
    });
    Value::Object(fields.collect())
}

/// Returns the selector of a monitor as the API server reads it.
fn selector(monitor: &Value) -> String {
    let selector = &monitor["spec"]["selector"];
    let labels = selector["matchLabels"].as_object().expect("labels").iter();
    let mut terms: Vec<String> =
        labels.map(|(name, value)| format!("{name}={}", value.as_str().expect("text"))).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        assert_eq!(expression["operator"], "In", "{expression}");
        let values = expression["values"].as_array().expect("values").iter().filter_map(Value::as_str);
        let values = values.collect::<Vec<_>>().join(",");
        terms.push(format!("{} in ({values})", expression["key"].as_str().expect("text")));
    }
    terms.join(",")
}

/// Returns the labels under which Prometheus discovers a pod.
fn discovered(pod: &Pod) -> Map<String, Value> {
    let text = |value: Option<&String>| Value::from(value.cloned().unwrap_or_default());
    let mut found = Map::new();
    found.insert("__meta_kubernetes_namespace".to_owned(), text(pod.metadata.namespace.as_ref()));
    found.insert("__meta_kubernetes_pod_name".to_owned(), text(pod.metadata.name.as_ref()));
    for (name, value) in pod.metadata.labels.iter().flatten() {
        let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        found.insert(format!("__meta_kubernetes_pod_label_{name}"), Value::from(value.clone()));
    }
    found
}

/// Returns the number of a pod's port of this name.
fn port(pod: &Pod, name: &str) -> u16 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let found = ports.find(|port| port.name.as_deref() == Some(name));
    let number = found.unwrap_or_else(|| panic!("{:?} has no port {name}", pod.metadata.name)).container_port;
    number.try_into().expect("a port")
}

/// Returns the job that the Prometheus operator would make of a monitor, for the pods of one namespace that are
/// there now.
async fn job(monitor: &Value, pods: Api<Pod>) -> Value {
    let list = pods.list(&ListParams::default().labels(&selector(monitor))).await;
    let found = list.expect("pods can be listed").items;
    assert!(!found.is_empty(), "no pod is found by {monitor}");
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let port_name = endpoint["port"].as_str().expect("a port");
    let mut targets = Vec::new();
    for pod in found {
        let name = pod.metadata.name.clone().expect("a pod has a name");
        let address = reach_pod(pods.clone(), name, port(&pod, port_name)).await;
        targets.push(json!({ "targets": [address], "labels": discovered(&pod) }));
    }
    // These two come from the Prometheus operator itself.
    let mut relabellings = vec![
        json!({ "source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace" }),
        json!({ "source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod" }),
    ];
    let own = endpoint["relabelings"].as_array().into_iter().flatten();
    relabellings.extend(own.map(in_words_of_prometheus));
    json!({
        "job_name": monitor["metadata"]["name"],
        "metrics_path": endpoint["path"],
        "relabel_configs": relabellings,
        "static_configs": targets,
    })
}

/// Returns the title and the expression of each query of a dashboard, for one store.
fn queries(dashboard: &Value, namespace: &str, store: &str) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().expect("targets").iter();
        targets.map(move |target| (&panel["title"], &target["expr"]))
    });
    let filled = |text: &Value| {
        let text = text.as_str().expect("text");
        let text = text.replace("$__rate_interval", "30s").replace("$namespace", namespace);
        text.replace("$store", store).replace("$group", ".*")
    };
    targets.map(|(title, expression)| (filled(title), filled(expression))).collect()
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn every_panel_shows_a_store_that_works_and_no_alert_is_about_it() {
    in_namespace("dashboards", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let server = json!({ "resources": { "limits": { "memory": "256Mi" } } });
        let spec = json!({ "groups": 1, "replicas": 3, "server": server });
        let store = Store::create(&namespace, spec).await;

        let settings = [
            "metrics.podMonitor.enabled=true",
            "metrics.storeMonitor.enabled=true",
            "metrics.rules.enabled=true",
            "metrics.dashboards.enabled=true",
        ];
        let rendered = Rendered::with(&namespace, &settings).await;
        let mut jobs = Vec::new();
        for monitor in rendered.of_kind("PodMonitor") {
            let of_stores = monitor["metadata"]["name"] == "skv-operator-stores";
            let place = if of_stores { namespace.name.as_str() } else { OPERATOR_NAMESPACE };
            jobs.push(job(monitor, Api::namespaced(namespace.cluster.client.clone(), place)).await);
        }
        assert_eq!(jobs.len(), 2, "stores and operators");
        let prometheus = Prometheus::start(&jobs, &rendered.of_kind("PrometheusRule")[0]["spec"]);
        let load = Load::start(&store, 2, 4);

        for config_map in rendered.of_kind("ConfigMap") {
            for text in config_map["data"].as_object().expect("data").values() {
                let dashboard = serde_json::from_str(text.as_str().expect("text")).expect("JSON");
                for (title, expression) in queries(&dashboard, &namespace.name, &store.name) {
                    let may_be_empty = EMPTY.iter().any(|(empty, _)| *empty == title);
                    eventually(&format!("panel {title} shows {expression}"), || async {
                        let series = prometheus.series(&expression).await?;
                        (series > 0 || may_be_empty).then_some(())
                    })
                    .await;
                }
            }
        }
        eventually("all alerts are evaluated without error, and none is about the store", || async {
            let data = prometheus.get("/api/v1/rules").await?;
            let groups = data["groups"].as_array()?.iter();
            let rules: Vec<&Value> =
                groups.flat_map(|group| group["rules"].as_array().into_iter().flatten()).collect();
            assert!(rules.iter().all(|rule| rule["health"] != "err"), "{data}");
            let evaluated = rules.iter().all(|rule| rule["health"] == "ok");
            // Others of this cluster may have the operator fail at the same time.
            let of_stores = rules.iter().filter(|rule| rule["name"] != "SkvOperatorFails");
            let quiet = { of_stores }.all(|rule| rule["state"] == "inactive");
            (rules.len() > 10 && evaluated && quiet).then_some(())
        })
        .await;
        load.finish_right(&store).await;
    })
    .await;
}
