//! From a connection to a name, and from a name to a role.

use polder_engine::Engine;
use polder_model::{Role, TenantPath, UserName};

/// Whom a connection belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The operating system's name of the user.
    pub(crate) user: UserName,
    /// The daemon's own user, or root: they could read and write the journal anyway.
    pub(crate) owner: bool,
    /// May speak for the node: the daemon's own user, over the Unix socket.
    pub(crate) agent: bool,
}

/// A caller with what the pool knows of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) user: UserName,
    pub(crate) role: Role,
    pub(crate) tenants: Vec<TenantPath>,
}

impl Principal {
    /// Whether it belongs to this tenant or one above it.
    pub(crate) fn belongs(&self, tenant: &TenantPath) -> bool {
        tenant.lineage().any(|above| self.tenants.contains(&above))
    }
}

/// The pool does not know this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownUser(pub(crate) UserName);

/// What the pool knows of a caller. The owner is an admin whatever the pool says.
pub(crate) fn principal(engine: &Engine, caller: &Caller) -> Result<Principal, UnknownUser> {
    let known = engine.users().find(|user| user.name == caller.user);
    let role = match known {
        _ if caller.owner => Role::Admin,
        Some(user) => user.role,
        None => return Err(UnknownUser(caller.user.clone())),
    };
    let mut tenants = known.map_or_else(Vec::new, |user| user.tenants.clone());
    if tenants.is_empty() && caller.owner {
        tenants.extend(engine.tenants().next().map(|tenant| tenant.path.clone()));
    }
    Ok(Principal { user: caller.user.clone(), role, tenants })
}

impl Caller {
    /// The user at the other end of a Unix socket, by the kernel's word.
    pub(crate) fn from_uid(uid: u32) -> Self {
        let own = rustix::process::geteuid().as_raw();
        let user = name_of(uid, &std::fs::read_to_string("/etc/passwd").unwrap_or_default());
        Self { user, owner: uid == own || uid == 0, agent: uid == own }
    }

    /// Whoever can read the daemon's token over loopback HTTP: the daemon's own user.
    pub(crate) fn from_token() -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self { agent: false, ..Self::from_uid(own) }
    }
}

/// Whether no connection on this machine can ever be this user's, as its password file is now.
pub fn is_nobody_here(user: &UserName) -> bool {
    let is_number = user.as_str().strip_prefix("uid-").is_some_and(|id| id.parse::<u32>().is_ok());
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    !is_number && !passwd.lines().any(|line| line.split(':').next() == Some(user.as_str()))
}

/// The name of a user id in the text of a password file; `uid-N` when it has none that can be
/// used. A name that looks like another one's `uid-N` is not taken.
fn name_of(uid: u32, passwd: &str) -> UserName {
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid) && !name.starts_with("uid-")).then_some(name)
    });
    let number = || format!("uid-{uid}").parse().expect("letters, digits and '-' are a name");
    named.and_then(|name| name.parse().ok()).unwrap_or_else(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_names() {
        let passwd = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/:\nuid-7:x:1001:1::/:\n\
                      b\u{e4}d:x:1002:1::/:\nbroken\n";
        let check = |uid, expect| assert_eq!(name_of(uid, passwd).as_str(), expect);
        check(0, "root");
        check(1000, "ada");
        check(1001, "uid-1001");
        check(1002, "uid-1002");
        check(7, "uid-7");
    }

    #[test]
    fn users_of_the_machine_and_numbers_are_somebody() {
        let check = |name: &str, nobody| {
            assert_eq!(is_nobody_here(&name.parse().unwrap()), nobody, "{name}");
        };
        check("root", false);
        check("uid-4711", false);
        check("uid-x", true);
        check("no-such-user-here", true);
    }
}
