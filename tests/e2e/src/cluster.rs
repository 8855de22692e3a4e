//! The cluster that the tests may use. They drain nodes and delete claims, so the configured
//! cluster is never used: `cargo xtask e2e` names one, by its own variables.

use std::env;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

/// The file of a cluster that was made for tests.
pub(crate) const KUBECONFIG: &str = "SKV_E2E_KUBECONFIG";
/// The name of another cluster's context.
pub(crate) const CONTEXT: &str = "SKV_E2E_CONTEXT";
/// The image under test.
const IMAGE: &str = "SKV_E2E_IMAGE";
/// Another image, to roll out.
const NEXT_IMAGE: &str = "SKV_E2E_NEXT_IMAGE";
/// The ConfigMap in namespace `default` by which the owner of another cluster lets tests into it.
const ALLOWED: &str = "skv-e2e-allowed";

/// A cluster that tests may use.
#[derive(Clone)]
pub struct Cluster {
    /// A client with all rights.
    pub client: Client,
    /// The same without retries: for requests that are to be refused.
    pub impatient: Client,
    /// The image under test.
    pub image: String,
    /// Another name of it, as if it were the next version.
    pub next_image: String,
}

impl Cluster {
    /// Connects to the cluster that `cargo xtask e2e` names. Panics without one.
    pub async fn connect() -> Cluster {
        let image = variable(IMAGE).expect("run these tests with `cargo xtask e2e`");
        let next_image = variable(NEXT_IMAGE).expect("run these tests with `cargo xtask e2e`");
        let (client, impatient) = match (variable(KUBECONFIG), variable(CONTEXT)) {
            (Some(file), None) => {
                let kubeconfig =
                    Kubeconfig::read_from(file).expect("the kubeconfig of the tests can be read");
                clients(kubeconfig, None).await
            }
            (None, Some(context)) => {
                let kubeconfig = Kubeconfig::read().expect("the user's kubeconfig can be read");
                let clients = clients(kubeconfig, Some(context)).await;
                assert_allowed(&clients.0).await;
                clients
            }
            _ => panic!("run these tests with `cargo xtask e2e`"),
        };
        Cluster { client, impatient, image, next_image }
    }
}

pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

async fn clients(kubeconfig: Kubeconfig, context: Option<String>) -> (Client, Client) {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.expect("the kubeconfig names a cluster");
    let mut impatient = config.clone();
    impatient.default_retry = false;
    let client = |config| Client::try_from(config).expect("the kubeconfig is whole");
    (client(config), client(impatient))
}

async fn assert_allowed(client: &Client) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let permit = maps.get_opt(ALLOWED).await.expect("the cluster's API server answers");
    assert!(
        permit.is_some(),
        "these tests drain nodes and delete claims. If this cluster is there for that, say so with:\n  \
         kubectl --namespace default create configmap {ALLOWED}"
    );
}
