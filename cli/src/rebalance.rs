//! `skv rebalance`.

use crate::outcome::Outcome;
use crate::resharding::{self, Change, EXIT_CODES, Flags};
use crate::target::Target;

/// Spread the shards evenly over the groups that share them; also shows moves under way.
///
/// Every change spreads the shards already, so usually there is nothing to move but what is on
/// its way since an earlier change.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXIT_CODES}

Examples:
  skv rebalance             watch the moves that are under way
  skv rebalance --dry-run   which these are, and about how long it takes
"))]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    resharding::run(target, &Change::Rebalance, &args.flags).await
}
