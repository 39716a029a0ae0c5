//! Every refusal as an RFC 9457 problem that names the subject and says what to do.

use crate::api::{API_MAJOR, PROBLEM_TYPE_PREFIX, Problem};
use crate::auth::{Denied, LoopbackRefusal, UnknownUser};
use crate::writer::{Stopping, SyncError, WriteError};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use polder_engine::Refusal;
use polder_model::{JobId, SyncRefusal};

/// A refusal on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: String,
    help: Option<String>,
    refusal: Option<Box<SyncRefusal>>,
}

impl ApiError {
    pub(crate) fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, name, title, detail: detail.into(), help: None, refusal: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        let title = "The request cannot be understood";
        Self::new(StatusCode::BAD_REQUEST, "bad-request", title, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }

    pub(crate) fn no_job(job: JobId) -> Self {
        Self::not_found(format!("there is no job {job} that you may see"))
            .help("`polder queue --all` lists your tenants' jobs")
    }

    pub(crate) fn conflict(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, name, "It does not fit what is there", detail)
    }

    pub(crate) fn forbidden(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, name, "You may not do this", detail)
    }

    pub(crate) fn stopping() -> Self {
        let detail = "the server is stopping; tasks that run go on";
        let title = "The server is stopping";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", title, detail)
            .help("start it again with `polder up`, then repeat the request")
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        let title = "The server failed";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title, detail)
            .help("the server's log says more; please report this")
    }

    /// The writer gave what is no answer to `what`.
    pub(crate) fn other_answer(what: &str) -> Self {
        Self::internal(format!("{what} was answered with something else"))
    }

    pub(crate) fn other_version(found: &str) -> Self {
        let detail = format!(
            "the client speaks version {found} of the API, this server (polder {}) version \
             {API_MAJOR}",
            env!("CARGO_PKG_VERSION")
        );
        let title = "Client and server are of different versions";
        Self::new(StatusCode::BAD_REQUEST, "version", title, detail)
            .help("use the `polder` that the server was started with")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            kind: format!("{PROBLEM_TYPE_PREFIX}{}", self.name),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            help: self.help,
        };
        let mut body = serde_json::to_value(problem).unwrap_or_default();
        // An agent reads the refusal itself from the same object.
        if let (Some(refusal), Some(members)) = (self.refusal, body.as_object_mut())
            && let Ok(serde_json::Value::Object(more)) = serde_json::to_value(refusal)
        {
            members.extend(more);
        }
        let kind = HeaderValue::from_static("application/problem+json");
        (self.status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
    }
}

impl From<Stopping> for ApiError {
    fn from(_: Stopping) -> Self {
        Self::stopping()
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "reading the journal");
        Self::internal(format!("reading the journal: {error}"))
    }
}

impl From<UnknownUser> for ApiError {
    fn from(UnknownUser(user): UnknownUser) -> Self {
        let detail = format!("the pool does not know user {user}");
        let help = format!("an administrator can run: polder admin user add {user} --tenant T");
        Self::forbidden("unknown-user", detail).help(help)
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let help = format!("this is for {}", denied.who_may);
        Self::forbidden("forbidden", denied.to_string()).help(help)
    }
}

impl From<LoopbackRefusal> for ApiError {
    fn from(refusal: LoopbackRefusal) -> Self {
        let help = match refusal {
            LoopbackRefusal::Token => {
                "send `Authorization: Bearer TOKEN` with what the file `token` in the state \
                 folder holds, or use the Unix socket"
            }
            LoopbackRefusal::Host { .. } | LoopbackRefusal::Origin { .. } => {
                "call the address that `polder up` printed"
            }
        };
        Self::forbidden("loopback", refusal.to_string()).help(help)
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::Unknown(unknown) => unknown.into(),
            WriteError::Denied(denied) => denied.into(),
            WriteError::Refused(refusal) => refused(&refusal, detail),
            WriteError::KeyReused { .. } => Self::conflict("key-reused", detail)
                .help("send a new Idempotency-Key with a new job"),
            WriteError::Owner { .. } => Self::conflict("owner", detail)
                .help("run the server as another user, if this one should not be its admin"),
            WriteError::Holds { .. } => Self::conflict("memory", detail),
            WriteError::Late { .. } => unprocessable("ask", detail),
            WriteError::Stopping => Self::stopping(),
        }
    }
}

fn unprocessable(name: &'static str, detail: String) -> ApiError {
    let title = "The pool cannot accept this";
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, name, title, detail)
}

fn refused(refusal: &Refusal, detail: String) -> ApiError {
    use Refusal as R;
    let unprocessable = |name| unprocessable(name, detail.clone());
    match refusal {
        R::Ask(_) | R::MechanismContradicts { .. } => unprocessable("ask"),
        R::PastQuota { .. } => unprocessable("quota"),
        R::PastPool { .. } | R::GangPastPool { .. } | R::NoNodeLeft { .. } => unprocessable("pool"),
        R::UnknownTenant { .. } | R::NoParent { .. } | R::NoWeight { .. } => {
            unprocessable("tenant")
        }
        R::TenantHasJobs { .. } | R::TenantHasChildren { .. } | R::TenantHasUsers { .. } => {
            ApiError::conflict("in-use", detail)
        }
        R::ResizeEnding { .. } => ApiError::conflict("ending", detail),
        R::ResizeFixed { .. } => ApiError::conflict("fixed", detail),
        R::ResizeAway { .. } => ApiError::conflict("away", detail),
        R::GrowPastRoom { .. } | R::GrowPastDevice { .. } | R::GrowPastWaiting { .. } => {
            ApiError::conflict("room", detail)
        }
        R::GrowPastQuota { .. } => ApiError::conflict("quota", detail),
        R::Policy(_) => unprocessable("policy"),
        R::Reservation(_) | R::ReservedTwice { .. } => unprocessable("reservation"),
        R::NoPolicyBefore => ApiError::conflict("policy", detail),
        R::NoShadow
        | R::UnknownReservation { .. }
        | R::UnknownUser { .. }
        | R::UnknownJob { .. }
        | R::UnknownNode { .. } => ApiError::not_found(detail),
        _ => unprocessable("refused"),
    }
}

impl From<SyncError> for ApiError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Refused(refusal) => {
                let mut error = Self::conflict("sync", refusal.to_string());
                error.refusal = Some(Box::new(refusal));
                error
            }
            SyncError::Inventory(refusal) => refused(&refusal, refusal.to_string()),
            SyncError::Stopping => Self::stopping(),
        }
    }
}
