//! Makes a data directory fit for a start.

use std::collections::BTreeSet;

use skv_resource::Manifest;
use skv_sharding::GroupId;

use crate::data_dir::DataDir;
use crate::record::{Record, Shape};
use crate::screen::Screen;
use crate::{home, leftovers, ports, settings, wanted};

/// Makes the directory fit for a start: its record matches the manifest, nothing of an earlier run is
/// left, and every port is free.
pub async fn prepare(dir: &DataDir, resource: &Manifest, screen: &Screen) -> anyhow::Result<Record> {
    let (shape, asked_for) = (Shape::of(resource), (0..resource.spec.groups).map(GroupId).collect());
    let mut record = match dir.load()? {
        Some(record) => {
            record.shape.must_equal(&shape, dir.path())?;
            record
        }
        None => Record::new(shape, &asked_for),
    };
    record.settings = settings::of(resource)?;
    leftovers::stop(&mut record, screen).await;
    if record.shape.memory_only {
        // The groups are gone with the processes that held them; so is the shard manager's record of them.
        for manager in record.members.iter().filter(|member| member.is_manager()) {
            dir.forget(manager)?;
        }
        wanted::forget(dir.path())?;
        record.have_groups(&asked_for);
    } else if let Some(wanted) = wanted::wanted(dir.path())? {
        // The supervisor was killed before it had removed them.
        let gone: BTreeSet<GroupId> = &record.groups() - &wanted;
        for server in gone.iter().flat_map(|group| record.servers(*group)) {
            dir.forget(server)?;
        }
        record.have_groups(&wanted);
    }
    ports::choose(&mut record)?;
    dir.save(&record)?;
    home::set_current(&record.shape.name, dir.path())?;
    Ok(record)
}
