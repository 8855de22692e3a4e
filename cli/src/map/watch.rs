//! Each change of the map as it happens, until Ctrl-C.

use std::pin::pin;

use futures::{StreamExt as _, TryFutureExt as _};
use skv_proto::v1;

use super::current;
use super::difference::Difference;
use crate::manager;
use crate::outcome::Outcome;
use crate::output::{self, Format};
use crate::target::Target;
use crate::watching::until_ctrl_c;

pub(super) async fn run(target: &Target, format: Format) -> anyhow::Result<Outcome> {
    until_ctrl_c(changes(target, format).map_ok(|()| Outcome::Done)).await
}

async fn changes(target: &Target, format: Format) -> anyhow::Result<()> {
    let mut maps = pin!(manager::maps(target));
    // The first difference is from the empty map: a reader that adds up all of them has the map.
    let mut last = v1::ShardMap::default();
    while let Some(map) = maps.next().await {
        let map = map?;
        let difference = Difference::between(&last, &map);
        match format {
            // People see the map first.
            Format::Text if last == v1::ShardMap::default() => {
                current::show(&map, target.local_store().map(|local| local.name).as_deref(), format)?;
            }
            _ if difference.is_empty() => {}
            Format::Json => output::print_json_line(&difference)?,
            Format::Text => output::say(&difference)?,
        }
        last = map;
    }
    Ok(())
}
