//! `polder admin reservation`: nodes kept for a tenant, or for maintenance, at times known ahead.

use super::tenant::told;
use super::{Context, Done};
use crate::client::Query;
use crate::output::Table;
use crate::show;
use clap::{Args, Subcommand};
use hyper::Method;
use polder_model::{Micros, NodeId, Reservation, TenantPath};
use polder_server::api::{Removed, ReservationChange, ReservationList, WhoAmI};
use serde_json::json;

/// What to do with reservations.
#[derive(Debug, Subcommand)]
pub(crate) enum ReservationCommand {
    /// List them
    List,
    /// Reserve nodes, or change a reservation
    Set(Set),
    /// Give a reservation up
    Remove {
        /// Its name.
        name: String,
    },
}

/// A reservation as flags.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Its name.
    name: String,
    /// Which nodes; may be given again.
    #[arg(long = "node", value_name = "NODE", required = true)]
    nodes: Vec<NodeId>,
    /// How long from now it begins [default: now].
    #[arg(long, value_name = "TIME", default_value = "0s", allow_hyphen_values = true)]
    starts_in: Micros,
    /// How long it lasts.
    #[arg(long = "for", value_name = "TIME", allow_hyphen_values = true)]
    length: Micros,
    /// Whose jobs alone may run there then [default: nobody's, maintenance].
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantPath>,
    /// What it is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

impl ReservationCommand {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        match self {
            Self::List => {
                let list: ReservationList = client.get("reservations").await?;
                if context.out.json_wanted() {
                    context.out.json(&list)?;
                    return Ok(0);
                }
                let heading = ["RESERVATION", "FOR", "FROM", "UNTIL", "NODES", "WHY"];
                let mut table = Table::new(&heading, "nothing is reserved");
                for entry in &list.reservations {
                    let nodes: Vec<&str> = entry.nodes.iter().map(NodeId::as_str).collect();
                    let tenant = entry.tenant.as_ref();
                    table.row([
                        entry.name.clone(),
                        tenant.map_or("maintenance".to_owned(), ToString::to_string),
                        show::moment(entry.from),
                        show::moment(entry.until),
                        nodes.join(" "),
                        entry.why.clone(),
                    ]);
                }
                context.out.table(&table)?;
            }
            Self::Set(set) => {
                let path = Query::new(&["reservations", &set.name]);
                let me: WhoAmI = client.get("whoami").await?;
                let from = me.now.after(set.starts_in);
                let change = ReservationChange {
                    tenant: set.tenant,
                    nodes: set.nodes,
                    from,
                    until: from.after(set.length),
                    why: set.why,
                };
                let made: Reservation = client.send(Method::PUT, path, &change).await?;
                told(context, &made, &format!("reservation {} is set", made.name))?;
            }
            Self::Remove { name } => {
                let path = Query::new(&["reservations", &name]);
                let removed: Removed = client.send(Method::DELETE, path, &json!({})).await?;
                told(context, &removed, &format!("reservation {} is given up", removed.removed))?;
            }
        }
        Ok(0)
    }
}
