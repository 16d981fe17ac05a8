//! `oneloop-load`: one process that puts a measured load on a server, or that is the plainest server there can be.
//!
//! ```text
//! oneloop-load echo|bulk-up|bulk-down|churn  WHERE [OPTIONS]     puts load on a server, and prints one line of JSON (with --slices: for each line of input)
//! oneloop-load serve echo|sink|source|accept WHERE [--core N]    is a server: an epoll set and no more, the limit row
//! ```
//!
//! WHERE is `--tcp HOST:PORT`, `--unix PATH` or `--udp HOST:PORT`. `options` lists the rest.
//!
//! Promises: every byte that comes back is compared with what must come back, and a wrong one ends the run without
//! a figure. What happens before the warm-up is over is in no figure. At a fixed offered load, latency counts from the moment a
//! request was *due*, so a server that stalls pays for the requests that it kept from being sent.
//!
//! It is pinned to one processor and tells how busy it was there: a throughput that the client itself limits is none.

mod bulk;
mod churn;
mod echo;
mod exchange;
mod link;
mod meter;
mod options;
mod payload;
mod poll;
mod schedule;
mod serve;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::process::ExitCode;

use options::{Command, Load};
use rustix::thread::{CpuSet, sched_setaffinity};

fn main() -> ExitCode {
    let command = match options::parse(lexopt::Parser::from_env()) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("oneloop-load: {error}");
            return ExitCode::from(2);
        }
    };
    match run(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("oneloop-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> io::Result<()> {
    match command {
        Command::Load(load) => {
            pin(load.core)?;
            if load.slices {
                let orders = io::stdin().lines();
                return echo::slices(load, orders, |told| println!("{told}"));
            }
            println!("{}", put_load(load)?);
            Ok(())
        }
        Command::Serve {
            service,
            place,
            core,
        } => {
            pin(*core)?;
            serve::run(*service, place, |address| println!("ready {address}"))
        }
    }
}

/// Runs what was asked for to its end, and tells it as one line of JSON.
fn put_load(load: &Load) -> io::Result<String> {
    let report = match load.kind {
        options::Kind::Echo => echo::run(load),
        options::Kind::BulkUp => bulk::up(load),
        options::Kind::BulkDown => bulk::down(load),
        options::Kind::Churn => churn::run(load),
    }?;
    Ok(report.as_json())
}

fn pin(core: Option<usize>) -> io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}
