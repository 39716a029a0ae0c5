//! `polder admin policy`: the settings that decisions depend on.

use super::shadow;
use super::tenant::told;
use super::{Context, Done};
use crate::policy;
use clap::Subcommand;
use hyper::Method;
use polder_model::Policy;
use polder_server::api::NodeList;
use std::path::PathBuf;

const FILE_HELP: &str = "\
A policy file is TOML; every key may be left out:
  prepare_limit = \"30s\"           # for the nodes of a gang to prepare it
  contact_limit = \"10m\"           # a node that is cut off so long ends a lease
  returns_max = 20                # how often a job is given back before it cannot start
  utc_offset_minutes = 60         # local time, for [[times]]
  [order]
  by = [\"priority\", \"fair_share\", \"arrival\"]  # the first that tells two jobs apart decides
  ageing = \"1h\"                  # waiting so long counts as one point of priority
  wait_max = \"2d\"                # who waited so long goes first
  classes = [\"interactive\"]      # for the term `class`
  # other terms: shortest, smallest_area, deadline, least_service, gittins, class, or a weighted
  # sum in thousandths: { blend = { shortest = 700, arrival = 300 } }
  [[times]]                       # another order at some hours; 00:00 until 24:00 is a day
  from = \"08:00\"
  until = \"20:00\"
  days = [\"monday\", \"tuesday\"]
  order = { by = [\"class\"], classes = [\"interactive\"] }
  [fair_share]
  half_life = \"7d\"               # after this long, past use counts half
  model_weights = { T4 = 250 }    # thousandths
  [place]
  rule = \"layered\"               # tightest, best_fit, spread, balance, fragmentation, layered
  suit = true                     # the best-suited model first, not the biggest
  [backfill]
  reserved = 1                    # 0 none, 1 EASY, many conservative
  believe = \"predicted\"          # limit, estimate, predicted
  [reclaim]
  priority = true                 # lower priority yields to higher
  quota = true                    # who holds more than deserved yields to who holds less
  spot = true                     # spot yields to whatever is not
  order = true                    # who is behind in the order yields to who is before
  class = true                    # who borrowed a class's partition yields to that class
  runtime_min = \"5m\"
  moves_max = 2
  [elastic]                       # of gangs with --elastic and services
  grow = true
  shrink = true                   # members beyond the fewest make room for who waits
  pause = \"30s\"                  # how long a size is kept before it grows
  [classes.training]
  partition = \"train\"
  borrow = true";

const SHADOW_HELP: &str = "\
Nothing is decided by a policy in the shadow. Without FILE, the journal is replayed twice from its
beginning, under the policy in force and under the one in the shadow, and the waits of the jobs that
came since it was put there are compared, block by block. The journal is read where the daemon keeps
it, and not changed.

What was learned goes this way:
  polder sim learn ~/.local/state/polder --out learned   # found and proved on the past
  polder admin policy shadow learned/policy.toml         # looked at, deciding nothing
  polder admin policy shadow                             # days later: what would have differed
  polder admin policy set learned/policy.toml            # let in
  polder admin policy rollback                           # and out again";

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Print it
    Show,
    /// Replace it by a file's; decisions follow it from then on
    #[command(after_long_help = FILE_HELP)]
    Set {
        /// The file, TOML; `-` is standard input.
        file: PathBuf,
    },
    /// Go back to the policy that was in force before this one
    Rollback,
    /// Look at a policy beside the one in force, and say what would have differed since
    #[command(after_long_help = SHADOW_HELP)]
    Shadow(shadow::Shadow),
    /// Say whether a file is a policy, and change nothing
    #[command(after_long_help = FILE_HELP)]
    Check {
        /// The file, TOML; `-` is standard input.
        file: PathBuf,
    },
}

impl PolicyCommand {
    pub(super) async fn execute(self, context: &Context) -> Done {
        match self {
            Self::Show => {
                let now: Policy = context.client()?.get("policy").await?;
                if context.out.json_wanted() {
                    context.out.json(&now)?;
                } else {
                    context.out.text(policy::written(&now)?.trim_end())?;
                }
            }
            Self::Set { file } => {
                let wanted = policy::read(&file)?;
                let client = context.client()?;
                let set: Policy = client.send(Method::PUT, "policy", &wanted).await?;
                told(context, &set, "the policy is set")?;
                policy::doubtful(&set).iter().for_each(|text| context.out.warn(text));
                // Nodes may join later: it is told, not refused.
                let list: NodeList = client.get("nodes").await?;
                let nodes = list.nodes.iter().map(|node| &node.facts);
                let how =
                    |partition: &str| format!(", as `polder up --partition {partition}` does");
                policy::partitions_missing(&set, nodes, how)
                    .iter()
                    .for_each(|text| context.out.warn(text));
            }
            Self::Rollback => {
                let now: Policy =
                    context.client()?.send(Method::POST, "policy/rollback", &()).await?;
                told(context, &now, "the policy before is in force again")?;
            }
            Self::Shadow(shadow) => return shadow.execute(context).await,
            Self::Check { file } => {
                let checked = policy::read(&file)?;
                told(context, &checked, &format!("{} is a policy", file.display()))?;
                policy::doubtful(&checked).iter().for_each(|text| context.out.warn(text));
            }
        }
        Ok(0)
    }
}
