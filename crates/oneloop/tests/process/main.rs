//! What concerns the whole process: Ctrl-C, fork, the descriptors that are left. Each test does it in a forked child, which is thrown away.
#![cfg(unix)]

mod blocking;
mod children;
mod ctrl_c;
mod descriptors;
mod fork;
mod net;

#[path = "../rust_face/net/black_hole.rs"]
mod black_hole;
#[path = "../engine/support.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It came to its end.
    Well,
    /// It panicked; what it said is on the standard error.
    Panicked,
    Signal(i32),
    Other(i32),
}

/// Long enough for anything in here: a child that hangs is killed by its alarm.
const PATIENCE: u32 = 60;

/// A forked child.
struct Child(libc::pid_t);

impl Child {
    /// Forks. The child goes on where it is, and gets `None`.
    fn fork_here() -> Option<Child> {
        // SAFETY: the child only runs test code on the one thread that it has. It may allocate, which the C library makes safe after a
        // fork, and it writes to nothing that is locked.
        #[expect(unsafe_code, reason = "rustix has no fork")]
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "{}", std::io::Error::last_os_error());
        if pid > 0 {
            return Some(Child(pid));
        }
        std::panic::set_hook(Box::new(|info| {
            // Not through `eprintln!`, which the test harness captures, in a process that is not ours.
            let text = format!("in a child: {info}\n");
            let _ = rustix::io::write(std::io::stderr(), text.as_bytes());
        }));
        // SAFETY: a system call without any memory.
        #[expect(unsafe_code, reason = "rustix has no alarm")]
        unsafe {
            libc::alarm(PATIENCE)
        };
        None
    }

    /// Forks a child that does this and exits.
    fn fork(f: impl FnOnce()) -> Child {
        match Child::fork_here() {
            Some(child) => child,
            None => exit(catch_unwind(AssertUnwindSafe(f)).is_ok()),
        }
    }

    fn wait(self) -> End {
        let mut status = 0;
        // SAFETY: it writes to `status`, which outlives the call.
        #[expect(unsafe_code, reason = "the counterpart of fork")]
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(waited, self.0);
        match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
            (true, 0) => End::Well,
            (true, 101) => End::Panicked,
            (true, other) => End::Other(other),
            (false, _) => End::Signal(libc::WTERMSIG(status)),
        }
    }
}

/// Ends a child, without what the parent's harness would do at its exit.
fn exit(well: bool) -> ! {
    // SAFETY: it ends the process.
    #[expect(unsafe_code, reason = "rustix has no _exit")]
    unsafe {
        libc::_exit(if well { 0 } else { 101 })
    }
}

fn in_child(f: impl FnOnce()) -> End {
    Child::fork(f).wait()
}

/// The descriptors that are open in this process.
fn open_descriptors() -> Vec<String> {
    let directory = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            match std::fs::read_link(entry.path()) {
                Ok(target) => format!("{name} {}", target.display()),
                // The directory's own descriptor, which is closed by the time that it is looked at.
                Err(_) => name,
            }
        })
        .collect();
    names.sort();
    names
}
