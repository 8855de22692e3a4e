//! Annotates claims, one by one: their StatefulSet's claim template can't change.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use skv_operator_plan::names::{Labels, MANAGER, Names};

use crate::error::Error;

/// Annotates a claim, which may be of a group that has ended.
pub(crate) async fn annotate(
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
