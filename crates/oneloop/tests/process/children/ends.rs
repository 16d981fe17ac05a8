//! How a child ends, and what becomes of one that nobody waits for.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use oneloop::process::{Child, Command, Stdio};
use oneloop::{Builder, sleep, spawn, timeout, yield_now};

use super::{everywhere, no_child_is_left};
use crate::support::KINDS;
use crate::{End, in_child};

fn endless() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

#[test]
fn a_killed_child_says_so_and_killing_it_again_harms_nobody() {
    everywhere(async || {
        let mut child = endless().spawn()?;
        assert_eq!(child.try_wait()?, None);
        child.kill()?;
        child.kill()?;
        assert_eq!(child.wait().await?.signal(), Some(9));
        // The number may be another process's by now: whatever this answers, nobody is signalled.
        let _ = child.kill();
        assert_eq!(
            child.try_wait()?.and_then(|status| status.signal()),
            Some(9)
        );
        Ok(())
    });
}

#[test]
fn waiting_can_be_given_up_and_taken_up_again() {
    everywhere(async || {
        let mut child = endless().spawn()?;
        for _ in 0..50 {
            assert!(timeout(Duration::ZERO, child.wait()).await.is_err());
        }
        child.kill()?;
        assert_eq!(child.wait().await?.signal(), Some(9));
        Ok(())
    });
}

#[test]
fn a_child_that_has_exited_long_ago_is_not_missed() {
    everywhere(async || {
        let mut child = Command::new("sh").args(["-c", "exit 4"]).spawn()?;
        until(|| super::state(child.id()) == Some('Z')).await;
        assert_eq!(child.wait().await?.code(), Some(4));
        let mut child = Command::new("sh").args(["-c", "exit 5"]).spawn()?;
        while child.try_wait()?.is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(child.wait().await?.code(), Some(5));
        Ok(())
    });
}

#[test]
fn a_child_that_is_dropped_runs_on_and_is_reaped_when_it_exits() {
    everywhere(async || {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
        let (id, input) = (child.id(), child.stdin.take());
        drop(child);
        for _ in 0..20 {
            yield_now().await;
            assert!(super::state(id).is_some_and(|state| state != 'Z'));
        }
        drop(input);
        until(|| super::state(id).is_none()).await;
        Ok(())
    });
}

#[test]
fn a_child_that_is_to_be_killed_is_when_it_is_dropped_and_is_reaped() {
    everywhere(async || {
        let child = endless().kill_on_drop(true).spawn()?;
        let id = child.id();
        drop(child);
        until(|| super::state(id).is_none()).await;

        // Also by a future that is dropped with it.
        let mut command = endless();
        let marked = command.arg("1001").kill_on_drop(true).output();
        assert!(timeout(Duration::from_millis(5), marked).await.is_err());
        until(no_child_is_left).await;
        Ok(())
    });
}

#[test]
fn a_task_that_waits_can_be_cancelled() {
    everywhere(async || {
        let mut child = endless().kill_on_drop(true).spawn()?;
        let id = child.id();
        let waiting = spawn(async move { child.wait().await });
        yield_now().await;
        assert!(waiting.cancel().await.is_none());
        until(|| super::state(id).is_none()).await;
        Ok(())
    });
}

/// A run that ends with children: what they were dropped with is done, and the next spawn reaps them.
#[test]
fn children_of_a_closed_loop_are_reaped_by_the_next_spawn() {
    for &kind in KINDS {
        let end = in_child(|| {
            let run = |kind| {
                Builder::new().driver(kind).run(async {
                    let dropped = endless().kill_on_drop(true).spawn()?;
                    let ids = vec![dropped.id()];
                    drop(dropped);
                    // Dropped with its task, when the loop is closed.
                    let mut kept = endless().kill_on_drop(true).spawn()?;
                    let ids = Vec::from_iter(ids.into_iter().chain([kept.id()]));
                    spawn(async move { kept.wait().await }).detach();
                    yield_now().await;
                    io::Result::Ok(ids)
                })
            };
            let ids = run(kind).expect("a run").expect("no error");
            assert_eq!(ids.len(), 2);
            // The first may have been reaped while the loop was open.
            let are_over = || {
                super::state(ids[1]) == Some('Z')
                    && matches!(super::state(ids[0]), None | Some('Z'))
            };
            while !are_over() {
                std::thread::yield_now();
            }
            // Outside of a loop, too.
            let mut child = Command::new("true").spawn().expect("a child");
            assert!(ids.iter().all(|&id| super::state(id).is_none()));
            let status = Builder::new().driver(kind).run(child.wait());
            assert!(status.expect("a run").expect("a status").success());
            assert!(no_child_is_left());
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

#[test]
fn a_child_belongs_to_the_loop_on_which_it_was_waited_for() {
    everywhere(async || Ok(())); // that this is the loop of a thread
    for &kind in KINDS {
        let end = in_child(|| {
            let run = |f: &mut dyn FnMut() -> io::Result<Child>| {
                Builder::new().driver(kind).run(async {
                    let mut child = f()?;
                    let waited = timeout(Duration::from_millis(2), child.wait()).await;
                    io::Result::Ok((child, waited))
                })
            };
            let first = run(&mut || endless().spawn());
            let (child, waited) = first.expect("a run").expect("a child");
            assert!(waited.is_err());
            let mut child = Some(child);
            let second = run(&mut || Ok(child.take().expect("once")));
            let (mut child, waited) = second.expect("a run").expect("a child");
            let error = waited.expect("an answer").expect_err("another loop");
            assert!(
                error.to_string().contains("belongs to an event loop"),
                "{error}"
            );
            child.kill().expect("a child");
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

#[test]
fn what_somebody_else_reaps_is_an_error_and_not_waited_for_ever() {
    everywhere(async || {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let mut waiting = spawn(async move {
            let first = child.wait().await;
            (first, child.wait().await, child.try_wait())
        });
        assert!(
            timeout(Duration::from_millis(2), &mut waiting)
                .await
                .is_err()
        );
        drop(input);
        // While the loop does not run, so that it comes too late.
        rustix::process::wait(rustix::process::WaitOptions::empty())?;
        let (first, second, third) = waiting.await;
        for error in [first.err(), second.err(), third.err()] {
            assert_eq!(error.and_then(|it| it.raw_os_error()), Some(libc::ECHILD));
        }
        Ok(())
    });
}

/// Waits for what another process is about to do.
async fn until(mut happened: impl FnMut() -> bool) {
    while !happened() {
        sleep(Duration::from_millis(1)).await;
    }
}
