//! The chart's objects for Prometheus and Grafana, as helm renders them.

use serde_json::Value;
use skv_e2e::{Rendered, in_namespace, in_project};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn alerts_lead_to_their_pages_and_dashboards_are_whole() {
    in_namespace("monitoring", |namespace| async move {
        let settings = [
            "watchNamespaces={blue}",
            "metrics.storeMonitor.enabled=true",
            "metrics.rules.enabled=true",
            "metrics.dashboards.enabled=true",
        ];
        let rendered = Rendered::with(&namespace, &settings).await;

        let [stores] = rendered.of_kind("PodMonitor")[..] else { panic!("one monitor of stores is made") };
        assert_eq!(stores["metadata"]["name"], "skv-operator-stores");
        assert_eq!(stores["spec"]["namespaceSelector"]["matchNames"], serde_json::json!(["blue"]));

        let [rules] = rendered.of_kind("PrometheusRule")[..] else { panic!("the rules are one object") };
        let groups = rules["spec"]["groups"].as_array().expect("groups").iter();
        let alerts: Vec<&Value> =
            groups.flat_map(|group| group["rules"].as_array().expect("rules")).collect();
        assert!(alerts.len() > 10, "{rules}");
        for alert in alerts {
            let page = alert["annotations"]["runbook_url"].as_str().expect("a page");
            assert!(std::path::Path::new(&in_project(page)).exists(), "{page}");
            let summary = alert["annotations"]["summary"].as_str().expect("a summary");
            assert!(
                summary.contains("{{ $") || summary.contains("operator"),
                "a template stays one: {summary}"
            );
        }

        let dashboards = rendered.of_kind("ConfigMap");
        assert_eq!(dashboards.len(), 3);
        for dashboard in dashboards {
            assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
            let texts = dashboard["data"].as_object().expect("data").values();
            for text in texts {
                let content: Value = serde_json::from_str(text.as_str().expect("text")).expect("JSON");
                assert!(!content["panels"].as_array().expect("panels").is_empty(), "{content}");
            }
        }
    })
    .await;
}
