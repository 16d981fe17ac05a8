//! Children where the system refuses things: pidfds, descriptors, threads; where SIGCHLD is ignored; across a fork.

use std::io;
#[cfg(target_os = "linux")]
use std::os::unix::process::ExitStatusExt;

use oneloop::process::{Command, Stdio};
use oneloop::{Builder, spawn, yield_now};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{everywhere, no_child_is_left};
#[cfg(target_os = "linux")]
use crate::open_descriptors;
use crate::support::KINDS;
use crate::{Child, End, exit, in_child};

/// Has the kernel answer these system calls with this error in this process from now on, as sandboxes and old kernels do.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a filter of system calls, in a forked child")]
fn refuse(calls: &[libc::c_long], error: i32) {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};

    let statement = |code: u32, k: u32, jt: u8, jf: u8| sock_filter {
        code: u16::try_from(code).expect("small"),
        jt,
        jf,
        k,
    };
    let refusal = libc::SECCOMP_RET_ERRNO | u32::try_from(error).expect("small");
    let mut program = vec![statement(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0)]; // the call's number
    for &call in calls {
        let number = u32::try_from(call).expect("small");
        program.push(statement(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
        program.push(statement(BPF_RET | BPF_K, refusal, 0, 0));
    }
    program.push(statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0));
    let filter = sock_fprog {
        len: program.len().try_into().expect("short"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: plain system calls; the program is valid, and read before the second returns.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter),
            0
        );
    }
}

/// One child ends by itself and one is killed, and the loop is told of both.
#[cfg(target_os = "linux")]
async fn children_end() -> io::Result<()> {
    let output = Command::new("echo").arg("fine").output().await?;
    assert_eq!(output.stdout, b"fine\n");
    let mut child = Command::new("sleep").arg("1000").spawn()?;
    child.kill()?;
    assert_eq!(child.wait().await?.signal(), Some(9));
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn without_pidfds_a_thread_waits_for_each_child() {
    use oneloop::engine::ExitNotice;

    for &kind in KINDS {
        for error in [libc::ENOSYS, libc::EPERM] {
            let end = in_child(|| {
                refuse(&[libc::SYS_pidfd_open], error);
                let refused = ExitNotice::by_pidfd(std::process::id()).expect_err("refused");
                assert_eq!(refused.raw_os_error(), Some(error));
                let before = open_descriptors();
                let run = Builder::new().driver(kind).run(children_end());
                run.expect("a run").expect("no error");
                assert_eq!(open_descriptors(), before);
            });
            assert_eq!(end, End::Well, "{kind:?}, {error}");
        }
    }
}

/// Nothing waits without reaping then, so the thread has to look now and then. A notice that is given early would make the loop spin
/// until the child exits.
#[cfg(target_os = "linux")]
#[test]
#[allow(clippy::zombie_processes, reason = "the notice reaps one of them")]
fn without_any_call_that_waits_a_child_is_looked_after_all_the_same() {
    use std::process::Command as Plain;
    use std::time::Duration;

    use oneloop::engine::ExitNotice;

    use super::exits::{LONG, is_readable};

    for &kind in KINDS {
        for error in [libc::ENOSYS, libc::EPERM] {
            let end = in_child(|| {
                refuse(&[libc::SYS_pidfd_open, libc::SYS_waitid], error);
                // Its name might be mistaken for the end of a name and a state.
                let script = "printf 'a) Z 1 (b' > /proc/$$/comm; read line";
                let mut running = Plain::new("sh");
                running.args(["-c", script]).stdin(Stdio::piped());
                let mut running = running.spawn().expect("a child");
                let name = format!("/proc/{}/comm", running.id());
                while std::fs::read_to_string(&name).expect("a name") != "a) Z 1 (b\n" {
                    std::thread::yield_now();
                }
                let notice = ExitNotice::new(running.id()).expect("a notice");
                assert!(!is_readable(&notice, Duration::from_millis(100)));
                assert_eq!(notice.reap().expect("a child"), None);
                drop(running.stdin.take());
                assert!(is_readable(&notice, LONG));
                assert!(notice.reap().expect("a child").is_some());

                let mut reaped = Plain::new("cat");
                let mut reaped = reaped.stdin(Stdio::piped()).spawn().expect("a child");
                let notice = ExitNotice::new(reaped.id()).expect("a notice");
                assert!(!is_readable(&notice, Duration::from_millis(5)));
                reaped.kill().expect("a child");
                reaped.wait().expect("a child");
                assert!(is_readable(&notice, LONG), "reaped by somebody else");

                let run = Builder::new().driver(kind).run(children_end());
                run.expect("a run").expect("no error");
            });
            assert_eq!(end, End::Well, "{kind:?}, {error}");
        }
    }
}

/// Limits this process to the descriptors that it has and `more`, whatever their numbers.
fn limit_descriptors(more: usize) -> Vec<std::fs::File> {
    let null = || std::fs::File::open("/dev/null");
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).expect("a limit");
    let mut fillers = Vec::from_iter(std::iter::from_fn(|| null().ok()));
    fillers.truncate(fillers.len() - more);
    fillers
}

#[test]
fn however_few_descriptors_are_left_nothing_is_lost() {
    everywhere(async || {
        // What is opened but once is open by then.
        Command::new("true").status().await?;
        let mut outcomes = (0, 0);
        for more in 0..12 {
            let fillers = limit_descriptors(more);
            let before = open_numbers();
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            match command.output().await {
                Ok(output) => {
                    assert!(output.status.success());
                    outcomes.0 += 1;
                }
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                    outcomes.1 += 1;
                }
            }
            assert_eq!(open_numbers(), before, "{more} left");
            drop(fillers);
            // A child that was started and could not be waited for was killed, and is reaped now.
            Command::new("true").status().await?;
            while !no_child_is_left() {
                yield_now().await;
            }
        }
        assert!(outcomes.0 > 0 && outcomes.1 > 0, "{outcomes:?}");
        Ok(())
    });
}

/// The open descriptors, found without opening one.
fn open_numbers() -> Vec<i32> {
    let is_open = |&number: &i32| {
        // SAFETY: whatever the number, this only asks.
        #[expect(unsafe_code, reason = "a number that may be no descriptor")]
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        flags >= 0
    };
    Vec::from_iter((0..64).filter(is_open))
}

#[cfg(target_os = "linux")] // elsewhere the limit of memory is none of the stacks'
#[test]
fn without_a_thread_for_it_a_child_is_refused_and_killed() {
    for &kind in KINDS {
        let end = in_child(|| {
            super::choose("thread");
            let run = Builder::new().driver(kind).run(async {
                let before = getrlimit(Resource::As);
                let mut starved = before;
                starved.current = Some(1 << 20);
                let mut command = Command::new("sleep");
                command.arg("1000").stdin(Stdio::piped());
                // The child itself has no limit, or it could not even start.
                use std::os::unix::process::CommandExt;
                #[expect(unsafe_code, reason = "code between fork and exec")]
                // SAFETY: one system call, which may be made there.
                unsafe {
                    command.as_std_mut().pre_exec(move || {
                        setrlimit(Resource::As, before)?;
                        Ok(())
                    });
                }
                setrlimit(Resource::As, starved).expect("a limit");
                let refused = command.spawn();
                setrlimit(Resource::As, before).expect("a limit");
                let error = refused.map(drop).expect_err("no thread");
                assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
                // It is reaped in time.
                while !no_child_is_left() {
                    Command::new("true").status().await?;
                }
                io::Result::Ok(())
            });
            run.expect("a run").expect("no error");
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

#[test]
fn where_sigchld_is_ignored_a_status_is_unknown_and_the_wait_ends() {
    everywhere(async || {
        // SAFETY: a disposition without a handler.
        #[expect(unsafe_code, reason = "rustix has no signal dispositions")]
        unsafe {
            libc::signal(libc::SIGCHLD, libc::SIG_IGN)
        };
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
        let error = child.wait().await.expect_err("the kernel has reaped it");
        assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
        Ok(())
    });
}

#[test]
fn the_programs_own_handler_of_sigchld_stays() {
    everywhere(async || {
        extern "C" fn handler(_: libc::c_int) {
            HANDLED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
        static HANDLED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

        let address = handler as extern "C" fn(libc::c_int) as usize;
        // SAFETY: the handler does nothing but count.
        #[expect(unsafe_code, reason = "rustix has no signal dispositions")]
        let before = unsafe { libc::signal(libc::SIGCHLD, address) };
        assert_eq!(before, libc::SIG_DFL);
        for _ in 0..3 {
            assert!(Command::new("true").status().await?.success());
        }
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "rustix has no signal dispositions")]
        let after = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        assert_eq!(after, address);
        assert_eq!(HANDLED.load(std::sync::atomic::Ordering::SeqCst), 3);
        Ok(())
    });
}

#[test]
fn a_forked_child_has_none_of_its_parents_children_and_can_have_its_own() {
    for &kind in KINDS {
        for means in super::MEANS {
            let end = in_child(|| {
                super::choose(means);
                let mut fork = None;
                let run = Builder::new().driver(kind).run(async {
                    let dropped = Command::new("sleep").arg("1000").spawn()?;
                    let dropped_id = rustix::process::Pid::from_raw(dropped.id().cast_signed());
                    drop(dropped);
                    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
                    let input = child.stdin.take();
                    let waiting = spawn(async move { child.wait().await });
                    yield_now().await;
                    fork = Child::fork_here();
                    drop(input);
                    if fork.is_none() {
                        assert!(Command::new("true").status().await?.success());
                        // The parent's is not waited for, by whom it would be missed.
                        let error = waiting.await.expect_err("a sibling");
                        assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
                        return io::Result::Ok(());
                    }
                    assert!(waiting.await?.success());
                    rustix::process::kill_process(
                        dropped_id.expect("a number"),
                        rustix::process::Signal::KILL,
                    )?;
                    Ok(())
                });
                run.expect("a run").expect("no error");
                match fork {
                    Some(fork) => assert_eq!(fork.wait(), End::Well),
                    None => exit(true),
                }
            });
            assert_eq!(end, End::Well, "{kind:?}, {means:?}");
        }
    }
}

#[test]
fn what_a_forked_child_drops_lives_on() {
    everywhere(async || {
        let mut child = Some(
            Command::new("cat")
                .stdin(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?,
        );
        let fork = Child::fork_here();
        let Some(fork) = fork else {
            drop(child.take());
            exit(true);
        };
        assert_eq!(fork.wait(), End::Well);
        let mut child = child.take().expect("ours");
        assert!(child.wait().await?.success());
        Ok(())
    });
}
