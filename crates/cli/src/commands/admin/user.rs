//! `polder admin user`: people and what they may do.

use super::tenant::told;
use super::{Context, Done};
use crate::client::{Client, Query};
use crate::failure::Failure;
use crate::output::Table;
use crate::show;
use clap::{Subcommand, ValueEnum};
use hyper::Method;
use polder_model::{Role, TenantPath, User, UserName};
use polder_server::api::{Removed, UserChange, UserList};
use serde_json::json;

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// List them
    List,
    /// Let a user of the operating system use the pool, or change what they may do
    Add {
        /// The operating system's name of the user.
        user: UserName,
        /// A tenant they may ask for, and all below it; may be given again. The first is used
        /// when a job names none.
        #[arg(long = "tenant", value_name = "TENANT")]
        tenants: Vec<TenantPath>,
        /// What they may do; as before where it is not said, and `user` for somebody new.
        #[arg(long, value_name = "ROLE")]
        role: Option<RoleName>,
    },
    /// Let a user no longer use the pool; their jobs go on
    Remove {
        /// Who.
        user: UserName,
    },
}

/// A role by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Sees.
    Viewer,
    /// Sees, and asks for their tenants.
    User,
    /// Changes users and quotas within their tenants.
    TenantAdmin,
    /// Acts on every job and node.
    Operator,
    /// Everything.
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Viewer => Self::Viewer,
            RoleName::User => Self::User,
            RoleName::TenantAdmin => Self::TenantAdmin,
            RoleName::Operator => Self::Operator,
            RoleName::Admin => Self::Admin,
        }
    }
}

impl UserCommand {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        match self {
            Self::List => list(context, &client).await?,
            Self::Add { user, tenants, role } => {
                let path = Query::new(&["users", user.as_str()]);
                let role = match role {
                    Some(role) => role.into(),
                    None => role_now(&client, &user).await?.unwrap_or(Role::User),
                };
                let change = UserChange { role, tenants };
                let set: User = client.send(Method::PUT, path, &change).await?;
                told(context, &set, &format!("user {user} is set"))?;
                // Over HTTP the daemon may be at the other end of a tunnel, where others are users.
                if !context.over_http() && polder_server::is_nobody_here(&user) {
                    context.out.warn(&format!(
                        "/etc/passwd of this machine has no user {user}: nobody can use the pool by \
                         that name until it has; whoever is known from elsewhere alone is `uid-N`, \
                         with the number that `id -u` says"
                    ));
                }
            }
            Self::Remove { user } => {
                let path = Query::new(&["users", user.as_str()]);
                let removed: Removed = client.send(Method::DELETE, path, &json!({})).await?;
                told(context, &removed, &format!("user {} is removed", removed.removed))?;
            }
        }
        Ok(0)
    }
}

/// What a user may do already, if the pool knows them.
async fn role_now(client: &Client, user: &UserName) -> Result<Option<Role>, Failure> {
    let list: UserList = client.get("users").await?;
    Ok(list.users.iter().find(|known| known.name == *user).map(|known| known.role))
}

async fn list(context: &Context, client: &Client) -> Result<(), Failure> {
    let list: UserList = client.get("users").await?;
    if context.out.json_wanted() {
        return context.out.json(&list);
    }
    let mut table = Table::new(&["USER", "ROLE", "ADDED", "TENANTS"], "no users");
    for user in &list.users {
        let tenants: Vec<String> = user.tenants.iter().map(ToString::to_string).collect();
        table.row([
            user.name.to_string(),
            role(user.role).to_owned(),
            show::moment(user.added_at),
            tenants.join(" "),
        ]);
    }
    context.out.table(&table)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::User => "user",
        Role::TenantAdmin => "tenant-admin",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}
