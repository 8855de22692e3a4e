//! `skv bench`: measures the speed of the store.
//!
//! - `plan`: the settings of a measurement; `load`: the clients; `meter`: their results; `report`:
//!   the output

mod load;
mod meter;
mod plan;
mod report;

use crate::outcome::Outcome;
use crate::target::Target;
use skv_client::{Clerk, Transport};

pub(crate) use plan::Args;

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    let mut options = target.options()?;
    options.transport = args.transport.into();
    options.max_in_flight = usize::MAX;
    match options.transport {
        Transport::Stream => options.streams = args.connections.unwrap_or(options.streams),
        Transport::Unary => options.connections = args.connections.unwrap_or(options.connections),
    }
    let clerk = Clerk::connect(options)?;
    if args.reads() {
        load::fill(&clerk, args).await?;
    }
    let meter = load::run(&clerk, args).await?;
    report::show(args, &meter)
}
