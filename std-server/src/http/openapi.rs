//! The OpenAPI document: made from the handlers and the types of their bodies and answers.

use std::collections::BTreeMap;

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, SecurityRequirement,
};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use super::shapes::{Failure, ProblemDocument};

/// The document before the handlers' pages are added.
pub(super) fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("std-server")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("A durable key-value server: Synap's REST interface and the operator's pages."));
    let scheme = |scheme| SecurityScheme::Http(HttpBuilder::new().scheme(scheme).build());
    let components = ComponentsBuilder::new()
        .schema(Failure::name(), Failure::schema())
        .schema(ProblemDocument::name(), ProblemDocument::schema())
        .security_scheme(BASIC, scheme(HttpAuthScheme::Basic))
        .security_scheme(BEARER, scheme(HttpAuthScheme::Bearer));
    let scopes: [&str; 0] = [];
    let ways = [
        SecurityRequirement::default(),
        SecurityRequirement::new(BASIC, scopes),
        SecurityRequirement::new(BEARER, scopes),
    ];
    OpenApiBuilder::new().info(info).components(Some(components.build())).security(Some(ways)).build()
}

/// The document as it is served.
#[derive(Clone, Debug)]
pub(super) struct Document(Bytes);

impl Document {
    /// # Errors
    /// It can't be written as JSON.
    pub(super) fn new(document: &OpenApi) -> serde_json::Result<Self> {
        document.to_json().map(|json| Self(json.into()))
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operation", responses(
    (status = 200, body = serde_json::Value), Problems))]
pub(super) async fn document(Extension(Document(json)): Extension<Document>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], json)
}

/// The errors of Synap's paths.
pub(super) struct SynapErrors;

impl IntoResponses for SynapErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors("application/json", &Failure::name())
    }
}

/// The errors of all other paths.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors("application/problem+json", &ProblemDocument::name())
    }
}

fn errors(content_type: &str, schema: &str) -> BTreeMap<String, RefOr<Response>> {
    let schema = Ref::from_schema_name(schema);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = |(status, description): (u16, &str)| {
        let response = ResponseBuilder::new().description(description).content(content_type, content.clone());
        (status.to_string(), RefOr::T(response.build()))
    };
    ERRORS.into_iter().map(response).collect()
}

const ERRORS: [(u16, &str); 10] = [
    (400, "The request is malformed, or the command refuses it"),
    (401, "There are users, and the request is from none of them"),
    (403, "A web page of another server has sent the request"),
    (404, "There is no such key to rename, or the address names no key"),
    (408, "The body did not arrive in time"),
    (413, "The body is too large"),
    (414, "The address is too long"),
    (431, "The header is too large"),
    (503, "Recovery is running, the log has halted, or the answer took too long"),
    (507, "There is no space: nothing was written"),
];
const BASIC: &str = "basic";
const BEARER: &str = "bearer";
