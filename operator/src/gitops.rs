//! What has GitOps tools leave an object alone.
//!
//! Argo CD takes what bears the label `app.kubernetes.io/instance` for a part of the application of
//! that name, and deletes what of it is neither in git nor owned by something that is. Some of ours
//! may be without an owner: volumes and the shard map that are kept, and for a moment the pods of a
//! StatefulSet that is made anew. (Flux deletes only what it has applied itself.)

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::error::Error;
use crate::names::{Labels, MANAGER, Names};

/// Annotations, each of which is a list of options, and the option that is to be in it.
const OPTIONS: [(&str, &str); 2] = [
    ("argocd.argoproj.io/compare-options", "IgnoreExtraneous"),
    ("argocd.argoproj.io/sync-options", "Prune=false"),
];

/// The annotations that an object with these still needs. Options that people have set stay.
pub(crate) fn missing(annotations: &Labels) -> Labels {
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

/// Annotates a claim. That isn't done by its StatefulSet, whose claim template can't change: so it
/// is done for all, those of groups that are no more too.
pub(crate) async fn annotate_claim(
    client: &Client,
    names: &Names,
    claim: &str,
    annotations: &Labels,
) -> Result<(), Error> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &names.namespace);
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match claims.patch(claim, &parameters, &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::api("annotate", &format!("PersistentVolumeClaim {claim}"), error)),
    }
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
