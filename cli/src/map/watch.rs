//! Each change of the map as it happens, until Ctrl-C.

use std::pin::pin;

use futures::StreamExt as _;
use skv_proto::v1;

use super::difference::Difference;
use crate::manager;
use crate::outcome::Outcome;
use crate::output::{self, Format};
use crate::target::Target;

pub(super) async fn run(target: &Target, format: Format) -> anyhow::Result<Outcome> {
    tokio::select! {
        ended = changes(target, format) => ended?,
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    Ok(Outcome::Done)
}

async fn changes(target: &Target, format: Format) -> anyhow::Result<()> {
    let mut maps = pin!(manager::maps(target));
    // The first difference is from the empty map: a reader that adds up all of them has the map.
    let mut last = v1::ShardMap::default();
    while let Some(map) = maps.next().await {
        let map = map?;
        let difference = Difference::between(&last, &map);
        if !difference.is_empty() {
            match format {
                Format::Json => output::print_json_line(&difference)?,
                Format::Text => output::say(&difference)?,
            }
        }
        last = map;
    }
    Ok(())
}
