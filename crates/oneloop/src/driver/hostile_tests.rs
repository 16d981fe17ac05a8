//! The contract in hostile surroundings: a forked child, no descriptors left, syscalls refused by a sandbox.
//!
//! Each test does its harm in a forked child, which has one thread and is thrown away, and reports by its exit status. That the parent
//! goes on unharmed is part of what is tested.
#![allow(
    unsafe_code,
    reason = "fork, rlimits, seccomp and the environment of a forked child"
)]

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::{Errno, FdFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;
use crate::sys;

const ONE: Token = Token(1);
const TWO: Token = Token(2);
const NOW: Option<Duration> = Some(Duration::ZERO);
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

macro_rules! on_both_drivers {
    ($($test:ident)*) => {
        mod epoll { $(#[test] fn $test() -> std::io::Result<()> { super::$test(super::Kind::Epoll) })* }
        mod portable { $(#[test] fn $test() -> std::io::Result<()> { super::$test(super::Kind::Portable) })* }
    };
}

on_both_drivers! {
    a_child_that_abandons_leaves_the_parents_set_alone
    a_child_that_only_drops_leaves_the_parents_set_alone
    a_child_is_refused_until_it_abandons
    a_childs_notifier_does_not_wake_the_parent
    every_descriptor_is_close_on_exec_and_non_blocking
    a_dropped_driver_leaves_no_descriptor_behind
    no_descriptors_left_is_an_error
    an_abandoned_driver_without_descriptors_can_try_again
}

fn a_child_that_abandons_leaves_the_parents_set_alone(kind: Kind) -> io::Result<()> {
    let (mut driver, reader, writer) = watching(kind)?;
    in_child(|| {
        driver.abandon_after_fork()?;
        assert_eq!(wait(&mut driver, NOW)?, []);
        driver.add(reader.as_raw_fd(), TWO, Interest::READABLE, Mode::Level)?;
        rustix::io::write(&writer, b"x")?;
        assert_eq!(wait(&mut driver, PATIENCE)?, [readable(TWO)]);
        rustix::io::read(&reader, &mut [0; 8])?;
        driver.notifier().notify()?;
        assert_eq!(wait(&mut driver, None)?, []);
        driver.remove(reader.as_raw_fd())?;
        Ok(())
    })?;
    assert_unharmed(&mut driver, &writer)
}

/// The way that goes wrong by itself: `polling` deregisters its own descriptors in its destructor.
fn a_child_that_only_drops_leaves_the_parents_set_alone(kind: Kind) -> io::Result<()> {
    let (driver, reader, writer) = watching(kind)?;
    // Both sides own it after the fork, so each needs a handle of its own to drop.
    let mut driver = Some(driver);
    let mut reader = Some(reader);
    in_child(|| {
        if let (Some(driver), Some(reader)) = (&mut driver, reader.take()) {
            driver.release(reader);
        }
        driver = None;
        Ok(())
    })?;
    match &mut driver {
        Some(driver) => assert_unharmed(driver, &writer),
        None => unreachable!("the child's copy was dropped, not this one"),
    }
}

fn a_child_is_refused_until_it_abandons(kind: Kind) -> io::Result<()> {
    let (mut driver, reader, writer) = watching(kind)?;
    in_child(|| {
        let fd = reader.as_raw_fd();
        let refused = [
            driver.add(fd, TWO, Interest::READABLE, Mode::Level),
            driver.modify(fd, TWO, Interest::READABLE, Mode::Level),
            driver.remove(fd),
            driver.detach(fd).map(drop),
            driver.wait(&mut Events::new(), None),
        ];
        for result in refused {
            let message = result.err().map(|error| error.to_string());
            assert!(message.is_some_and(|message| message.contains("fork")));
        }
        driver.abandon_after_fork()?;
        driver.add(fd, TWO, Interest::READABLE, Mode::Level)
    })?;
    assert_unharmed(&mut driver, &writer)
}

fn a_childs_notifier_does_not_wake_the_parent(kind: Kind) -> io::Result<()> {
    let (mut driver, _reader, writer) = watching(kind)?;
    let notifier = driver.notifier();
    in_child(|| notifier.notify())?;
    let start = sys::monotonic_ns();
    assert_eq!(wait(&mut driver, Some(Duration::from_millis(2)))?, []);
    assert!(sys::monotonic_ns() - start >= 2_000_000);
    assert_unharmed(&mut driver, &writer)
}

fn every_descriptor_is_close_on_exec_and_non_blocking(kind: Kind) -> io::Result<()> {
    in_child(|| {
        let before = open_descriptors()?;
        let _driver = Driver::new(kind)?;
        let mut made = 0;
        for (fd, target) in open_descriptors()? {
            if before.iter().any(|(known, _)| *known == fd) {
                continue;
            }
            made += 1;
            sys::with_fd(fd, |fd| {
                assert!(rustix::io::fcntl_getfd(fd)?.contains(FdFlags::CLOEXEC));
                // An epoll set is only ever waited for with a timeout; there is nothing in it that could block.
                assert!(
                    target.contains("eventpoll")
                        || rustix::fs::fcntl_getfl(fd)?.contains(OFlags::NONBLOCK)
                );
                Ok(())
            })?;
        }
        assert!(made >= 2, "a set and something to wake it");
        Ok(())
    })
}

fn a_dropped_driver_leaves_no_descriptor_behind(kind: Kind) -> io::Result<()> {
    let mut inherited = Some(Driver::new(kind)?);
    in_child(|| {
        let before = open_descriptors()?.len();
        let mut driver = Driver::new(kind)?;
        let made = open_descriptors()?.len() - before;
        let notifier = driver.notifier();
        driver.abandon_after_fork()?;
        drop((driver, notifier));
        assert_eq!(open_descriptors()?.len(), before);
        // An inherited one takes the child's copies of its descriptors with it.
        inherited = None;
        assert_eq!(open_descriptors()?.len(), before - made);
        Ok(())
    })
}

fn no_descriptors_left_is_an_error(kind: Kind) -> io::Result<()> {
    in_child(|| {
        let needed = {
            let before = open_descriptors()?.len();
            let _driver = Driver::new(kind)?;
            open_descriptors()?.len() - before
        };
        for spare in 0..needed {
            let hoard = hoard_all_but(spare)?;
            let before = lowest_free();
            for kind in [kind, Kind::Best] {
                match Driver::new(kind) {
                    Err(error) => assert_eq!(Errno::from_io_error(&error), Some(Errno::MFILE)),
                    // `polling` does without its timer, and epoll needs less than `polling`.
                    Ok(driver) => assert!(spare >= 2, "{driver:?} with {spare} descriptors"),
                }
            }
            assert_eq!(
                lowest_free(),
                before,
                "what was made before the failure is closed"
            );
            drop(hoard);
        }
        Driver::new(kind).map(drop)
    })
}

fn an_abandoned_driver_without_descriptors_can_try_again(kind: Kind) -> io::Result<()> {
    let (mut driver, reader, writer) = watching(kind)?;
    in_child(|| {
        let hoard = hoard_all_but(0)?;
        let failed = driver.abandon_after_fork();
        assert!(failed.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::MFILE)));
        assert!(driver.wait(&mut Events::new(), NOW).is_err());
        drop(hoard);
        driver.abandon_after_fork()?;
        driver.add(reader.as_raw_fd(), TWO, Interest::READABLE, Mode::Level)
    })?;
    assert_unharmed(&mut driver, &writer)
}

#[test]
fn without_epoll_pwait2_waits_are_rounded_up_to_milliseconds() -> io::Result<()> {
    for errno in [Errno::NOSYS, Errno::PERM] {
        in_child(|| {
            refuse(libc::SYS_epoll_pwait2, errno)?;
            let mut driver = Driver::new(Kind::Epoll)?;
            for nanos in [1, 1_000_001, 2_000_000] {
                let start = sys::monotonic_ns();
                assert_eq!(wait(&mut driver, Some(Duration::from_nanos(nanos)))?, []);
                assert!(sys::monotonic_ns() - start >= nanos as i64);
            }
            for secs in [3_000_000, 10_000_000_000, u64::MAX] {
                driver.notifier().notify()?;
                assert_eq!(wait(&mut driver, Some(Duration::from_secs(secs)))?, []);
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn without_eventfd_the_best_driver_is_the_portable_one() -> io::Result<()> {
    in_child(|| {
        refuse(libc::SYS_eventfd2, Errno::PERM)?;
        let refused = Driver::new(Kind::Epoll);
        assert!(refused.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::PERM)));
        let mut driver = Driver::new(Kind::Best)?;
        assert_eq!(driver.name(), "portable");
        driver.notifier().notify()?;
        assert_eq!(wait(&mut driver, None)?, []);
        Ok(())
    })
}

#[test]
fn without_any_driver_the_first_refusal_is_reported() -> io::Result<()> {
    in_child(|| {
        refuse(libc::SYS_epoll_create1, Errno::ACCESS)?;
        for kind in [Kind::Best, Kind::Epoll, Kind::Portable] {
            let refused = Driver::new(kind);
            assert!(refused.is_err_and(|e| Errno::from_io_error(&e) == Some(Errno::ACCESS)));
        }
        Ok(())
    })
}

#[test]
fn the_environment_chooses_the_kind_and_a_wrong_name_says_where_it_came_from() -> io::Result<()> {
    in_child(|| {
        let kind_for = |value: Option<&OsStr>| {
            // SAFETY: this child has one thread, so nobody else reads the environment.
            unsafe {
                match value {
                    Some(value) => std::env::set_var(Kind::VARIABLE, value),
                    None => std::env::remove_var(Kind::VARIABLE),
                }
            }
            Kind::from_env()
        };
        assert_eq!(kind_for(None)?, Kind::Best);
        assert_eq!(kind_for(Some(OsStr::new("")))?, Kind::Best);
        assert_eq!(kind_for(Some(OsStr::new("epoll")))?, Kind::Epoll);
        assert_eq!(kind_for(Some(OsStr::new("portable")))?, Kind::Portable);
        for wrong in [OsStr::new("kqueue"), OsStr::from_bytes(b"epoll\xff")] {
            let error = kind_for(Some(wrong)).err();
            assert!(error.is_some_and(|error| {
                let message = error.to_string();
                error.kind() == io::ErrorKind::InvalidInput
                    && message.starts_with("ONELOOP_DRIVER: unknown driver")
                    && message.ends_with("expected \"epoll\" or \"portable\"")
            }));
        }
        Ok(())
    })
}

// Helpers.

/// A driver that watches the pipe, in the state that the parent must still be in afterwards.
fn watching(kind: Kind) -> io::Result<(Driver, OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let mut driver = Driver::new(kind)?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    Ok((driver, reader, writer))
}

fn assert_unharmed(driver: &mut Driver, writer: &OwnedFd) -> io::Result<()> {
    assert_eq!(wait(driver, NOW)?, []);
    driver.notifier().notify()?;
    let start = sys::monotonic_ns();
    assert_eq!(wait(driver, PATIENCE)?, []);
    assert!(
        sys::monotonic_ns() - start < 15_000_000_000,
        "notification lost"
    );
    rustix::io::write(writer, b"x")?;
    assert_eq!(wait(driver, PATIENCE)?, [readable(ONE)]);
    Ok(())
}

fn wait(driver: &mut Driver, timeout: Option<Duration>) -> io::Result<Events> {
    let mut events = Events::new();
    driver.wait(&mut events, timeout)?;
    Ok(events)
}

const fn readable(token: Token) -> Event {
    Event {
        token,
        readable: true,
        writable: false,
    }
}

/// Runs `f` in a forked child and reports its failure.
fn in_child(f: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: the child runs test code only: it may allocate (the C library makes that safe after a fork) and prints nothing unless it
    // fails; it ends by `_exit`, so that no destructor or exit handler of the harness runs twice.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = match catch_unwind(AssertUnwindSafe(f)) {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => {
                eprintln!("in the child: {error}");
                1
            }
            Err(_) => 101,
        };
        // SAFETY: does not return.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: our own child, and a place for its status.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    match status {
        0 => Ok(()),
        status => Err(io::Error::other(format!(
            "the child ended with status {status:#x}"
        ))),
    }
}

/// Number and target of each.
fn open_descriptors() -> io::Result<Vec<(i32, String)>> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // The directory's own descriptor is in the list and closed by now.
        if let (Some(fd), Ok(target)) = (
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok()),
            std::fs::read_link(entry.path()),
        ) && !target.to_string_lossy().contains("/fd")
        {
            open.push((fd, target.to_string_lossy().into_owned()));
        }
    }
    Ok(open)
}

/// Takes every descriptor that this process may have but `spare`, as long as the answer lives.
fn hoard_all_but(spare: usize) -> io::Result<Vec<OwnedFd>> {
    let limit = libc::rlimit {
        rlim_cur: 200,
        rlim_max: 200,
    };
    // SAFETY: a valid rlimit, in a process of our own.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut hoard = Vec::new();
    while let Ok(fd) = rustix::io::fcntl_dupfd_cloexec(io::stderr().as_fd(), 0) {
        hoard.push(fd);
    }
    hoard.truncate(hoard.len() - spare);
    Ok(hoard)
}

/// The number that the next descriptor would get, if any is left.
fn lowest_free() -> Option<i32> {
    let fd = rustix::io::fcntl_dupfd_cloexec(io::stderr().as_fd(), 0);
    fd.ok().map(|fd| fd.as_raw_fd())
}

/// From now on, and for good, this process gets `errno` for `syscall`.
fn refuse(syscall: libc::c_long, errno: Errno) -> io::Result<()> {
    const fn statement(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        }
    }
    let answer = libc::SECCOMP_RET_ERRNO | errno.raw_os_error().unsigned_abs();
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0), // the syscall's number
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            syscall as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, answer),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which is well-formed; both calls concern this process only.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    };
    if done {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
