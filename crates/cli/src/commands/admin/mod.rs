//! `polder admin`: tenants, quotas, the policy, reservations, users and backups.

mod backup;
mod policy;
mod quota;
mod reservation;
mod shadow;
mod tenant;
mod user;

use super::{Context, Done};
use clap::{Args, Subcommand};

/// Flags of `polder admin`.
#[derive(Debug, Args)]
pub(crate) struct Admin {
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Organisations, teams and projects
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// What tenants may hold at once
    #[command(subcommand)]
    Quota(quota::QuotaCommand),
    /// Who is next, where, who yields: the settings that decisions depend on
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Nodes kept for a tenant, or for maintenance, at times known ahead
    #[command(subcommand)]
    Reservation(reservation::ReservationCommand),
    /// People and what they may do
    #[command(subcommand)]
    User(user::UserCommand),
    /// Write a complete copy of the journal to a new file on the daemon's machine
    Backup(backup::Backup),
}

impl Admin {
    pub(super) async fn execute(self, context: &Context) -> Done {
        match self.command {
            AdminCommand::Tenant(command) => command.execute(context).await,
            AdminCommand::Quota(command) => command.execute(context).await,
            AdminCommand::Policy(command) => command.execute(context).await,
            AdminCommand::Reservation(command) => command.execute(context).await,
            AdminCommand::User(command) => command.execute(context).await,
            AdminCommand::Backup(backup) => backup.execute(context).await,
        }
    }
}
