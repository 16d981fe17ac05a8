//! [`Command`]: how a child is to be made. The standard library's, which also makes it, plus what becomes of it when it is dropped.

use std::ffi::OsStr;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

use super::child::Child;
use super::orphans;

/// A command to run as a child process.
///
/// # Examples
///
/// ```
/// use oneloop::process::Command;
///
/// # oneloop::run(async {
/// let output = Command::new("sh")
///     .args(["-c", "echo $GREETING from $PWD"])
///     .env("GREETING", "hello")
///     .current_dir("/")
///     .output()
///     .await?;
/// assert_eq!(output.stdout, b"hello from /\n");
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub struct Command {
    command: std::process::Command,
    kill_on_drop: bool,
    /// Which of the standard streams were set: the defaults depend on how the command is run.
    is_set: [bool; 3],
}

impl Command {
    /// A command that runs `program`, looked up in `PATH` unless it is a path, with no arguments and this process's surroundings.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        std::process::Command::new(program).into()
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item: AsRef<OsStr>>) -> &mut Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(key, value);
        self
    }

    /// Sets environment variables.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Self {
        self.command.envs(variables);
        self
    }

    /// Removes an environment variable.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.command.env_remove(key);
        self
    }

    /// Inherits no environment variables.
    pub fn env_clear(&mut self) -> &mut Self {
        self.command.env_clear();
        self
    }

    /// Sets the directory in which the child starts.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.command.current_dir(directory);
        self
    }

    /// Sets the child's standard input. By default it is inherited; for [`Command::output`] there is none.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.command.stdin(stdin);
        self.is_set[0] = true;
        self
    }

    /// Sets the child's standard output. By default it is inherited; for [`Command::output`] it is a pipe.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.command.stdout(stdout);
        self.is_set[1] = true;
        self
    }

    /// Sets the child's standard error. By default it is inherited; for [`Command::output`] it is a pipe.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.command.stderr(stderr);
        self.is_set[2] = true;
        self
    }

    /// Sets the user that the child runs as.
    pub fn uid(&mut self, user: u32) -> &mut Self {
        self.command.uid(user);
        self
    }

    /// Sets the group that the child runs as.
    pub fn gid(&mut self, group: u32) -> &mut Self {
        self.command.gid(group);
        self
    }

    /// Sets the process group of the child; 0 is a new one of its own, which a terminal's Ctrl-C does not reach.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.command.process_group(group);
        self
    }

    /// Whether the child is killed (by SIGKILL) if its [`Child`] is dropped before it has exited. By default it runs on.
    ///
    /// This is what ends the child of a [`Command::status`] or [`Command::output`] that is dropped unfinished, as by a
    /// [`timeout`](crate::timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::process::Command;
    ///
    /// # oneloop::run(async {
    /// let server = Command::new("sleep").arg("1000").kill_on_drop(true).spawn()?;
    /// drop(server); // killed, and reaped when it is gone
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }

    /// The standard library's command, for what there is no method here: `pre_exec`, `arg0` and whatever it learns. Streams that are set
    /// there do not count as set in [`Command::output`].
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.command
    }

    /// Starts the child. It returns once the program runs in it, or could not be run.
    ///
    /// A loop is needed to wait for the child or to use its pipes, not to start it.
    ///
    /// # Errors
    ///
    /// The system's: there is no such program, it may not be run, no descriptor or process is left. No child is left behind then.
    pub fn spawn(&mut self) -> io::Result<Child> {
        orphans::reap();
        Child::new(self.command.spawn()?, self.kill_on_drop)
    }

    /// Starts the child, and gives the future of its end.
    ///
    /// Dropping the future lets it run on, unless [`Command::kill_on_drop`] says otherwise.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`] and [`Child::wait`].
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::process::Command;
    ///
    /// # oneloop::run(async {
    /// let status = Command::new("sh").args(["-c", "exit 3"]).status().await?;
    /// assert_eq!(status.code(), Some(3));
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn status(&mut self) -> impl Future<Output = io::Result<ExitStatus>> + use<> {
        let spawned = self.spawn();
        async { spawned?.wait().await }
    }

    /// Starts the child, and gives the future of its end and of what it writes. Its standard input is empty, unless it was set.
    ///
    /// Dropping the future lets it run on, unless [`Command::kill_on_drop`] says otherwise.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`] and [`Child::wait_with_output`].
    pub fn output(&mut self) -> impl Future<Output = io::Result<Output>> + use<> {
        let [stdin, stdout, stderr] = self.is_set;
        if !stdin {
            self.command.stdin(Stdio::null());
        }
        if !stdout {
            self.command.stdout(Stdio::piped());
        }
        if !stderr {
            self.command.stderr(Stdio::piped());
        }
        let spawned = self.spawn();
        // Another way of running the same command has other defaults.
        if !stdin {
            self.command.stdin(Stdio::inherit());
        }
        if !stdout {
            self.command.stdout(Stdio::inherit());
        }
        if !stderr {
            self.command.stderr(Stdio::inherit());
        }
        async { spawned?.wait_with_output().await }
    }
}

impl From<std::process::Command> for Command {
    /// The same command, whose streams do not count as set in [`Command::output`].
    fn from(command: std::process::Command) -> Self {
        Self {
            command,
            kill_on_drop: false,
            is_set: [false; 3],
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.fmt(f)
    }
}
