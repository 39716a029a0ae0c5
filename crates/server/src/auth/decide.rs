//! What each role may do, as one pure function.

use super::Principal;
use polder_model::{Role, TenantPath, User, UserName};
use std::fmt;

/// Something a caller wants to do, and to what.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action<'a> {
    /// See nodes, devices and the shape of the queue.
    SeePool,
    /// See a tenant's jobs, leases, usage and quota.
    SeeTenant(&'a TenantPath),
    /// See a job's environment, which may hold secrets.
    SeeEnvironment { owner: &'a UserName },
    /// See another user's entry.
    SeeUser(&'a User),
    /// Ask for a tenant.
    Submit(&'a TenantPath),
    /// End a job.
    Cancel { owner: &'a UserName, tenant: &'a TenantPath },
    /// Change a job's size or priority.
    Resize { owner: &'a UserName, tenant: &'a TenantPath },
    /// Add, change or remove a tenant.
    ChangeTenant(&'a TenantPath),
    /// Add or change a user: as it was, if it was, and as it is to be.
    SetUser { before: Option<&'a User>, role: Role, tenants: &'a [TenantPath] },
    /// Remove a user.
    RemoveUser(&'a User),
    /// Read the audit log.
    SeeAudit,
    /// Change the settings that decisions depend on.
    ChangePolicy,
    /// Reserve nodes, or give a reservation up.
    Reserve,
    /// Copy the journal.
    Backup,
    /// Stop the server.
    Shutdown,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    /// Whose role is too small.
    pub(crate) user: UserName,
    /// What it is.
    pub(crate) role: Role,
    /// What was wanted.
    pub(crate) wanted: String,
    /// Who may.
    pub(crate) who_may: &'static str,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = role_name(self.role);
        write!(f, "{} is {role} and may not {}", self.user, self.wanted)
    }
}

/// A role for people.
fn role_name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "a viewer",
        Role::User => "a user",
        Role::TenantAdmin => "a tenant admin",
        Role::Operator => "an operator",
        Role::Admin => "an admin",
    }
}

/// Whether `who` may do `what`.
pub(crate) fn decide(who: &Principal, what: Action<'_>) -> Result<(), Denied> {
    let role = who.role;
    let (allowed, who_may) = match what {
        Action::SeePool => (true, "everybody"),
        Action::SeeTenant(tenant) => {
            (role >= Role::Operator || who.belongs(tenant), "its members and operators")
        }
        Action::SeeEnvironment { owner } => {
            (role == Role::Admin || *owner == who.user, "its owner and admins")
        }
        Action::SeeUser(user) => {
            let own = user.name == who.user || administers_all(who, &user.tenants);
            (role >= Role::Operator || own, "the user, its tenant admins and operators")
        }
        Action::Submit(tenant) => {
            let member = role >= Role::User && who.belongs(tenant);
            (role == Role::Admin || member, "users of the tenant")
        }
        Action::Cancel { owner, tenant } | Action::Resize { owner, tenant } => {
            let own = role >= Role::User && *owner == who.user;
            let admin = role == Role::TenantAdmin && who.belongs(tenant);
            (role >= Role::Operator || own || admin, "its owner, tenant admins and operators")
        }
        // Strictly below: nobody raises the quota that holds them.
        Action::ChangeTenant(tenant) => {
            let below = tenant.parent().is_some_and(|parent| who.belongs(&parent));
            let admin = role == Role::TenantAdmin && below;
            (role == Role::Admin || admin, "admins, and tenant admins of a tenant above it")
        }
        Action::SetUser { before, role: wanted, tenants } => {
            let over = before.is_none_or(|user| may_change(who, user.role, &user.tenants));
            let allowed = role == Role::Admin || over && may_change(who, wanted, tenants);
            (allowed, "admins, and tenant admins within their tenants")
        }
        Action::RemoveUser(user) => {
            let allowed = role == Role::Admin || may_change(who, user.role, &user.tenants);
            (allowed, "admins, and tenant admins within their tenants")
        }
        Action::ChangePolicy => (role == Role::Admin, "admins"),
        Action::Reserve => (role >= Role::Operator, "operators and admins"),
        Action::SeeAudit => (role >= Role::Operator, "operators and admins"),
        Action::Backup | Action::Shutdown => (role == Role::Admin, "admins"),
    };
    if allowed {
        return Ok(());
    }
    Err(Denied { user: who.user.clone(), role, wanted: what.to_string(), who_may })
}

fn administers_all(who: &Principal, tenants: &[TenantPath]) -> bool {
    who.role == Role::TenantAdmin && !tenants.is_empty() && tenants.iter().all(|t| who.belongs(t))
}

fn may_change(who: &Principal, role: Role, tenants: &[TenantPath]) -> bool {
    administers_all(who, tenants) && role <= Role::TenantAdmin
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SeePool => f.write_str("see the pool"),
            Self::SeeTenant(tenant) => write!(f, "see tenant {tenant}"),
            Self::SeeEnvironment { owner } => write!(f, "see the environment of {owner}'s job"),
            Self::SeeUser(user) => write!(f, "see user {}", user.name),
            Self::Submit(tenant) => write!(f, "ask for tenant {tenant}"),
            Self::Cancel { owner, tenant } => write!(f, "end a job of {owner} in {tenant}"),
            Self::Resize { owner, tenant } => write!(f, "resize a job of {owner} in {tenant}"),
            Self::ChangeTenant(tenant) => write!(f, "change tenant {tenant}"),
            Self::SetUser { .. } => f.write_str("give a user this role and these tenants"),
            Self::RemoveUser(user) => write!(f, "remove user {}", user.name),
            Self::SeeAudit => f.write_str("read the audit log"),
            Self::ChangePolicy => f.write_str("change the policy"),
            Self::Reserve => f.write_str("reserve nodes"),
            Self::Backup => f.write_str("take a backup"),
            Self::Shutdown => f.write_str("stop the server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::Timestamp;
    use std::fmt::Write as _;

    fn tenant(path: &str) -> TenantPath {
        path.parse().unwrap()
    }

    fn user(name: &str, role: Role, path: &str) -> User {
        let tenants = vec![tenant(path)];
        User { name: name.parse().unwrap(), role, tenants, added_at: Timestamp(0) }
    }

    /// Every role against every action, as a page to be read and reviewed as one.
    #[test]
    fn the_matrix_is_the_one_we_agreed_on() {
        let (own, below, other) = (tenant("lab/vision"), tenant("lab/vision/ocr"), tenant("lab"));
        let (me, peer): (UserName, UserName) = ("me".parse().unwrap(), "peer".parse().unwrap());
        let member = user("peer", Role::User, "lab/vision/ocr");
        let chief = user("chief", Role::Operator, "lab/vision");
        let stranger = user("eve", Role::User, "lab");
        let set = |before, role, tenants| Action::SetUser { before, role, tenants };
        let (ours, theirs) = (std::slice::from_ref(&below), std::slice::from_ref(&other));
        let actions: [(&str, Action<'_>); 29] = [
            ("see the pool", Action::SeePool),
            ("see own tenant", Action::SeeTenant(&own)),
            ("see tenant below", Action::SeeTenant(&below)),
            ("see tenant above", Action::SeeTenant(&other)),
            ("see own environment", Action::SeeEnvironment { owner: &me }),
            ("see peer's environment", Action::SeeEnvironment { owner: &peer }),
            ("see member below", Action::SeeUser(&member)),
            ("see stranger", Action::SeeUser(&stranger)),
            ("submit for own tenant", Action::Submit(&own)),
            ("submit for tenant below", Action::Submit(&below)),
            ("submit for tenant above", Action::Submit(&other)),
            ("cancel own job", Action::Cancel { owner: &me, tenant: &other }),
            ("cancel peer's job below", Action::Cancel { owner: &peer, tenant: &below }),
            ("cancel peer's job above", Action::Cancel { owner: &peer, tenant: &other }),
            ("resize own job", Action::Resize { owner: &me, tenant: &other }),
            ("resize peer's job below", Action::Resize { owner: &peer, tenant: &below }),
            ("resize peer's job above", Action::Resize { owner: &peer, tenant: &other }),
            ("change tenant below", Action::ChangeTenant(&below)),
            ("change own tenant", Action::ChangeTenant(&own)),
            ("add user below", set(None, Role::User, ours)),
            ("add user above", set(None, Role::User, theirs)),
            ("add operator below", set(None, Role::Operator, ours)),
            ("take stranger in", set(Some(&stranger), Role::User, ours)),
            ("demote operator", set(Some(&chief), Role::User, ours)),
            ("remove member below", Action::RemoveUser(&member)),
            ("read the audit log", Action::SeeAudit),
            ("change the policy", Action::ChangePolicy),
            ("reserve nodes", Action::Reserve),
            ("stop the server", Action::Shutdown),
        ];
        let roles = [Role::Viewer, Role::User, Role::TenantAdmin, Role::Operator, Role::Admin];
        let mut page = String::from("                        viewer user t_adm oper admin\n");
        for (name, action) in actions {
            write!(page, "{name:<24}").unwrap();
            for role in roles {
                let who = Principal { user: me.clone(), role, tenants: vec![own.clone()] };
                page += if decide(&who, action).is_ok() { "yes   " } else { "-     " };
            }
            page = page.trim_end().to_owned() + "\n";
        }
        let golden = include_str!("matrix.txt");
        assert_eq!(page, golden, "what roles may do has changed:\n{page}");
    }

    #[test]
    fn a_denial_names_who_and_what() {
        let role = Role::Viewer;
        let who = Principal { user: "ada".parse().unwrap(), role, tenants: vec![] };
        let denied = decide(&who, Action::Shutdown).unwrap_err();
        assert_eq!(denied.to_string(), "ada is a viewer and may not stop the server");
    }
}
