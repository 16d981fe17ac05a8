//! The driver: how the loop waits for descriptors. Chosen at run time among the backends that this platform has.
//!
//! `contract` says what a backend owes; this file only chooses and dispatches. It and the backends are the only place
//! with `cfg`: the rest of the engine is the same everywhere.

mod contract;
#[cfg(target_os = "linux")]
mod epoll;
mod portable;
mod scripted;

#[cfg(test)]
mod contract_tests;
#[cfg(all(test, target_os = "linux"))]
mod hostile_tests;

pub use contract::{Backend, Event, Events, Interest, LONGEST_WAIT, Mode, Notifier, Notify, Token};
#[cfg(target_os = "linux")]
pub(crate) use epoll::Epoll;
pub(crate) use portable::Portable;
pub use scripted::{Call, Script, Scripted};

use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::str::FromStr;
use std::time::Duration;

/// Which driver to make.
///
/// # Examples
///
/// ```
/// use oneloop::DriverKind;
///
/// assert_eq!("portable".parse(), Ok(DriverKind::Portable));
/// assert!("kqueue".parse::<DriverKind>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Kind {
    /// The first that works here, best first.
    #[default]
    Best,
    /// Linux's epoll.
    Epoll,
    /// Whatever the `polling` crate uses on this platform.
    Portable,
}

impl Kind {
    /// The environment variable by which a user chooses.
    pub const VARIABLE: &'static str = "ONELOOP_DRIVER";

    /// What [`Kind::VARIABLE`] says; `Best` if it is unset or empty. Anything unknown is `InvalidInput`.
    pub fn from_env() -> io::Result<Kind> {
        let invalid = |error| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{}: {error}", Kind::VARIABLE),
            )
        };
        match std::env::var_os(Kind::VARIABLE) {
            Some(name) if !name.is_empty() => name.to_string_lossy().parse().map_err(invalid),
            _ => Ok(Kind::Best),
        }
    }
}

impl FromStr for Kind {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Kind, UnknownDriver> {
        match name {
            "epoll" => Ok(Kind::Epoll),
            "portable" => Ok(Kind::Portable),
            _ => Err(UnknownDriver(name.to_owned())),
        }
    }
}

/// A name that is no driver's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownDriver(String);

impl fmt::Display for UnknownDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown driver {:?}; expected \"epoll\" or \"portable\"",
            self.0
        )
    }
}

impl std::error::Error for UnknownDriver {}

/// The driver of one loop. Its methods are those of [`Backend`], which says what they promise.
pub enum Driver {
    /// Linux's own.
    #[cfg(target_os = "linux")]
    Epoll(Epoll),
    /// Everywhere else, and in tests on Linux.
    Portable(Portable),
    /// For tests and simulation.
    Scripted(Scripted),
}

/// One line per method instead of one match: `$backend` is the chosen variant's, known at compile time in each arm.
macro_rules! dispatch {
    ($driver:expr, $backend:ident => $call:expr) => {
        match $driver {
            #[cfg(target_os = "linux")]
            Driver::Epoll($backend) => $call,
            Driver::Portable($backend) => $call,
            Driver::Scripted($backend) => $call,
        }
    };
}

impl Driver {
    /// Makes the driver that was asked for. `Best` falls back where the platform's own is refused (a sandbox without
    /// eventfd, say) and reports the first refusal if all are.
    pub fn new(kind: Kind) -> io::Result<Driver> {
        match kind {
            Kind::Best => epoll().or_else(|refused| portable().map_err(|_| refused)),
            Kind::Epoll => epoll(),
            Kind::Portable => portable(),
        }
    }

    /// See [`Backend::name`].
    pub fn name(&self) -> &'static str {
        dispatch!(self, backend => backend.name())
    }

    /// See [`Backend::notifier`].
    pub fn notifier(&self) -> Notifier {
        dispatch!(self, backend => backend.notifier())
    }

    /// See [`Backend::add`].
    pub fn add(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        dispatch!(self, backend => backend.add(fd, token, interest, mode))
    }

    /// See [`Backend::modify`].
    pub fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        dispatch!(self, backend => backend.modify(fd, token, interest, mode))
    }

    /// See [`Backend::remove`].
    pub fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        dispatch!(self, backend => backend.remove(fd))
    }

    /// See [`Backend::wait`].
    pub fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        dispatch!(self, backend => backend.wait(events, timeout))
    }

    /// See [`Backend::read`].
    pub fn read(&mut self, fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
        dispatch!(self, backend => backend.read(fd, buf))
    }

    /// See [`Backend::release`].
    pub fn release(&mut self, fd: OwnedFd) {
        dispatch!(self, backend => backend.release(fd))
    }

    /// See [`Backend::detach`].
    pub fn detach(&mut self, fd: RawFd) -> io::Result<Vec<u8>> {
        dispatch!(self, backend => backend.detach(fd))
    }

    /// See [`Backend::abandon_after_fork`].
    pub fn abandon_after_fork(&mut self) -> io::Result<()> {
        dispatch!(self, backend => backend.abandon_after_fork())
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driver").field(&self.name()).finish()
    }
}

#[cfg(target_os = "linux")]
fn epoll() -> io::Result<Driver> {
    Epoll::new().map(Driver::Epoll)
}

#[cfg(not(target_os = "linux"))]
fn epoll() -> io::Result<Driver> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the epoll driver needs Linux",
    ))
}

fn portable() -> io::Result<Driver> {
    Portable::new().map(Driver::Portable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_users_write_are_the_ones_that_drivers_have() -> io::Result<()> {
        for (name, kind) in [("epoll", Kind::Epoll), ("portable", Kind::Portable)] {
            assert_eq!(name.parse(), Ok(kind));
            match Driver::new(kind) {
                Err(error) if kind == Kind::Epoll && !cfg!(target_os = "linux") => {
                    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                }
                driver => assert_eq!(driver?.name(), name),
            }
        }
        Ok(())
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        for name in ["", "best", "Epoll", "io_uring"] {
            let message = name.parse::<Kind>().err().map(|error| error.to_string());
            let expected = format!("unknown driver {name:?}; expected \"epoll\" or \"portable\"");
            assert_eq!(message, Some(expected));
        }
    }

    /// A loop may be made in one thread, run in another and closed in a third.
    #[test]
    fn a_driver_may_change_threads_and_its_notifier_be_shared() {
        fn is_send<T: Send>() {}
        fn is_send_and_sync<T: Send + Sync>() {}
        is_send::<Driver>();
        is_send_and_sync::<Notifier>();
        is_send_and_sync::<Script>();
    }
}
