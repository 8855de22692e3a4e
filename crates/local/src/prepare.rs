//! Makes a data directory fit for a start.

use std::collections::BTreeSet;

use skv_resource::Manifest;
use skv_sharding::GroupId;

use crate::data_dir::DataDir;
use crate::home::Entry;
use crate::record::{Record, Shape};
use crate::screen::Screen;
use crate::{leftovers, ports, settings, stores, wanted};

/// Makes the directory fit for a start: its record matches the manifest, nothing of an earlier run is
/// left, and every port is free: those that it had, or those from `first_port` on.
pub async fn prepare(
    dir: &DataDir,
    resource: &Manifest,
    first_port: Option<u16>,
    screen: &Screen,
) -> anyhow::Result<Record> {
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
    record.members.iter_mut().for_each(|member| member.ended = None);
    record.problem = None;
    match first_port {
        Some(first) => ports::choose_from(&mut record, first)?,
        None => {
            for port in ports::choose(&mut record)? {
                screen
                    .say(&format!("port {port} is taken by another program: the store has another one now"));
            }
        }
    }
    dir.save(&record)?;
    become_current(&record.shape.name, dir, screen);
    Ok(record)
}

/// Has commands mean this store if they name none. Where there is no home directory to remember that in,
/// they must name it.
fn become_current(name: &str, dir: &DataDir, screen: &Screen) {
    let entry = Entry { name: name.to_owned(), data_dir: dir.path().to_owned() };
    match stores::start(&entry) {
        Ok(None) => {}
        Ok(Some(before)) => screen.say(&format!(
            "commands that name no store mean {name} from now on, and no longer {}, which runs too: `{} use {}` \
             changes that",
            before.name,
            screen.skv(),
            before.name
        )),
        Err(error) => screen.say(&format!(
            "commands must name this store with --data-dir {}, since it can't be remembered: {error:#}",
            dir.path().display()
        )),
    }
}
