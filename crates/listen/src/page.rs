//! The page of metrics, in the format that its reader knows.
//!
//! Prometheus asks for OpenMetrics. Telegraf, Datadog and others read only its older text format, which
//! differs in the names of counters and in the end of the text.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderName};

use crate::connection::Silence;

/// The time for which a reader of pages may keep its connection without a request. There are few places,
/// and probes need them.
pub const PAGES: Silence = Silence::AtAnyTime(Duration::from_mins(1));

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns metrics, which are given as OpenMetrics, in the format that the headers of a request ask for.
pub fn metrics_page(request: &HeaderMap, open_metrics: String) -> ([(HeaderName, &'static str); 1], String) {
    if wants_open_metrics(request) {
        ([(CONTENT_TYPE, OPEN_METRICS)], open_metrics)
    } else {
        ([(CONTENT_TYPE, TEXT)], as_text(&open_metrics))
    }
}

/// Returns true if OpenMetrics is named, and the older format isn't preferred.
fn wants_open_metrics(request: &HeaderMap) -> bool {
    let (mut open, mut text) = (0.0_f32, 0.0_f32);
    let values = request.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        match kind.as_str() {
            "application/openmetrics-text" => open = open.max(weight),
            "text/plain" | "text/*" => text = text.max(weight),
            _ => {}
        }
    }
    open > 0.0 && open >= text
}

/// Returns OpenMetrics in the text format 0.0.4.
fn as_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The help of a metric comes before its type, which decides about its name.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        let words = |prefix: &str| line.strip_prefix(prefix).and_then(|rest: &str| rest.split_once(' '));
        if let Some(described) = words("# HELP ") {
            help = Some(described);
        } else if let Some((name, kind)) = words("# TYPE ") {
            let (end, kind) = match kind {
                "counter" => ("_total", kind),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some((_, help)) = help.take_if(|(described, _)| *described == name) {
                text.extend(["# HELP ", name, end, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", name, end, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    fn accept(value: &'static str) -> HeaderMap {
        [(ACCEPT, HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn each_reader_gets_the_format_that_it_asks_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (header, open) in [
            (prometheus, true),
            ("application/openmetrics-text", true),
            ("text/plain;version=0.0.4", false),
            ("application/vnd.google.protobuf;q=0.7,text/plain;version=0.0.4;q=0.3", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text; q=0.1, text/plain; q=0.9", false),
            ("*/*", false),
            ("", false),
        ] {
            let ([(_, kind)], text) = metrics_page(&accept(header), "a_total 1\n# EOF\n".to_owned());
            assert_eq!(
                (kind, text.ends_with("# EOF\n")),
                (if open { OPEN_METRICS } else { TEXT }, open),
                "{header}"
            );
        }
        assert_eq!(metrics_page(&HeaderMap::new(), String::new()).0[0].1, TEXT);
    }

    #[test]
    fn the_text_names_metrics_as_its_readers_expect() {
        let mut registry = Registry::with_prefix("skv");
        let (asked, histogram) = (Counter::<u64>::default(), Histogram::new([1.0]));
        asked.inc();
        histogram.observe(0.5);
        registry.register("asked", "Questions", asked);
        registry.register("open", "Doors", Gauge::<i64>::default());
        registry.register_with_unit("took", "Time", Unit::Seconds, histogram);
        let mut open = String::new();
        encode(&mut open, &registry).unwrap();
        assert_eq!(
            as_text(&open),
            "# HELP skv_asked_total Questions.\n# TYPE skv_asked_total counter\nskv_asked_total 1\n\
             # HELP skv_open Doors.\n# TYPE skv_open gauge\nskv_open 0\n\
             # HELP skv_took_seconds Time.\n# TYPE skv_took_seconds histogram\nskv_took_seconds_sum 0.5\n\
             skv_took_seconds_count 1\nskv_took_seconds_bucket{le=\"1.0\"} 1\n\
             skv_took_seconds_bucket{le=\"+Inf\"} 1\n"
        );
    }
}
