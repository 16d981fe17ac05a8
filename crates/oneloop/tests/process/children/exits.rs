//! `ExitNotice`: the descriptor alone, without a loop.
#![allow(clippy::zombie_processes, reason = "the notice reaps them")]

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oneloop::engine::ExitNotice;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{End, in_child, open_descriptors};

type Maker = fn(u32) -> io::Result<ExitNotice>;

/// In a process of its own, since children are the process's.
fn by_each(test: impl Fn(Maker)) {
    let makers: [Maker; 2] = [ExitNotice::by_pidfd, ExitNotice::by_thread];
    for make in makers {
        assert_eq!(in_child(|| test(make)), End::Well);
    }
}

fn shell(script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped());
    command.spawn().expect("a child")
}

pub(super) fn is_readable(notice: &ExitNotice, patience: Duration) -> bool {
    let patience = Timespec::try_from(patience).expect("a short time");
    let mut polled = [PollFd::from_borrowed_fd(notice.as_fd(), PollFlags::IN)];
    poll(&mut polled, Some(&patience)).expect("a poll") == 1
}

pub(super) const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(5);

#[test]
fn it_is_readable_from_the_exit_on_and_does_not_reap() {
    by_each(|make| {
        let mut child = shell("read line; exit 9");
        let notice = make(child.id()).expect("a notice");
        assert!(!is_readable(&notice, SHORT));
        assert_eq!(notice.reap().expect("a child"), None);
        drop(child.stdin.take());
        for _ in 0..3 {
            assert!(is_readable(&notice, LONG));
        }
        let status = notice.reap().expect("a child").expect("an exit");
        assert_eq!((status.code(), status.signal()), (Some(9), None));
        assert!(is_readable(&notice, SHORT));
        let again = notice.reap().expect_err("reaped");
        assert_eq!(again.raw_os_error(), Some(libc::ECHILD));
    });
}

#[test]
fn statuses_are_those_of_wait() {
    by_each(|make| {
        for (script, raw) in [
            ("exit 0", 0),
            ("exit 255", 255 << 8),
            ("kill -KILL $$", 9),
            ("ulimit -c 0; kill -TERM $$", 15),
        ] {
            let child = shell(script);
            let notice = make(child.id()).expect("a notice");
            assert!(is_readable(&notice, LONG));
            let status = notice.reap().expect("a child").expect("an exit");
            assert_eq!(status.into_raw(), raw, "{script}");
        }
    });
}

#[test]
fn a_stopped_child_has_not_exited() {
    by_each(|make| {
        let mut child = shell("kill -STOP $$; exit 1");
        while super::state(child.id()) != Some('T') {
            std::thread::yield_now();
        }
        let notice = make(child.id()).expect("a notice");
        assert!(!is_readable(&notice, SHORT));
        assert_eq!(notice.reap().expect("a child"), None);
        child.kill().expect("a child");
        assert!(is_readable(&notice, LONG));
        let status = notice.reap().expect("a child").expect("an exit");
        assert_eq!(status.signal(), Some(9));
    });
}

#[test]
fn a_child_that_is_gone_is_noticed_at_once_or_refused() {
    by_each(|make| {
        let mut child = shell("exit 0");
        child.wait().expect("a child");
        match make(child.id()) {
            Ok(notice) => {
                assert!(is_readable(&notice, LONG));
                assert!(notice.reap().is_err());
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ESRCH)),
        }
        // Which of the two it is does not matter to those who take what there is.
        let notice = ExitNotice::new(child.id()).expect("a notice");
        assert!(is_readable(&notice, LONG));
        for number in [0, u32::MAX, i32::MAX as u32 + 1] {
            let error = make(number).expect_err("no process");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_child_that_somebody_else_reaps_is_noticed() {
    by_each(|make| {
        let mut child = shell("read line");
        let notice = make(child.id()).expect("a notice");
        drop(child.stdin.take());
        child.wait().expect("a child");
        assert!(is_readable(&notice, LONG));
        let error = notice.reap().expect_err("reaped");
        assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
    });
}

#[test]
fn dropping_it_early_closes_everything_and_late_exits_harm_nobody() {
    by_each(|make| {
        let before = open_descriptors();
        let children = Vec::from_iter((0..10).map(|_| shell("read line")));
        for child in &children {
            drop(make(child.id()).expect("a notice"));
        }
        assert_eq!(open_descriptors().len(), before.len() + children.len());
        for mut child in children {
            drop(child.stdin.take());
            let _ = child.wait().expect("a child");
        }
        let begun = Instant::now();
        while open_descriptors() != before && begun.elapsed() < LONG {
            std::thread::yield_now();
        }
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn a_forked_child_that_inherits_it_takes_nothing_from_the_parent() {
    by_each(|make| {
        let mut child = shell("read line; exit 6");
        let notice = make(child.id()).expect("a notice");
        let inherited = crate::Child::fork(|| {
            assert!(is_readable(&notice, LONG));
            let error = notice.reap().expect_err("a sibling");
            assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
        });
        // Not by closing the pipe, which the other has inherited too.
        let input = child.stdin.as_mut().expect("piped");
        input.write_all(b"\n").expect("a line");
        assert!(is_readable(&notice, LONG));
        assert_eq!(inherited.wait(), End::Well);
        assert!(is_readable(&notice, SHORT));
        let status = notice.reap().expect("a child").expect("an exit");
        assert_eq!(status.code(), Some(6));
    });
}
