//! The table of contract tests: what `contract` promises, against every driver.
//!
//! A test takes a driver and knows nothing else about it. Those that need a kernel run on epoll, on epoll as it is
//! without `epoll_pwait2`, and on the portable driver; those that are only about bookkeeping run on the scripted one too.
//! What must hold in a forked or restricted process is in `hostile_tests`.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;
use crate::sys;

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

// Bookkeeping: true of every driver.

fn a_descriptor_is_watched_once(mut driver: Driver) -> io::Result<()> {
    let (reader, _writer) = pipe()?;
    let fd = reader.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    let again = driver.add(fd, TWO, Interest::READABLE, Mode::Level);
    assert_eq!(kind_of(again), Some(io::ErrorKind::AlreadyExists));
    driver.remove(fd)?;
    driver.add(fd, TWO, Interest::READABLE, Mode::Level)
}

fn an_unknown_descriptor_is_not_found(mut driver: Driver) -> io::Result<()> {
    let (reader, _writer) = pipe()?;
    let fd = reader.as_raw_fd();
    let modified = driver.modify(fd, ONE, Interest::READABLE, Mode::Level);
    assert_eq!(kind_of(modified), Some(io::ErrorKind::NotFound));
    assert_eq!(kind_of(driver.remove(fd)), Some(io::ErrorKind::NotFound));
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    driver.remove(fd)?;
    assert_eq!(kind_of(driver.remove(fd)), Some(io::ErrorKind::NotFound));
    Ok(())
}

fn a_negative_descriptor_is_refused(mut driver: Driver) -> io::Result<()> {
    for fd in [-1, -2, RawFd::MIN] {
        let added = driver.add(fd, ONE, Interest::READABLE, Mode::Level);
        assert_eq!(errno_of(added), Some(Errno::BADF));
        let modified = driver.modify(fd, ONE, Interest::READABLE, Mode::Level);
        assert_eq!(errno_of(modified), Some(Errno::BADF));
        assert_eq!(errno_of(driver.remove(fd)), Some(Errno::BADF));
        assert_eq!(errno_of(driver.read(fd, &mut [0])), Some(Errno::BADF));
        assert_eq!(errno_of(driver.detach(fd)), Some(Errno::BADF));
    }
    Ok(())
}

fn the_reserved_token_is_refused(mut driver: Driver) -> io::Result<()> {
    let (reader, _writer) = pipe()?;
    let fd = reader.as_raw_fd();
    let added = driver.add(fd, Token::RESERVED, Interest::READABLE, Mode::Level);
    assert_eq!(kind_of(added), Some(io::ErrorKind::InvalidInput));
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    let modified = driver.modify(fd, Token::RESERVED, Interest::READABLE, Mode::Level);
    assert_eq!(kind_of(modified), Some(io::ErrorKind::InvalidInput));
    Ok(())
}

fn a_notification_ends_the_next_wait_and_no_other(mut driver: Driver) -> io::Result<()> {
    let notifier = driver.notifier();
    for _ in 0..3 {
        notifier.notify()?;
        assert_eq!(wait(&mut driver, None)?, []);
        assert_unnotified(&mut driver)?;
    }
    Ok(())
}

fn many_notifications_end_one_wait(mut driver: Driver) -> io::Result<()> {
    let (one, other) = (driver.notifier(), driver.notifier());
    for _ in 0..1000 {
        one.notify()?;
        other.clone().notify()?;
    }
    assert_eq!(wait(&mut driver, None)?, []);
    assert_unnotified(&mut driver)
}

fn detach_of_an_unwatched_descriptor_gives_nothing(mut driver: Driver) -> io::Result<()> {
    let (reader, _writer) = pipe()?;
    assert_eq!(driver.detach(reader.as_raw_fd())?, b"");
    Ok(())
}

fn release_closes(mut driver: Driver) -> io::Result<()> {
    for watched in [true, false] {
        let (reader, writer) = pipe()?;
        if watched {
            driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
        }
        driver.release(reader);
        assert_eq!(rustix::io::write(&writer, b"x"), Err(Errno::PIPE));
    }
    Ok(())
}

fn a_fresh_set_is_empty(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    let fd = reader.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    driver.notifier().notify()?;
    rustix::io::write(&writer, b"x")?;
    driver.abandon_after_fork()?;
    assert_unnotified(&mut driver)?;
    driver.add(fd, TWO, Interest::READABLE, Mode::Level)?;
    driver.notifier().notify()?;
    wait(&mut driver, None)?;
    Ok(())
}

// Readiness.

fn a_written_pipe_is_readable(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    rustix::io::write(&writer, b"x")?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    Ok(())
}

fn both_directions_are_told_apart(mut driver: Driver) -> io::Result<()> {
    let (ours, mut theirs) = pair()?;
    driver.add(ours.as_raw_fd(), ONE, Interest::BOTH, Mode::Level)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [writable(ONE)]);
    theirs.write_all(b"x")?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [both(ONE)]);
    fill(&ours)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    Ok(())
}

fn a_modified_watch_answers_with_its_new_token_and_interest(mut driver: Driver) -> io::Result<()> {
    let (ours, mut theirs) = pair()?;
    let fd = ours.as_raw_fd();
    theirs.write_all(b"x")?;
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    driver.modify(fd, TWO, Interest::WRITABLE, Mode::Level)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [writable(TWO)]);
    driver.modify(fd, ONE, Interest::BOTH, Mode::OneShot)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [both(ONE)]);
    assert_eq!(wait(&mut driver, NOW)?, []);
    Ok(())
}

fn a_removed_descriptor_is_silent(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"x")?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    driver.remove(reader.as_raw_fd())?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    Ok(())
}

fn level_is_reported_for_as_long_as_it_lasts(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    rustix::io::write(&writer, b"xy")?;
    for _ in 0..3 {
        assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    }
    rustix::io::read(&reader, &mut [0; 8])?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    Ok(())
}

fn an_edge_is_reported_once(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Edge)?;
    for _ in 0..3 {
        rustix::io::write(&writer, b"x")?;
        assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
        assert_eq!(wait(&mut driver, NOW)?, []);
    }
    // What was there before counts as an edge, so that nobody has to try first.
    driver.modify(reader.as_raw_fd(), TWO, Interest::READABLE, Mode::Edge)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(TWO)]);
    Ok(())
}

fn one_shot_is_reported_until_it_is_armed_again(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    let fd = reader.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::OneShot)?;
    for _ in 0..3 {
        rustix::io::write(&writer, b"x")?;
        assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
        rustix::io::write(&writer, b"x")?;
        assert_eq!(wait(&mut driver, NOW)?, []);
        driver.modify(fd, ONE, Interest::READABLE, Mode::OneShot)?;
    }
    Ok(())
}

fn a_hang_up_counts_as_both_directions(mut driver: Driver) -> io::Result<()> {
    let (ours, theirs) = pair()?;
    fill(&ours)?;
    driver.add(ours.as_raw_fd(), ONE, Interest::BOTH, Mode::Level)?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    drop(theirs);
    assert_eq!(wait(&mut driver, PATIENCE)?, [both(ONE)]);
    Ok(())
}

fn a_broken_pipe_is_writable(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    fill(&writer)?;
    driver.add(writer.as_raw_fd(), ONE, Interest::WRITABLE, Mode::Level)?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    drop(reader);
    let events = wait(&mut driver, PATIENCE)?;
    assert_eq!(events.len(), 1);
    assert!(events[0].writable);
    Ok(())
}

fn no_interest_is_silent(mut driver: Driver) -> io::Result<()> {
    let (ours, mut theirs) = pair()?;
    let fd = ours.as_raw_fd();
    theirs.write_all(b"x")?;
    for mode in [Mode::Level, Mode::Edge, Mode::OneShot] {
        driver.add(fd, ONE, Interest::NONE, mode)?;
        assert_eq!(wait(&mut driver, NOW)?, []);
        driver.modify(fd, ONE, Interest::READABLE, mode)?;
        assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
        driver.modify(fd, ONE, Interest::NONE, mode)?;
        assert_eq!(wait(&mut driver, NOW)?, []);
        driver.remove(fd)?;
    }
    Ok(())
}

fn a_hang_up_without_interest_does_not_spin(mut driver: Driver) -> io::Result<()> {
    let (ours, theirs) = pair()?;
    driver.add(ours.as_raw_fd(), ONE, Interest::NONE, Mode::Level)?;
    drop(theirs);
    wait(&mut driver, NOW)?; // may report it, once
    assert_eq!(wait(&mut driver, NOW)?, []);
    Ok(())
}

fn more_events_than_one_batch_all_arrive(mut driver: Driver) -> io::Result<()> {
    // One at a time: three of these at once would need most of a usual process's descriptors.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"x")?;
    let readers = (0..300)
        .map(|_| rustix::io::fcntl_dupfd_cloexec(&reader, 0))
        .collect::<Result<Vec<_>, _>>()?;
    let mut silent = vec![true; readers.len()];
    for (index, reader) in readers.iter().enumerate() {
        let token = Token(index as u64);
        driver.add(reader.as_raw_fd(), token, Interest::READABLE, Mode::OneShot)?;
    }
    loop {
        let events = wait(&mut driver, NOW)?;
        if events.is_empty() {
            break;
        }
        for event in events {
            assert!(std::mem::take(&mut silent[event.token.0 as usize]));
        }
    }
    assert!(!silent.contains(&true));
    Ok(())
}

// Descriptors.

fn a_closed_descriptor_is_refused(mut driver: Driver) -> io::Result<()> {
    let fd = {
        let (reader, _writer) = pipe()?;
        own_number(&reader)?.as_raw_fd()
    };
    let added = driver.add(fd, ONE, Interest::READABLE, Mode::Level);
    assert_eq!(errno_of(added), Some(Errno::BADF));
    let modified = driver.modify(fd, ONE, Interest::READABLE, Mode::Level);
    assert_eq!(errno_of(modified), Some(Errno::BADF));
    assert_eq!(errno_of(driver.remove(fd)), Some(Errno::BADF));
    Ok(())
}

fn a_regular_file_is_refused(mut driver: Driver) -> io::Result<()> {
    let file = std::fs::File::open(std::env::current_exe()?)?;
    let added = driver.add(file.as_raw_fd(), ONE, Interest::READABLE, Mode::Level);
    assert_eq!(errno_of(added), Some(Errno::PERM));
    Ok(())
}

fn a_directory_is_refused(mut driver: Driver) -> io::Result<()> {
    let directory = std::fs::File::open("/")?;
    let added = driver.add(directory.as_raw_fd(), ONE, Interest::READABLE, Mode::Level);
    assert_eq!(errno_of(added), Some(Errno::PERM));
    Ok(())
}

fn a_reused_number_belongs_to_its_new_owner(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"x")?;
    let first = own_number(&reader)?;
    let fd = first.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    driver.release(first);

    let (silent_reader, silent_writer) = pipe()?;
    let second = rustix::io::fcntl_dupfd_cloexec(&silent_reader, fd)?;
    assert_eq!(second.as_raw_fd(), fd);
    driver.add(fd, TWO, Interest::READABLE, Mode::Level)?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    rustix::io::write(&silent_writer, b"x")?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(TWO)]);
    Ok(())
}

fn a_number_that_was_closed_unremoved_can_be_added_again(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    let first = own_number(&reader)?;
    let fd = first.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    drop((first, reader, writer)); // the file ends here, and the kernel forgets it

    let (reader, writer) = pipe()?;
    let second = rustix::io::fcntl_dupfd_cloexec(&reader, fd)?;
    assert_eq!(second.as_raw_fd(), fd);
    let modified = driver.modify(fd, TWO, Interest::READABLE, Mode::Level);
    assert_eq!(kind_of(modified), Some(io::ErrorKind::NotFound));
    driver.add(fd, TWO, Interest::READABLE, Mode::Level)?;
    rustix::io::write(&writer, b"x")?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(TWO)]);
    Ok(())
}

/// What the registry's generations are for: the driver cannot know, and hides nothing.
fn a_file_that_outlives_its_number_is_reported_until_the_set_is_fresh(
    mut driver: Driver,
) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"x")?;
    let number = own_number(&reader)?;
    driver.add(number.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    drop(number);
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    driver.abandon_after_fork()?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    Ok(())
}

fn release_forgets_a_file_that_lives_on(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"x")?;
    let number = own_number(&reader)?;
    let fd = number.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    driver.release(number);
    assert_eq!(wait(&mut driver, NOW)?, []);
    assert_eq!(errno_of(driver.read(fd, &mut [0])), Some(Errno::BADF));
    Ok(())
}

fn detach_forgets_and_leaves_the_descriptor_open(mut driver: Driver) -> io::Result<()> {
    let (mut ours, mut theirs) = pair()?;
    driver.add(ours.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    theirs.write_all(b"x")?;
    assert_eq!(driver.detach(ours.as_raw_fd())?, b"");
    assert_eq!(wait(&mut driver, NOW)?, []);
    assert_eq!(ours.read(&mut [0; 8])?, 1);
    Ok(())
}

fn read_reads_and_would_block(mut driver: Driver) -> io::Result<()> {
    let (ours, mut theirs) = pair()?;
    let fd = ours.as_raw_fd();
    let mut buf = [0; 8];
    assert_eq!(
        kind_of(driver.read(fd, &mut buf)),
        Some(io::ErrorKind::WouldBlock)
    );
    theirs.write_all(b"bytes")?;
    assert_eq!(driver.read(fd, &mut buf[..3])?, 3);
    assert_eq!(driver.read(fd, &mut buf[3..])?, 2);
    assert_eq!(&buf[..5], b"bytes");
    drop(theirs);
    assert_eq!(driver.read(fd, &mut buf)?, 0);
    Ok(())
}

// Time and other threads.

fn waits_never_end_early(mut driver: Driver) -> io::Result<()> {
    let (reader, _writer) = pipe()?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    for nanos in [1, 999, 50_000, 999_999, 1_000_000, 1_000_001, 3_300_000] {
        for _ in 0..20 {
            let start = sys::monotonic_ns();
            let events = wait(&mut driver, Some(Duration::from_nanos(nanos)))?;
            let elapsed = sys::monotonic_ns() - start;
            assert_eq!(events, []);
            assert!(elapsed >= nanos as i64, "{elapsed} ns instead of {nanos}");
        }
    }
    Ok(())
}

fn a_timeout_beyond_every_kernel_is_no_error(mut driver: Driver) -> io::Result<()> {
    let notifier = driver.notifier();
    let year = Duration::from_secs(365 * 86_400);
    let mut timeouts = vec![Duration::MAX, Duration::from_secs(u64::MAX), year * 300];
    timeouts.extend([LONGEST_WAIT, LONGEST_WAIT + Duration::from_nanos(1)]);
    for timeout in timeouts {
        notifier.notify()?;
        assert_eq!(wait(&mut driver, Some(timeout))?, []);
    }
    Ok(())
}

fn a_notification_from_another_thread_ends_a_wait(mut driver: Driver) -> io::Result<()> {
    let notifier = driver.notifier();
    let (go, gone) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || gone.iter().try_for_each(|()| notifier.notify()));
    for _ in 0..500 {
        // Comes before the wait or during it, as the scheduler likes; neither may be lost.
        go.send(()).map_err(io::Error::other)?;
        let start = sys::monotonic_ns();
        assert_eq!(wait(&mut driver, PATIENCE)?, []);
        assert!(sys::monotonic_ns() - start < 15_000_000_000);
    }
    drop(go);
    thread.join().map_err(|_| io::ErrorKind::Other)??;
    Ok(())
}

fn a_notification_does_not_hide_an_event(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::OneShot)?;
    driver.notifier().notify()?;
    rustix::io::write(&writer, b"x")?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    assert_unnotified(&mut driver)
}

#[allow(unsafe_code, reason = "a handler and a signal to one thread")]
fn a_signal_ends_a_wait_without_events(mut driver: Driver) -> io::Result<()> {
    static SEEN: AtomicBool = AtomicBool::new(false);
    extern "C" fn note(_: libc::c_int) {
        SEEN.store(true, Ordering::SeqCst);
    }
    // SAFETY: the handler stores to an atomic, which a handler may; SA_RESTART is not asked for.
    let main = unsafe {
        libc::signal(libc::SIGUSR1, note as *const () as libc::sighandler_t);
        libc::pthread_self()
    };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                // SAFETY: the main thread of this scope is alive until the scope ends, which is after this loop.
                unsafe { libc::pthread_kill(main, libc::SIGUSR1) };
                thread::sleep(Duration::from_micros(300)); // between two tries, not for an effect
            }
        });
        let mut events = vec![readable(ONE)];
        let result = driver.wait(&mut events, PATIENCE);
        over.store(true, Ordering::SeqCst);
        assert_eq!(events, []);
        assert!(SEEN.load(Ordering::SeqCst));
        result
    })
}

fn a_notifier_may_outlive_its_driver(driver: Driver) -> io::Result<()> {
    let notifier = driver.notifier();
    drop(driver);
    notifier.notify()
}

// Helpers.

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

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
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
