//! The tests of the chart's alerts, and of the queries of its dashboards, by promtool. It is built from source
//! once, with the Prometheus for the end-to-end tests, and kept in the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::command::{run, run_slowly};
use crate::go;
use crate::texts::texts;

/// The programs; each is named after its folder.
const PACKAGES: [&str; 2] =
    ["github.com/prometheus/prometheus/cmd/promtool", "github.com/prometheus/prometheus/cmd/prometheus"];
/// The release of Prometheus, as its Go module is numbered.
const VERSION: &str = "v0.315.0";
/// Leaves out what finds targets in every cloud: rules need none of it, and tests list their targets.
const TAGS: &str = "remove_all_sd";
/// The folder of the alerts and their tests.
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/shardedkv/files");

/// The folder of the dashboards.
const DASHBOARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/shardedkv/dashboards");
/// The variable that Grafana replaces by a duration; others stand in texts.
const INTERVAL: &str = "$__rate_interval";

/// Tests the alerts, and whether the queries of dashboards can be read.
pub(crate) fn run_tests() -> anyhow::Result<()> {
    let promtool = build()?.join("promtool");
    for arguments in [["check", "rules", "rules.yaml"], ["test", "rules", "rules-test.yaml"]] {
        run(Command::new(&promtool).args(arguments).current_dir(RULES))?;
    }
    for entry in fs::read_dir(DASHBOARDS).with_context(|| format!("can't read {DASHBOARDS}"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
        let queries = as_rules(&serde_json::from_str(&text)?);
        let file = env::temp_dir().join(format!("skv-queries-{}.yaml", std::process::id()));
        fs::write(&file, queries.to_string()).with_context(|| format!("can't write {}", file.display()))?;
        let checked = run(Command::new(&promtool).args(["check", "rules"]).arg(&file));
        fs::remove_file(&file).with_context(|| format!("can't remove {}", file.display()))?;
        checked.with_context(|| format!("the queries of {}", path.display()))?;
    }
    Ok(())
}

/// Returns the queries of a dashboard as the rules that promtool can judge.
fn as_rules(dashboard: &Value) -> Value {
    let queries = texts(dashboard, &["expr"]).into_iter().enumerate();
    let rules = queries.map(|(number, query)| {
        json!({ "record": format!("query:{number}"), "expr": query.replace(INTERVAL, "5m") })
    });
    json!({ "groups": [{ "name": "queries", "rules": rules.collect::<Vec<_>>() }] })
}

/// Returns the folder of `promtool` and `prometheus`, after building them if they aren't in the cache.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let source = [PACKAGES.join(" ").as_str(), VERSION, TAGS].join(" ");
    go::built("Prometheus", "promtool", &source, compile)
}

fn compile(dir: &Path) -> anyhow::Result<()> {
    let go = |arguments: &[&str]| {
        let mut go = Command::new("go");
        go.args(arguments).current_dir(dir).env("CGO_ENABLED", "0");
        go
    };
    // A module of its own: `go install` refuses modules that exclude versions.
    run(&mut go(&["mod", "init", "rules"]))?;
    let releases = PACKAGES.map(|package| format!("{package}@{VERSION}"));
    run_slowly("fetching Prometheus", go(&["get", "-tool"]).args(&releases))?;
    let arguments = ["build", "-v", "-trimpath", "-ldflags", "-s -w", "-tags", TAGS, "-o", "./"];
    run_slowly("compiling Prometheus", go(&arguments).args(PACKAGES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_query_of_a_dashboard_becomes_a_rule() {
        let target = json!({ "expr": "rate(skv_handoffs_total[$__rate_interval])" });
        let dashboard = json!({ "panels": [{ "targets": [target] }, { "targets": [{ "expr": "up" }] }] });
        let rules = &as_rules(&dashboard)["groups"][0]["rules"];
        assert_eq!(rules[0], json!({ "record": "query:0", "expr": "rate(skv_handoffs_total[5m])" }));
        assert_eq!(rules[1]["expr"], "up");
    }
}
