//! [`Child`]: a child process, from its start to its end.
//!
//! The standard library's child is what it is reaped and killed through, so that a number which has another owner by now is never
//! signalled. The loop's part is to say when it is time to reap.

use std::fmt;
use std::io;
use std::process::{ExitStatus, Output};

use futures_util::future::join;

use super::exit::{Bell, ExitNotice};
use super::orphans;
use super::pipes::{ChildStderr, ChildStdin, ChildStdout};
use crate::net::socket::Socket;
use crate::registry::Direction;
use crate::sys;

/// A running child process, or one that has exited.
///
/// **Dropping it lets it run on**, unless [`Command::kill_on_drop`](super::Command::kill_on_drop) says otherwise; it is reaped in either
/// case. A child belongs to the loop on which it was first waited for; so does each of its pipes.
///
/// # Examples
///
/// ```
/// use oneloop::process::Command;
///
/// # oneloop::run(async {
/// let mut child = Command::new("sleep").arg("1000").spawn()?;
/// assert_eq!(child.try_wait()?, None);
/// child.kill()?;
/// assert!(!child.wait().await?.success());
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub struct Child {
    /// The pipe to its standard input, if that was set to [`Stdio::piped`](super::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// The pipe from its standard output, if that was set to [`Stdio::piped`](super::Stdio::piped).
    pub stdout: Option<ChildStdout>,
    /// The pipe from its standard error, if that was set to [`Stdio::piped`](super::Stdio::piped).
    pub stderr: Option<ChildStderr>,
    /// Taken only by `drop`.
    running: Option<Running>,
    kill_on_drop: bool,
}

impl Child {
    /// # Errors
    ///
    /// If the child cannot be waited for; it is killed then.
    pub(super) fn new(mut child: std::process::Child, kill_on_drop: bool) -> io::Result<Self> {
        // Where forks cannot be counted, a forked child may take it for its own. No driver could be made there either.
        let _ = sys::watch_forks();
        let notice = ExitNotice::new(child.id());
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut child = Self {
            stdin: None,
            stdout: None,
            stderr: None,
            running: Some(Running {
                child,
                exit: None,
                born: sys::fork_generation(),
            }),
            kill_on_drop: true, // until all is well
        };
        child.running_mut().exit = Some(Exit::new(notice?));
        child.stdin = pipes.0.map(ChildStdin::new).transpose()?;
        child.stdout = pipes.1.map(ChildStdout::new).transpose()?;
        child.stderr = pipes.2.map(ChildStderr::new).transpose()?;
        child.kill_on_drop = kill_on_drop;
        Ok(child)
    }

    /// Its process identifier, which has another owner once it was waited for.
    pub fn id(&self) -> u32 {
        self.running().child.id()
    }

    /// Waits for the child to exit, and gives its status, as often as it is asked.
    ///
    /// Closes the child's standard input first, if it is still here: a child that waits for more would never exit. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    ///
    /// `ECHILD` if somebody else has reaped the child, or the system did because SIGCHLD is ignored: its status is not known then. In a
    /// forked child likewise. And if the child was waited for on another loop before.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.running_mut().wait().await
    }

    /// The status of the child, if it has exited.
    ///
    /// # Errors
    ///
    /// As [`Child::wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.running_mut().child.try_wait()
    }

    /// Kills the child (by SIGKILL), unless it was waited for already. It still has to be waited for.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the child runs as another user.
    pub fn kill(&mut self) -> io::Result<()> {
        self.running_mut().child.kill()
    }

    /// Closes the child's standard input, reads what it writes to the end, and waits for it.
    ///
    /// What is not piped is empty. The pipes end when every process has closed them to which the child has passed them on.
    ///
    /// # Errors
    ///
    /// Those of reading, and as [`Child::wait`].
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::process::{Command, Stdio};
    ///
    /// # oneloop::run(async {
    /// let child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
    /// assert_eq!(child.wait_with_output().await?.stdout, b"hello\n");
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let stdout = self.stdout.take().map(ChildStdout::read_to_end);
        let stderr = self.stderr.take().map(ChildStderr::read_to_end);
        let (stdout, stderr) = join(optional(stdout), optional(stderr)).await;
        Ok(Output {
            stdout: stdout?,
            stderr: stderr?,
            status: self.wait().await?,
        })
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("only drop takes it")
    }

    fn running_mut(&mut self) -> &mut Running {
        self.running.as_mut().expect("only drop takes it")
    }
}

async fn optional(
    reading: Option<impl Future<Output = io::Result<Vec<u8>>>>,
) -> io::Result<Vec<u8>> {
    match reading {
        Some(reading) => reading.await,
        None => Ok(Vec::new()),
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        if running.is_inherited() {
            return; // it is the parent's, which goes on with it
        }
        if self.kill_on_drop {
            // It may run as another user by now, and run on.
            let _ = running.child.kill();
        }
        if let Ok(None) = running.child.try_wait() {
            orphans::adopt(running);
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("id", &self.id())
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish_non_exhaustive()
    }
}

/// A child that nobody has reaped, as far as we know, and its exit.
pub(super) struct Running {
    pub(super) child: std::process::Child,
    /// `None` once it was noticed, and if it never will be.
    exit: Option<Exit>,
    /// The fork generation in which it was started.
    born: u64,
}

impl Running {
    /// Whether this process is a forked child of the one that has started it.
    fn is_inherited(&self) -> bool {
        self.born != sys::fork_generation()
    }

    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let Self { child, exit, .. } = self;
        let status = match exit {
            None => child
                .try_wait()
                .and_then(|status| status.ok_or_else(unwatched)),
            Some(exit) => {
                let reap = |_: &Socket| match child.try_wait() {
                    Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                    Ok(Some(status)) => Ok(status),
                    Err(error) => Err(error),
                };
                exit.descriptor.io(Direction::Read, reap).await
            }
        }?;
        self.exit = None;
        Ok(status)
    }
}

#[cold]
fn unwatched() -> io::Error {
    io::Error::other("nothing tells when this child exits")
}

/// A child's [`ExitNotice`] on a loop.
struct Exit {
    descriptor: Socket,
    _bell: Option<Bell>,
}

impl Exit {
    fn new(notice: ExitNotice) -> Self {
        let (fd, bell) = notice.into_parts();
        Self {
            // Nothing is read from it.
            descriptor: Socket::from_nonblocking(fd),
            _bell: bell,
        }
    }
}
