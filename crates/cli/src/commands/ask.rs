//! What `run` and `submit` share: from a draft to a job that the daemon has accepted.

use super::Context;
use crate::args::TOKEN_VARIABLE;
use crate::client::{Client, Query};
use crate::failure::{Exit, Failure};
use crate::job::{Caller, Draft};
use polder_model::{Ask, Job, Permille, Stdio, TenantPath};
use polder_profile::record::PROFILE_VARIABLE;
use polder_server::api::{TenantView, WhoAmI};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;

/// Completes a draft with what the daemon knows of the caller.
pub(super) async fn complete(
    context: &Context,
    client: &Client,
    draft: Draft,
    stdio: Stdio,
) -> Result<Ask, Failure> {
    draft.check()?;
    let directory = here(draft.directory.as_deref(), stdio)?;
    let me: WhoAmI = client.get("whoami").await?;
    let tenant = match (&draft.tenant, me.tenants.first()) {
        (Some(named), _) => named.clone(),
        (None, Some(first)) => first.clone(),
        (None, None) => {
            return Err(Failure::new(Exit::Denied, format!("{} belongs to no tenant", me.user))
                .help("name one with --tenant, or ask an administrator to add you to one"));
        }
    };
    let said = draft.compute.is_some() || draft.whole == Some(true);
    let compute = if said { None } else { tenant_share(client, &tenant).await? };
    let caller = Caller {
        user: me.user,
        tenant,
        compute,
        directory,
        now: me.now,
        environment: environment(context, std::env::vars_os()),
    };
    draft.finish(caller, stdio)
}

/// Hands a job in; sending it twice by accident does no harm.
pub(super) async fn submit(client: &Client, ask: &Ask) -> Result<Job, Failure> {
    client.send_once("jobs", ask, &key()?).await
}

/// The share of a tenant's jobs that name none. A tenant that is not known is left for the
/// submission to complain of.
async fn tenant_share(client: &Client, tenant: &TenantPath) -> Result<Option<Permille>, Failure> {
    let path = Query::new(&["tenants", tenant.as_str()]);
    match client.get::<TenantView>(path).await {
        Ok(view) => Ok(view.tenant.default_compute),
        Err(failure) if matches!(failure.exit, Exit::NotFound | Exit::Denied) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Where the job would run, or what its directory counts from. A job that names a whole path does not
/// care where its caller is.
pub(super) fn here(named: Option<&str>, stdio: Stdio) -> Result<String, Failure> {
    if let Some(path) = named.filter(|path| path.starts_with('/')) {
        return Ok(path.to_owned());
    }
    let path = std::env::current_dir().map_err(|error| nowhere(&error, stdio))?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::usage(format!("the current directory {} is not UTF-8", path.display()))
            .help("start from a directory whose name is")
    })
}

/// The caller's directory cannot be told, and so nothing can run there.
fn nowhere(error: &io::Error, stdio: Stdio) -> Failure {
    let exit = if stdio == Stdio::Client { Exit::NotStarted } else { Exit::Usage };
    let why = match error.kind() {
        io::ErrorKind::NotFound => "the current directory, where the command is to run, has been \
                                    removed"
            .to_owned(),
        _ => format!("the current directory, where the command is to run, is not known: {error}"),
    };
    Failure::new(exit, why).help("change to a directory that is there (`cd`), and try again")
}

/// The caller's variables as the job gets them. Polder's own token is nobody's business.
fn environment(
    context: &Context,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for (name, value) in variables {
        match (name.into_string(), value.into_string()) {
            // Who is not profiled writes nothing down, also within a program that is.
            (Ok(name), _) if name == TOKEN_VARIABLE || name == PROFILE_VARIABLE => {}
            (Ok(name), Ok(value)) => drop(kept.insert(name, value)),
            (Ok(name), Err(_)) => {
                context.out.warn(&format!("variable {name} is not UTF-8 and is left out"));
            }
            (Err(name), _) => {
                let name = name.to_string_lossy();
                context.out.warn(&format!("variable {name} is not UTF-8 and is left out"));
            }
        }
    }
    kept
}

/// The words of a command, which travel as JSON.
pub(super) fn words(command: Vec<OsString>) -> Result<Vec<String>, Failure> {
    let word = |word: OsString| {
        word.into_string().map_err(|word| {
            Failure::usage(format!("argument {} is not UTF-8", word.display()))
                .help("pass it in a file, or by a name that is UTF-8")
        })
    };
    command.into_iter().map(word).collect()
}

/// A key that nobody else has.
fn key() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| std::io::Read::read_exact(&mut source, &mut bytes))
        .map_err(|error| Failure::failed(format!("/dev/urandom: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
