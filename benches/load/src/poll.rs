//! The epoll set: level-triggered readiness, each descriptor under a number of the caller's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Shorter waits end on time, longer ones may take up to a millisecond more.
const PRECISE: Duration = Duration::from_millis(5);

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Interest {
    Read,
    Write,
    ReadWrite,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
            Self::ReadWrite => EventFlags::IN | EventFlags::OUT,
        }
    }
}

pub(crate) struct Poll {
    set: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            set: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(1024),
        })
    }

    pub(crate) fn add(
        &self,
        descriptor: impl AsFd,
        number: usize,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(epoll::add(
            &self.set,
            descriptor,
            EventData::new_u64(number as u64),
            interest.flags(),
        )?)
    }

    pub(crate) fn modify(
        &self,
        descriptor: impl AsFd,
        number: usize,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(epoll::modify(
            &self.set,
            descriptor,
            EventData::new_u64(number as u64),
            interest.flags(),
        )?)
    }

    /// Waits, and says which numbers are ready, in `ready`. Nothing in it: the time is over.
    pub(crate) fn wait(&mut self, timeout: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let mut left = timespec(timeout);
        if timeout < PRECISE && !timeout.is_zero() {
            // epoll_wait counts in milliseconds, and the call that does not is newer than some kernels; ppoll takes
            // nanoseconds, and an epoll set.
            uninterrupted(
                poll(&mut [PollFd::new(&self.set, PollFlags::IN)], Some(&left)).map(drop),
            )?;
            left = timespec(Duration::ZERO);
        }
        uninterrupted(
            epoll::wait(
                &self.set,
                rustix::buffer::spare_capacity(&mut self.events),
                Some(&left),
            )
            .map(drop),
        )?;
        ready.extend(self.events.iter().map(|event| event.data.u64() as usize));
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// A wait that a signal ended has found nothing.
fn uninterrupted(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(rustix::io::Errno::INTR) => Ok(()),
        other => Ok(other?),
    }
}
