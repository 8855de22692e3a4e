//! Commands by which shards change their groups: the shard manager makes the change, and the groups
//! carry it out on their own. So a command only sends the request, and watches.
//!
//! - `change`: the request, and the words for it
//! - `moves`: the shards on their way, and their progress (pure)
//! - `dry_run`: the output of `--dry-run`; `estimate`: the expected duration (pure)
//! - `follow`: watches until every shard is there; `speed`: bytes per second (pure); `screen`: the
//!   display meanwhile

mod change;
mod dry_run;
mod estimate;
mod follow;
mod moves;
mod screen;
mod speed;

use serde::Serialize;
use skv_local::screen::Stream;
use tokio::time::Instant;

pub(crate) use self::change::Change;
use self::change::Pinning;
use self::moves::{End, Move, Moves};
use self::screen::{Screen, to_move};
use crate::manager;
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::shards::{self, Pin};
use crate::target::Target;

/// The end of the help of all these commands.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 as asked, 1 failed, or stopped by Ctrl-C before every shard was there. Shards \
move without this command: Ctrl-C only stops the watching.";

/// The flags of all these commands. Without any of them a change is made and watched.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// Change nothing: show what would move, how much that is, and about how long it takes.
    #[arg(long)]
    dry_run: bool,
    /// Don't watch until every shard is there.
    #[arg(long, conflicts_with = "dry_run")]
    no_wait: bool,
    #[command(flatten)]
    output: Output,
    /// The stream of what is said to people.
    #[arg(skip)]
    stream: Stream,
}

impl Flags {
    /// Returns the flags of a change that is made and watched, and told on this stream.
    pub(crate) fn on(stream: Stream) -> Flags {
        Flags { stream, ..Flags::default() }
    }

    /// Returns the flags of one that isn't made.
    pub(crate) fn dry_run(stream: Stream) -> Flags {
        Flags { dry_run: true, ..Flags::on(stream) }
    }
}

/// The result of a change, for programs.
#[derive(Serialize)]
struct Report<'a> {
    configuration: u64,
    /// True if every shard is where this configuration has it.
    done: bool,
    moved: usize,
    /// The bytes of all moves; `null` if a group didn't report them.
    bytes: Option<u64>,
    seconds: f64,
    moves: Vec<&'a Move>,
    /// The pins that ended, since their group no longer shares the shards.
    dropped_pins: Vec<Pin>,
    #[serde(flatten)]
    pinning: Pinning,
}

/// Makes a change, or shows its result in advance.
pub(crate) async fn run(target: &Target, change: &Change, flags: &Flags) -> anyhow::Result<Outcome> {
    let (format, stream) = (flags.output.format, flags.stream);
    target.announce();
    let pinning = change.pinning(target).await?;
    let answer = change.ask(target, flags.dry_run).await?;
    let mut moves = Moves::new(&answer.moves);
    let dropped_pins: Vec<Pin> = answer.dropped_pins.iter().map(Into::into).collect();
    if format == Format::Text && !dropped_pins.is_empty() {
        output::say_on(stream, format_args!("pins that end: {}", shards::list_pins(&dropped_pins)));
    }
    if flags.dry_run {
        return dry_run::show(target, change, answer.configuration, moves, pinning, format).await;
    }
    if format == Format::Text && !moves.is_empty() {
        output::say_on(stream, format_args!("configuration {}: {}", answer.configuration, to_move(&moves)));
    }
    let started = Instant::now();
    // A shard that was to leave, and stays after all, may have left.
    let is_settled = moves.is_empty() && is_settled(target, answer.configuration).await?;
    let end = if flags.no_wait || is_settled {
        End::NotWatched
    } else {
        let mut screen = Screen::new(format, stream);
        follow::follow(target, answer.configuration, &mut moves, &mut screen).await?
    };
    let elapsed = started.elapsed();
    match format {
        Format::Json => output::even_unread(output::print_json(&Report {
            configuration: answer.configuration,
            done: is_settled || end == End::Done,
            moved: moves.counts().arrived,
            bytes: moves.bytes(),
            seconds: elapsed.as_secs_f64(),
            moves: moves.iter().collect(),
            dropped_pins,
            pinning,
        }))?,
        Format::Text if moves.is_empty() && end != End::Stopped => {
            output::say_on(stream, change.nothing_to_move(target, &pinning, false).await?);
        }
        Format::Text => output::say_on(stream, screen::last_line(end, &moves, elapsed)),
    }
    Ok(if end == End::Stopped { Outcome::Failed } else { Outcome::Done })
}

/// Returns true if every shard is where this configuration has it, for good.
async fn is_settled(target: &Target, configuration: u64) -> anyhow::Result<bool> {
    let map = manager::shard_map(target).await?;
    Ok(map.configuration >= configuration && map.moving == 0)
}
