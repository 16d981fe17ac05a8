//! The portable driver, over the `polling` crate: kqueue on macOS and the BSDs, and epoll again on Linux, where it runs
//! in the tests so that it never rots, and where it is the way out if eventfd is refused.
//!
//! What `polling` does not promise and the contract does:
//! - its wait goes on after a signal, so the poller's own descriptor is polled first (every backend has one that can be
//!   polled), which is interrupted; the wait that follows only collects. Precision is that call's: nanoseconds on
//!   Linux, milliseconds rounded up elsewhere;
//! - dropping its poller removes its own descriptors from the set, which in a forked child is the parent's set: see
//!   [`Shared`];
//! - kqueue accepts regular files, epoll refuses them: they are refused here;
//! - an interest in neither direction is not silent about a hang-up: it becomes one-shot, as in the epoll driver.
//!
//! Known and left: on Linux `polling` asks for urgent data along with reading, so a peer's TCP out-of-band byte reports
//! "readable" until more data follows; on kqueue a descriptor that was closed without being removed stays `AlreadyExists`.
#![allow(
    unsafe_code,
    reason = "`polling`'s add and the hand-over of a forked poller, each with its reason"
)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use polling::{PollMode, Poller};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::contract::{
    Backend, Event, Events, Interest, LONGEST_WAIT, Mode, Notifier, Notify, Token,
};
use crate::sys;

/// See the module.
pub struct Portable {
    shared: Arc<Shared>,
    ready: polling::Events,
}

impl Portable {
    /// An empty poller. `Unsupported` where the platform's has only one-shot events (event ports).
    pub fn new() -> io::Result<Portable> {
        sys::watch_forks()?;
        let poller = Poller::new()?;
        if !poller.supports_level() || !poller.supports_edge() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this platform's poller has no level-triggered or no edge-triggered events",
            ));
        }
        Ok(Portable {
            shared: Arc::new(Shared {
                poller: ManuallyDrop::new(poller),
                born: sys::fork_generation(),
            }),
            ready: polling::Events::new(),
        })
    }

    /// Blocks until the poller has something to collect; whether it has.
    fn sleep(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(|timeout| {
            let timeout = timeout.min(LONGEST_WAIT);
            Timespec {
                tv_sec: timeout.as_secs() as _,
                tv_nsec: timeout.subsec_nanos() as _,
            }
        });
        let mut poller = [PollFd::new(&*self.shared.poller, PollFlags::IN)];
        match rustix::event::poll(&mut poller, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Backend for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn notifier(&self) -> Notifier {
        Notifier::new(self.shared.clone())
    }

    fn add(&mut self, fd: RawFd, token: Token, interest: Interest, mode: Mode) -> io::Result<()> {
        sys::refuse_inherited(self.shared.born)?;
        sys::with_fd(fd, |fd| {
            match FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) {
                FileType::RegularFile | FileType::Directory => Err(Errno::PERM.into()),
                _ => Ok(()),
            }
        })?;
        let event = event(token, interest)?;
        // SAFETY: `fd` was open a moment ago and is not negative. It has to stay open until it is removed: the contract
        // says so of every registration and the registry sees to it. Where a user's descriptor breaks it, the kernel
        // forgets the registration (kqueue) or answers an error (epoll); no memory is at stake.
        unsafe {
            self.shared
                .poller
                .add_with_mode(fd, event, poll_mode(interest, mode))
        }
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        sys::refuse_inherited(self.shared.born)?;
        let event = event(token, interest)?;
        sys::with_fd(fd, |fd| {
            self.shared
                .poller
                .modify_with_mode(fd, event, poll_mode(interest, mode))
        })
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        sys::refuse_inherited(self.shared.born)?;
        sys::with_fd(fd, |fd| self.shared.poller.delete(fd))
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        sys::refuse_inherited(self.shared.born)?;
        if timeout != Some(Duration::ZERO) && !self.sleep(timeout)? {
            return Ok(());
        }
        self.ready.clear();
        self.shared
            .poller
            .wait(&mut self.ready, Some(Duration::ZERO))?;
        events.extend(self.ready.iter().map(|ready| Event {
            token: Token(ready.key as u64),
            readable: ready.readable,
            writable: ready.writable,
        }));
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
        if sys::refuse_inherited(self.shared.born).is_ok() {
            let _ = self.shared.poller.delete(&fd);
        }
    }

    fn detach(&mut self, fd: RawFd) -> io::Result<Vec<u8>> {
        match self.remove(fd) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Vec::new()),
        }
    }

    fn abandon_after_fork(&mut self) -> io::Result<()> {
        *self = Portable::new()?;
        Ok(())
    }
}

/// The poller, which waits here and is notified from elsewhere.
///
/// Its destructor removes its own descriptors from the kernel's set. In a forked child that would be the parent's set,
/// and the parent could not be notified any more, so there it is first cut off from it.
struct Shared {
    poller: ManuallyDrop<Poller>,
    born: u64,
}

impl Notify for Shared {
    fn notify(&self) -> io::Result<()> {
        if sys::refuse_inherited(self.born).is_err() {
            return Ok(()); // the parent's waiter, see the contract
        }
        self.poller.notify()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if sys::refuse_inherited(self.born).is_err() && cut_off(&self.poller).is_err() {
            // Leaking three descriptors of the child is better than deafening the parent.
            return;
        }
        // SAFETY: this is the destructor, and nothing looks at `poller` after it.
        unsafe { ManuallyDrop::drop(&mut self.poller) };
    }
}

/// Puts an empty set under the descriptor of an inherited poller, so that its destructor finds nothing to remove.
#[cfg(target_os = "linux")]
fn cut_off(poller: &Poller) -> io::Result<()> {
    use rustix::event::epoll;
    use std::os::fd::{AsRawFd, FromRawFd};

    let empty = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    // SAFETY: the number is the poller's own and stays so; it is neither closed here nor kept.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(poller.as_raw_fd()) });
    Ok(rustix::io::dup3(
        &empty,
        &mut place,
        rustix::io::DupFlags::CLOEXEC,
    )?)
}

/// A kqueue is not inherited: its number is free in the child, or somebody else's already, so it must not be closed.
#[cfg(not(target_os = "linux"))]
fn cut_off(_: &Poller) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn event(token: Token, interest: Interest) -> io::Result<polling::Event> {
    // Where usize has 32 bits the registry's tokens do not fit a key; the error names what is missing.
    let key = usize::try_from(token.check()?.0).map_err(|_| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "the portable driver needs a 64-bit platform",
        )
    })?;
    Ok(polling::Event::new(
        key,
        interest.readable,
        interest.writable,
    ))
}

fn poll_mode(interest: Interest, mode: Mode) -> PollMode {
    match mode {
        _ if interest.is_none() => PollMode::EdgeOneshot,
        Mode::Level => PollMode::Level,
        Mode::Edge => PollMode::Edge,
        Mode::OneShot => PollMode::Oneshot,
    }
}
