//! The annotations by which GitOps tools leave an object alone.
//!
//! Argo CD may take an object with the label `app.kubernetes.io/instance` for a part of the application of
//! that name (before version 3 it does by default). It deletes the object if that is neither in git nor
//! owned by an object that is, and with the application. Some of ours may be without an owner: volumes and
//! the shard map that are kept, and for a moment the pods of a StatefulSet that is made again. (Flux and Helm
//! delete only objects that they have applied themselves.)

use crate::names::Labels;

/// Annotations, each of which is a list of options, and the options that must be in it.
const OPTIONS: [(&str, &[&str]); 2] = [
    ("argocd.argoproj.io/compare-options", &["IgnoreExtraneous"]),
    ("argocd.argoproj.io/sync-options", &["Prune=false", "Delete=false"]),
];

/// Returns the annotations that an object with these still needs. Options that people have set stay.
pub fn missing(annotations: &Labels) -> Labels {
    let needed = OPTIONS.iter().filter_map(|&(annotation, options)| {
        let set = annotations.get(annotation).map(String::as_str);
        let has = |option: &str| set.is_some_and(|set| set.split(',').any(|set| set.trim() == option));
        let lacking: Vec<&str> = options.iter().copied().filter(|option| !has(option)).collect();
        let all = || set.into_iter().chain(lacking.iter().copied()).collect::<Vec<_>>().join(",");
        (!lacking.is_empty()).then(|| (annotation.to_owned(), all()))
    });
    needed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::labels;

    #[test]
    fn options_that_people_have_set_stay() {
        let (compare, sync) = ("argocd.argoproj.io/compare-options", "argocd.argoproj.io/sync-options");
        let all = labels([(compare, "IgnoreExtraneous"), (sync, "Prune=false,Delete=false")]);
        assert_eq!(missing(&Labels::new()), all);
        assert_eq!(missing(&all), Labels::new());
        let mut own = labels([(compare, "IgnoreExtraneous")]);
        own.insert(sync.to_owned(), "Replace=true, Delete=false, Prune=false".to_owned());
        assert_eq!(missing(&own), Labels::new());
        for (set, needed) in [
            ("Prune=false", "Prune=false,Delete=false"),
            ("Delete=false", "Delete=false,Prune=false"),
            ("Replace=true", "Replace=true,Prune=false,Delete=false"),
        ] {
            own.insert(sync.to_owned(), set.to_owned());
            assert_eq!(missing(&own), labels([(sync, needed)]));
        }
    }
}
