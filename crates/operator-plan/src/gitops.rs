//! The annotations by which GitOps tools leave an object alone.
//!
//! Argo CD takes an object with the label `app.kubernetes.io/instance` for a part of the application of
//! that name, and deletes it if it is neither in git nor owned by an object that is. Some of ours may be
//! without an owner: volumes and the shard map that are kept, and for a moment the pods of a StatefulSet
//! that is made again. (Flux deletes only objects that it has applied itself.)

use crate::names::Labels;

/// Annotations, each of which is a list of options, and the option that must be in it.
const OPTIONS: [(&str, &str); 2] = [
    ("argocd.argoproj.io/compare-options", "IgnoreExtraneous"),
    ("argocd.argoproj.io/sync-options", "Prune=false"),
];

/// Returns the annotations that an object with these still needs. Options that people have set stay.
pub fn missing(annotations: &Labels) -> Labels {
    let needed = OPTIONS.iter().filter_map(|&(annotation, option)| {
        let value = match annotations.get(annotation) {
            None => option.to_owned(),
            Some(set) if set.split(',').any(|set| set.trim() == option) => return None,
            Some(set) => format!("{set},{option}"),
        };
        Some((annotation.to_owned(), value))
    });
    needed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::labels;

    #[test]
    fn options_that_people_have_set_stay() {
        let all = labels(OPTIONS);
        assert_eq!(missing(&Labels::new()), all);
        assert_eq!(missing(&all), Labels::new());
        let sync = "argocd.argoproj.io/sync-options";
        let mut own = labels([(sync, "Replace=true, Prune=false")]);
        own.insert("argocd.argoproj.io/compare-options".to_owned(), "IgnoreExtraneous".to_owned());
        assert_eq!(missing(&own), Labels::new());
        own.insert(sync.to_owned(), "Delete=false".to_owned());
        assert_eq!(missing(&own), labels([(sync, "Delete=false,Prune=false")]));
    }
}
