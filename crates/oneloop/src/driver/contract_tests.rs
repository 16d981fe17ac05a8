//! The table of contract tests: what `contract` promises, against every driver.
//!
//! A test takes a driver and knows nothing else about it. Those that need a kernel run on epoll, on epoll as it is
//! without `epoll_pwait2`, and on the portable driver; those that are only about bookkeeping run on the scripted one too.
//! What must hold in a forked or restricted process is in `hostile_tests`.

mod bookkeeping;
mod descriptors;
mod readiness;
mod waits;

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::sys::{self, pipe};
use bookkeeping::*;
use descriptors::*;
use readiness::*;
use waits::*;

const ONE: Token = Token(7 << 32 | 1);
const TWO: Token = Token(8 << 32 | 2);
const NOW: Option<Duration> = Some(Duration::ZERO);

/// Far longer than any wait in here takes, so that a lost event fails a test instead of hanging it.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

macro_rules! on_every_kernel_driver {
    ($($test:ident)*) => {
        #[cfg(target_os = "linux")]
        mod epoll { $(#[test] fn $test() -> std::io::Result<()> {
            super::$test(super::Driver::new(super::Kind::Epoll)?)
        })* }
        #[cfg(target_os = "linux")]
        mod epoll_in_milliseconds { $(#[test] fn $test() -> std::io::Result<()> {
            super::$test(super::Driver::Epoll(super::Epoll::in_milliseconds()?))
        })* }
        mod portable { $(#[test] fn $test() -> std::io::Result<()> {
            super::$test(super::Driver::new(super::Kind::Portable)?)
        })* }
    };
}

macro_rules! on_the_scripted_driver_too {
    ($($test:ident)*) => {
        mod scripted { $(#[test] fn $test() -> std::io::Result<()> {
            super::$test(super::Driver::Scripted(super::Scripted::new().0))
        })* }
    };
}

on_every_kernel_driver! {
    a_descriptor_is_watched_once
    an_unknown_descriptor_is_not_found
    a_negative_descriptor_is_refused
    the_reserved_token_is_refused
    a_notification_ends_the_next_wait_and_no_other
    many_notifications_end_one_wait
    detach_of_an_unwatched_descriptor_gives_nothing
    release_closes
    a_fresh_set_is_empty

    a_written_pipe_is_readable
    both_directions_are_told_apart
    a_modified_watch_answers_with_its_new_token_and_interest
    a_removed_descriptor_is_silent
    level_is_reported_for_as_long_as_it_lasts
    an_edge_is_reported_once
    one_shot_is_reported_until_it_is_armed_again
    a_hang_up_counts_as_both_directions
    a_broken_pipe_is_writable
    no_interest_is_silent
    a_hang_up_without_interest_does_not_spin
    a_closed_descriptor_is_refused
    a_regular_file_is_refused
    a_directory_is_refused
    a_reused_number_belongs_to_its_new_owner
    a_number_that_was_closed_unremoved_can_be_added_again
    a_file_that_outlives_its_number_is_reported_until_the_set_is_fresh
    release_forgets_a_file_that_lives_on
    detach_forgets_and_leaves_the_descriptor_open
    more_events_than_one_batch_all_arrive
    read_reads_and_would_block
    waits_never_end_early
    a_timeout_beyond_every_kernel_is_no_error
    a_notification_from_another_thread_ends_a_wait
    a_notification_does_not_hide_an_event
    a_signal_ends_a_wait_without_events
    a_notifier_may_outlive_its_driver
}

on_the_scripted_driver_too! {
    a_descriptor_is_watched_once
    an_unknown_descriptor_is_not_found
    a_negative_descriptor_is_refused
    the_reserved_token_is_refused
    a_notification_ends_the_next_wait_and_no_other
    many_notifications_end_one_wait
    detach_of_an_unwatched_descriptor_gives_nothing
    release_closes
    a_fresh_set_is_empty
}

fn wait(driver: &mut Driver, timeout: Option<Duration>) -> io::Result<Events> {
    let mut events = vec![readable(Token(u64::MAX - 1))]; // to be cleared
    driver.wait(&mut events, timeout)?;
    Ok(events)
}

/// No notification is left: a wait lasts. The scripted driver's takes no time, but records it as taken.
fn assert_unnotified(driver: &mut Driver) -> io::Result<()> {
    const TIMEOUT: Duration = Duration::from_millis(2);
    let start = sys::monotonic_ns();
    assert_eq!(wait(driver, Some(TIMEOUT))?, []);
    if let Driver::Scripted(_) = driver {
        let forever = driver.wait(&mut Events::new(), None);
        assert_eq!(kind_of(forever), Some(io::ErrorKind::WouldBlock));
    } else {
        assert!(sys::monotonic_ns() - start >= TIMEOUT.as_nanos() as i64);
    }
    Ok(())
}

const fn readable(token: Token) -> Event {
    event(token, true, false)
}

const fn writable(token: Token) -> Event {
    event(token, false, true)
}

const fn both(token: Token) -> Event {
    event(token, true, true)
}

const fn event(token: Token, readable: bool, writable: bool) -> Event {
    Event {
        token,
        readable,
        writable,
    }
}

fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((ours, theirs))
}

/// Writes until it would block.
fn fill(fd: impl std::os::fd::AsFd) -> io::Result<()> {
    loop {
        match rustix::io::write(&fd, &[0; 4096]) {
            Ok(_) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A duplicate under a number that no other test takes, so that it can be closed and reused knowingly.
fn own_number(fd: &OwnedFd) -> io::Result<OwnedFd> {
    static NEXT: AtomicI32 = AtomicI32::new(900);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let fd = rustix::io::fcntl_dupfd_cloexec(fd, number)?;
    assert_eq!(fd.as_raw_fd(), number);
    Ok(fd)
}

/// `None` is a success.
fn kind_of<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}

/// `None` is a success, or an error that is not the kernel's.
fn errno_of<T>(result: io::Result<T>) -> Option<Errno> {
    Errno::from_io_error(&result.err()?)
}
