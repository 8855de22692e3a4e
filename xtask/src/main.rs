//! Every chore of the project is `cargo xtask NAME`.

mod book;
mod build;
mod cache;
mod check;
mod command;
mod crd;
mod e2e;
mod format;
mod go;
mod image;
mod interrupts;
mod kube;
mod kwok;
mod manifests;
mod mutants;
mod packages;
mod promtool;
mod python;
mod quick;
mod scale;
mod scratch;
mod sim;
mod soak;
mod step;
mod test;
mod texts;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// The chores of this project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    Test(test::Args),
    Tidy(tidy::Args),
    Soak(soak::Args),
    Check(check::Args),
    Book(book::Args),
    Crd(crd::Args),
    Manifests(manifests::Args),
    Sim(sim::Args),
    Mutants(mutants::Args),
    Python(python::Args),
    Kube(kube::Args),
    Image(image::Args),
    E2e(e2e::Args),
    Scale(scale::Args),
}

impl Chore {
    /// Returns true for a chore that runs tests, which may be killed at any time.
    fn makes_files(&self) -> bool {
        matches!(self, Chore::Test(_) | Chore::Soak(_) | Chore::Mutants(_) | Chore::Python(_) | Chore::E2e(_))
    }
}

fn main() -> ExitCode {
    run(Chore::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(chore: Chore) -> anyhow::Result<ExitCode> {
    if chore.makes_files()
        && let Some(code) = scratch::again_within()?
    {
        return Ok(code);
    }
    match chore {
        Chore::Test(args) => test::run(&args),
        Chore::Tidy(args) => tidy::run(&args),
        Chore::Soak(args) => soak::run(&args),
        Chore::Check(args) => check::run(&args),
        Chore::Book(args) => book::run(&args),
        Chore::Crd(args) => crd::run(&args),
        Chore::Manifests(args) => manifests::run(&args),
        Chore::Sim(args) => sim::run(&args),
        Chore::Mutants(args) => mutants::run(&args),
        Chore::Python(args) => python::run(&args),
        Chore::Kube(args) => kube::run(&args),
        Chore::Image(args) => image::run(&args),
        Chore::E2e(args) => e2e::run(&args),
        Chore::Scale(args) => scale::run(&args),
    }?;
    Ok(ExitCode::SUCCESS)
}
