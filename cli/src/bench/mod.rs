//! `skv bench`: measures the speed of the store.
//!
//! - `settings`: those of a measurement; `keys`: what it writes, and removes again
//! - `load`: the clients; `stop`: ends them early; `meter`: their results; `report`: the output

mod keys;
mod load;
mod meter;
mod report;
mod settings;
mod stop;

use skv_client::{Clerk, Transport};

use self::stop::Stop;
use crate::outcome::Outcome;
use crate::target::Target;

pub(crate) use settings::Args;

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    target.announce();
    let mut options = target.options().await?;
    options.transport = args.transport.into();
    options.max_in_flight = usize::MAX;
    match options.transport {
        Transport::Stream => options.streams = args.connections.unwrap_or(options.streams),
        Transport::Unary => options.connections = args.connections.unwrap_or(options.connections),
    }
    let clerk = Clerk::connect(options)?;
    let stop = Stop::on_ctrl_c();
    let measured = async {
        if args.reads() {
            tokio::select! {
                filled = keys::fill(&clerk, args) => filled.map_err(|error| target.failed(error).context("can't write the keys to read"))?,
                () = stop.wait() => anyhow::bail!("stopped before anything was measured"),
            }
        }
        load::run(&clerk, args, &stop).await
    };
    let measured = measured.await;
    let fate = if args.keep() { keys::Fate::Kept } else { keys::clear(&clerk, args).await };
    let (meter, seconds) = measured?;
    report::show(args, &meter, seconds, &fate)
}
