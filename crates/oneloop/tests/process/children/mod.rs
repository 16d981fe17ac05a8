//! Child processes of the Rust face, on each driver, and with each means of seeing an exit: a pidfd, and a thread where there is none.

mod ends;
mod exits;
mod hostile;
mod pipes;
mod running;

use std::future::Future;
use std::io;

use oneloop::Builder;

use crate::support::KINDS;
use crate::{End, in_child};

/// The means: what the environment says about them.
const MEANS: &[&str] = &["", "thread"];

/// Runs a test in a process of its own for each driver and each means, since it may reap what is not its own, and sets a variable.
fn everywhere<F: Future<Output = io::Result<()>>>(test: impl Fn() -> F) {
    for &kind in KINDS {
        for means in MEANS {
            let end = in_child(|| {
                choose(means);
                Builder::new()
                    .driver(kind)
                    .run(test())
                    .expect("a run")
                    .expect("no error");
            });
            assert_eq!(end, End::Well, "{kind:?}, {means:?}");
        }
    }
}

fn choose(means: &str) {
    // SAFETY: in a forked child, which has no other thread yet.
    #[expect(unsafe_code, reason = "an environment is the process's")]
    unsafe {
        std::env::set_var("ONELOOP_CHILD_WATCH", means);
    }
}

/// The state of a process as the kernel shows it: `R`, `S`, `Z` …; `None` if there is none.
#[cfg(target_os = "linux")]
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which is in parentheses.
    stat.rsplit(") ").next()?.chars().next()
}

/// The same, as `ps` tells it.
#[cfg(not(target_os = "linux"))]
fn state(pid: u32) -> Option<char> {
    let asked = std::process::Command::new("ps")
        .args(["-o", "state=", "-p", &pid.to_string()])
        .output();
    let told = asked.expect("ps").stdout;
    told.trim_ascii().first().copied().map(char::from)
}

/// Whether this process has no child, not even one that has exited.
fn no_child_is_left() -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};

    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, options), Err(rustix::io::Errno::CHILD))
}
