//! The API's own description. `docs/openapi.json` is this, committed; a test fails when it is not.

use axum::http::header;
use axum::response::IntoResponse;
use utoipa::OpenApi;

/// Everything the API serves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Polder",
        description = "One pool of shared devices. Over the Unix socket the caller is known by \
            the kernel; over loopback HTTP every request but /healthz and /api/v1/version needs \
            `Authorization: Bearer TOKEN`. Every error is an RFC 9457 problem."
    ),
    paths(
        super::pool::healthz,
        super::pool::readyz,
        super::pool::version,
        super::pool::whoami,
        super::jobs::submit,
        super::jobs::list,
        super::jobs::show,
        super::wait::wait,
        super::jobs::cancel,
        super::jobs::scale,
        super::jobs::resize,
        super::jobs::explain,
        super::logs::logs,
        super::jobs::queue,
        super::pool::nodes,
        super::pool::devices,
        super::pool::leases,
        super::usage::usage,
        super::usage::demand,
        super::events::events,
        super::admin::tenants,
        super::admin::tenant,
        super::admin::set_tenant,
        super::admin::remove_tenant,
        super::admin::users,
        super::admin::user,
        super::admin::set_user,
        super::admin::remove_user,
        super::policy::policy,
        super::policy::set_policy,
        super::policy::roll_back,
        super::policy::shadow,
        super::policy::set_shadow,
        super::policy::remove_shadow,
        super::policy::reservations,
        super::policy::set_reservation,
        super::policy::remove_reservation,
        super::policy::what_if,
        super::admin::audit,
        super::admin::backup,
        super::admin::shutdown,
        super::agent::sync,
    ),
    components(schemas(
        crate::api::StateFilter,
        crate::api::WaitUntil,
        crate::api::Stream,
        crate::api::UsageBy,
    ))
)]
struct Document;

/// The OpenAPI document as JSON.
#[must_use]
pub fn openapi_json() -> String {
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// `GET /openapi.json`
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi_json())
}
