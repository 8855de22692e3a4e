//! The page of metrics, from the descriptions in `docs/reference/metrics`. Each program has a test that
//! compares its description with what it registers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

const HEAD: &str = "\
<!-- Written by `cargo xtask book` from the files in docs/reference/metrics. -->

# Metrics

Each program shows its metrics under `/metrics` of its HTTP port, in the text format of OpenMetrics. A
histogram has the series `_bucket`, `_sum` and `_count`. Metrics of a replica carry the label `group`, those of a
listener the label `listener`.
";

/// The programs, with the port that shows their metrics.
const PROGRAMS: [(&str, &str); 3] = [
    ("kvserver", "A server, port 7002"),
    ("shardmanager", "A shard manager, port 7401"),
    ("skv-operator", "The operator, port 8080"),
];

/// Returns the page.
pub(super) fn page(root: &Path) -> anyhow::Result<String> {
    let mut page = HEAD.to_owned();
    for (program, title) in PROGRAMS {
        let file = root.join("docs/reference/metrics").join(program).with_extension("txt");
        let description =
            fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        let _ = write!(page, "\n## {title}\n\n| metric | type | meaning |\n|---|---|---|\n");
        page.push_str(&rows(&description));
    }
    Ok(page)
}

/// Returns a table's rows for lines `# HELP NAME TEXT` and `# TYPE NAME TYPE`.
fn rows(description: &str) -> String {
    let mut rows = String::new();
    let mut help = "";
    for line in description.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map_or("", |(_, text)| text).trim_end_matches('.');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let _ = writeln!(rows, "| `{name}{suffix}` | {kind} | {help} |");
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_name_under_which_they_are_read() {
        let description =
            "# HELP skv_keys Keys.\n# TYPE skv_keys gauge\n# HELP skv_x X of y.\n# TYPE skv_x counter\n";
        assert_eq!(
            rows(description),
            "| `skv_keys` | gauge | Keys |\n| `skv_x_total` | counter | X of y |\n"
        );
    }
}
