//! The alerts, the dashboards and the pages about them name metrics that there are, and each alert has its page: an
//! expression that names nothing never fires, and nobody notices.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::finding::Finding;
use crate::texts::texts;

const RULES: &str = "charts/shardedkv/files/rules.yaml";
const DASHBOARDS: &str = "charts/shardedkv/dashboards";
const METRICS: &str = "docs/reference/metrics.md";
const RUNBOOKS: &str = "docs/runbooks";
const PAGE: &str = "docs/monitoring.md";
/// The fields of rules and dashboards that hold expressions.
const EXPRESSIONS: [&str; 2] = ["expr", "query"];
const RULE: &str = "alerts";
/// The beginnings of the names of our metrics; those of others can't be known here.
const OURS: [&str; 2] = ["skv_", "shardmanager_"];

/// Returns a finding for each metric of ours that isn't in the reference, and for each alert without a page or page
/// without an alert.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("can't read {path}"));
    let known = metrics(&read(METRICS)?);
    let rules: Value =
        serde_saphyr::from_str(&read(RULES)?).with_context(|| format!("{RULES} isn't YAML"))?;
    let mut findings = unknown(RULES, texts(&rules, &EXPRESSIONS), &known);
    for name in files(root, DASHBOARDS)? {
        let place = format!("{DASHBOARDS}/{name}");
        let dashboard: Value =
            serde_json::from_str(&read(&place)?).with_context(|| format!("{place} isn't JSON"))?;
        findings.extend(unknown(&place, texts(&dashboard, &EXPRESSIONS), &known));
    }
    let pages = files(root, RUNBOOKS)?;
    // Texts speak of a whole histogram, which no query does.
    let histograms = known.iter().filter_map(|name| name.strip_suffix("_bucket").map(str::to_owned));
    let described = histograms.chain(known.iter().cloned()).collect();
    for place in pages.iter().map(|page| format!("{RUNBOOKS}/{page}")).chain([PAGE.to_owned()]) {
        findings.extend(unknown(&place, [read(&place)?.as_str()], &described));
    }
    let pages = pages.iter().filter_map(|page| page.strip_suffix(".md")).filter(|page| *page != "README");
    findings.extend(unpaired(&texts(&rules, &["alert"]), &pages.collect()));
    Ok(findings)
}

/// Returns the names of the files in a folder.
fn files(root: &Path, folder: &str) -> anyhow::Result<BTreeSet<String>> {
    let entries = fs::read_dir(root.join(folder)).with_context(|| format!("can't read {folder}"))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Returns the names under which the metrics of the reference are read.
fn metrics(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name, rest.split(' ').next()?))
    });
    let names = rows.flat_map(|(name, kind)| {
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
    });
    names.collect()
}

/// Returns a finding for each metric of ours in these texts that isn't known.
fn unknown<'a>(
    place: &str,
    texts: impl IntoIterator<Item = &'a str>,
    known: &BTreeSet<String>,
) -> Vec<Finding> {
    let words = texts
        .into_iter()
        .flat_map(|text| text.split(|letter: char| !letter.is_alphanumeric() && letter != '_'));
    let ours = words.filter(|word| OURS.iter().any(|start| word.starts_with(start)));
    let unknown: BTreeSet<&str> = ours.filter(|word| !known.contains(*word)).collect();
    let finding = |word: &str| Finding::new(RULE, place, format!("{METRICS} has no metric {word}"));
    unknown.into_iter().map(finding).collect()
}

fn unpaired(alerts: &BTreeSet<&str>, pages: &BTreeSet<&str>) -> Vec<Finding> {
    let without_page = alerts
        .difference(pages)
        .map(|alert| Finding::new(RULE, RULES, format!("{alert} has no page {RUNBOOKS}/{alert}.md")));
    let without_alert = pages.difference(alerts).map(|page| {
        Finding::new(RULE, format!("{RUNBOOKS}/{page}.md"), format!("{RULES} has no alert {page}"))
    });
    without_page.chain(without_alert).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_metric_of_ours_stands_in_the_reference() {
        let known = metrics(
            "| metric | type | meaning |\n| `skv_keys` | gauge | Keys |\n| `skv_x_total` | counter | X |\n\
             | `skv_sync_seconds` | histogram | Time |\n",
        );
        let rules = json!({ "groups": [{ "rules": [
            { "alert": "A", "expr": "rate(skv_x_total[5m]) / on (pod) skv_key > 0" },
            { "alert": "B", "expr": "skv_keys{group=\"g0\"} or rate(skv_sync_seconds_bucket[5m]) or up" },
            { "alert": "C", "expr": "skv_sync_seconds", "note": "skv_nothing" },
        ] }] });
        let problems: Vec<_> = unknown(RULES, texts(&rules, &EXPRESSIONS), &known)
            .into_iter()
            .map(|found| found.problem)
            .collect();
        assert_eq!(
            problems,
            [format!("{METRICS} has no metric skv_key"), format!("{METRICS} has no metric skv_sync_seconds")]
        );
        assert_eq!(texts(&rules, &["alert"]), ["A", "B", "C"].into());
    }

    #[test]
    fn alerts_and_pages_belong_together() {
        let places: Vec<_> = unpaired(&["A", "B"].into(), &["B", "C"].into())
            .into_iter()
            .map(|found| (found.place, found.problem))
            .collect();
        let expected = [
            (RULES.to_owned(), format!("A has no page {RUNBOOKS}/A.md")),
            (format!("{RUNBOOKS}/C.md"), format!("{RULES} has no alert C")),
        ];
        assert_eq!(places, expected);
    }
}
