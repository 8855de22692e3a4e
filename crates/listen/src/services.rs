//! The gRPC services of one listener, and their description: reflection, in both versions that tools
//! know, and a text for calls that aren't served.

use std::convert::Infallible;

use axum::http::{Response, Uri};
use axum::response::IntoResponse;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderValue, Request};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Status};

/// Services that are served together.
#[derive(Debug, Clone, Default)]
pub struct Services {
    routes: Routes,
    names: Vec<&'static str>,
}

impl Services {
    /// Adds a service.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Services
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self.names.push(S::NAME);
        self
    }

    /// Returns the routes to these services and to those that describe them. `descriptors` are the
    /// compiled .proto files; services that aren't served here are not listed.
    pub fn described(self, descriptors: &[u8]) -> Result<Routes, tonic_reflection::server::Error> {
        let Services { mut routes, names } = self;
        let builder = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(descriptors)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            let names = names.iter().copied().chain(REFLECTION);
            names.fold(builder, tonic_reflection::server::Builder::with_service_name)
        };
        routes = routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?);
        let served = names.join(", ");
        let explain = move |uri: Uri| {
            let text = format!("{} isn't served here: this port serves {served}", uri.path());
            async move { Status::unimplemented(text).into_http::<axum::body::Body>() }
        };
        Ok(routes.into_axum_router().fallback(explain).into())
    }
}

/// The services that describe the others.
const REFLECTION: [&str; 2] =
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Adds a text to the refusal of a method that a service doesn't know, which has none.
pub fn explain_unknown_method<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    let is_unimplemented = headers
        .get(Status::GRPC_STATUS)
        .is_some_and(|code| Code::from_bytes(code.as_bytes()) == Code::Unimplemented);
    if is_unimplemented && !headers.contains_key(Status::GRPC_MESSAGE) {
        // Percent-encoded, as gRPC wants it.
        let text = HeaderValue::from_static("this%20version%20of%20the%20service%20has%20no%20such%20method");
        headers.insert(Status::GRPC_MESSAGE, text);
    }
    response
}
