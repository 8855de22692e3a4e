//! Processes that outlived the supervisor that started them.

use rustix::process::Signal;

use crate::keeper::STOP_WITHIN;
use crate::process::ProcessId;
use crate::record::Record;
use crate::screen::Screen;

/// Stops the processes that outlived an earlier supervisor.
pub async fn stop(record: &mut Record, screen: &Screen) {
    record.supervisor = None;
    let mut leftovers = Vec::new();
    for member in &mut record.members {
        if let Some(process) = member.process.take().filter(ProcessId::is_alive) {
            let (name, pid) = (&member.name, process.pid);
            screen
                .say(&format!("{name} (process {pid}) was left running by an earlier `skv up`: stopping it"));
            process.signal(Signal::TERM);
            leftovers.push((name, process));
        }
    }
    for (name, process) in leftovers {
        if !process.ends_within(STOP_WITHIN).await {
            screen.say(&format!("{name} doesn't stop: killing it"));
            process.signal(Signal::KILL);
            process.ends_within(STOP_WITHIN).await;
        }
    }
}
