//! The epoll driver: Linux's own, and the default there.
//!
//! One syscall per wait and none to consume a wake-up: the eventfd is watched edge-triggered, so each write to it is
//! one event, and its counter is never read (it would take 2^64 notifications to fill it).
//!
//! It keeps nothing about a descriptor: the kernel's set carries the token, and the registry knows the rest. Urgent data
//! (EPOLLPRI) is not asked for, as in asyncio.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use super::contract::{
    Backend, Event, Events, Interest, LONGEST_WAIT, Mode, Notifier, Notify, Token,
};
use crate::sys::{self, EpollEvents};

/// The eventfd's own; the contract keeps it from everybody else.
const WAKE: Token = Token::RESERVED;

/// Events per wait. What does not fit is reported by the next one; the kernel takes turns.
const BATCH: usize = 256;

/// See the module.
pub struct Epoll {
    set: OwnedFd,
    wake: Arc<EventFd>,
    ready: EpollEvents,
    precision: Precision,
    born: u64,
}

/// Whether this kernel, and whatever filters its syscalls, lets us use `epoll_pwait2`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precision {
    Nanoseconds,
    Milliseconds,
}

impl Epoll {
    /// An empty set. Fails where epoll or eventfd is refused, or no descriptor is left.
    pub fn new() -> io::Result<Epoll> {
        sys::watch_forks()?;
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = EventFd {
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            born: sys::fork_generation(),
        };
        epoll::add(
            &set,
            &wake.fd,
            EventData::new_u64(WAKE.0),
            EventFlags::IN | EventFlags::ET,
        )?;
        Ok(Epoll {
            set,
            born: wake.born,
            wake: Arc::new(wake),
            ready: EpollEvents::with_capacity(BATCH),
            precision: Precision::Nanoseconds,
        })
    }

    /// As it is where `epoll_pwait2` is refused.
    #[cfg(test)]
    pub(super) fn in_milliseconds() -> io::Result<Epoll> {
        let mut epoll = Epoll::new()?;
        epoll.precision = Precision::Milliseconds;
        Ok(epoll)
    }

    /// Fills `ready`.
    fn wait_for_set(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if let Some(timeout) = timeout
            && !timeout.is_zero()
            && self.precision == Precision::Nanoseconds
        {
            let timeout = timeout.min(LONGEST_WAIT);
            match self.ready.pwait2(self.set.as_fd(), timeout) {
                // Linux before 5.11 says ENOSYS; a seccomp filter that does not know the call may say EPERM.
                Err(error) if is_one_of(&error, &[Errno::NOSYS, Errno::PERM]) => {
                    self.precision = Precision::Milliseconds;
                }
                result => return result,
            }
        }
        let timeout = timeout.map(|timeout| milliseconds_rounded_up(timeout.min(LONGEST_WAIT)));
        self.ready.wait(self.set.as_fd(), timeout.as_ref())
    }
}

impl Backend for Epoll {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn notifier(&self) -> Notifier {
        Notifier::new(self.wake.clone())
    }

    fn add(&mut self, fd: RawFd, token: Token, interest: Interest, mode: Mode) -> io::Result<()> {
        sys::refuse_inherited(self.born)?;
        let data = EventData::new_u64(token.check()?.0);
        sys::with_fd(fd, |fd| {
            Ok(epoll::add(&self.set, fd, data, flags(interest, mode))?)
        })
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        sys::refuse_inherited(self.born)?;
        let data = EventData::new_u64(token.check()?.0);
        sys::with_fd(fd, |fd| {
            Ok(epoll::modify(&self.set, fd, data, flags(interest, mode))?)
        })
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        sys::refuse_inherited(self.born)?;
        sys::with_fd(fd, |fd| Ok(epoll::delete(&self.set, fd)?))
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        sys::refuse_inherited(self.born)?;
        match self.wait_for_set(timeout) {
            Err(error) if is_one_of(&error, &[Errno::INTR]) => return Ok(()),
            result => result?,
        }
        for (flags, data) in self.ready.iter() {
            let token = Token(data);
            if token == WAKE {
                continue;
            }
            let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            events.push(Event {
                token,
                readable: broken || flags.contains(EventFlags::IN),
                writable: broken || flags.contains(EventFlags::OUT),
            });
        }
        Ok(())
    }

    fn read(&mut self, fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
        sys::with_fd(fd, |fd| {
            Ok(rustix::io::retry_on_intr(|| {
                rustix::io::read(fd, &mut *buf)
            })?)
        })
    }

    fn release(&mut self, fd: OwnedFd) {
        // Not left to close(): a duplicate, or a child that inherited the file, would keep it in the set.
        if sys::refuse_inherited(self.born).is_ok() {
            let _ = epoll::delete(&self.set, &fd);
        }
    }

    fn detach(&mut self, fd: RawFd) -> io::Result<Vec<u8>> {
        match self.remove(fd) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Vec::new()),
        }
    }

    fn abandon_after_fork(&mut self) -> io::Result<()> {
        // Dropping the old one closes the child's copies of two descriptors and nothing more: the set lives on in the
        // parent, unchanged.
        *self = Epoll::new()?;
        Ok(())
    }
}

/// The driver's wake-up descriptor.
struct EventFd {
    fd: OwnedFd,
    born: u64,
}

impl Notify for EventFd {
    fn notify(&self) -> io::Result<()> {
        if sys::refuse_inherited(self.born).is_err() {
            return Ok(()); // the parent's waiter, see the contract
        }
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, &1u64.to_ne_bytes())) {
            // A full counter is a notification that has not been consumed yet.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn flags(interest: Interest, mode: Mode) -> EventFlags {
    let mut flags = match mode {
        Mode::Level => EventFlags::empty(),
        Mode::Edge => EventFlags::ET,
        Mode::OneShot => EventFlags::ONESHOT,
    };
    if interest.is_none() {
        // The kernel adds EPOLLHUP and EPOLLERR to every mask; like this they end at most one wait.
        flags = EventFlags::ET | EventFlags::ONESHOT;
    }
    flags.set(EventFlags::IN, interest.readable);
    flags.set(EventFlags::OUT, interest.writable);
    flags
}

fn milliseconds_rounded_up(timeout: Duration) -> Timespec {
    let millis = timeout.as_nanos().div_ceil(1_000_000) as u64; // at most LONGEST_WAIT, which is whole
    Timespec {
        tv_sec: (millis / 1000) as _,
        tv_nsec: (millis % 1000 * 1_000_000) as _,
    }
}

fn is_one_of(error: &io::Error, errnos: &[Errno]) -> bool {
    errnos
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
