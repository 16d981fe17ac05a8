//! Child processes: [`Command`], [`Child`] and its pipes, on the loop.
//!
//! | `std::process` | here |
//! | --- | --- |
//! | `Command::status`, `output` | [`Command::status`], [`Command::output`] |
//! | `Command::spawn` | [`Command::spawn`], which gives a [`Child`] |
//! | `Child::wait`, `wait_with_output` | [`Child::wait`], [`Child::wait_with_output`] |
//! | `ChildStdin`, `ChildStdout`, `ChildStderr` | [`ChildStdin`], [`ChildStdout`], [`ChildStderr`], which are `AsyncWrite` and `AsyncRead` |
//!
//! The standard library makes the children, with all that its `Command` can do; what is different is how they are waited for. A child's
//! exit is seen by its pidfd, or by a thread where there is none: never by SIGCHLD, whose handler stays the program's own. Children that
//! others have made are left alone.
//!
//! **Dropping a [`Child`] lets it run on**, as the standard library does, unless [`Command::kill_on_drop`] says otherwise. Either way it is
//! no zombie for long: the loop reaps it when it exits, or, once the loop is closed, the next [`Command::spawn`] of the process does.
//!
//! In a forked child of the program the children are the parent's: waiting for one is `ECHILD`, and dropping one does nothing to it.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use oneloop::process::Command;
//!
//! # oneloop::run(async {
//! let listing = Command::new("ls").arg("/").output().await?;
//! assert!(listing.status.success());
//! println!("{}", String::from_utf8_lossy(&listing.stdout));
//!
//! // A time limit: what is dropped unfinished is killed.
//! let stuck = oneloop::timeout(
//!     Duration::from_millis(10),
//!     Command::new("sleep").arg("1000").kill_on_drop(true).status(),
//! );
//! assert!(stuck.await.is_err());
//! # std::io::Result::Ok(())
//! # })??;
//! # std::io::Result::Ok(())
//! ```

mod child;
mod command;
pub(crate) mod exit;
mod orphans;
mod pipes;

pub use std::process::{ExitStatus, Output, Stdio};

pub use child::Child;
pub use command::Command;

pub use pipes::{ChildStderr, ChildStdin, ChildStdout};
