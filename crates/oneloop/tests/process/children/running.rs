//! What a child is started with, and what its end is.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use oneloop::process::{Command, Stdio};
use oneloop::{join_all, spawn, timeout};

use super::everywhere;

#[test]
fn statuses_are_those_of_the_children() {
    everywhere(async || {
        assert!(Command::new("true").status().await?.success());
        let status = Command::new("sh").args(["-c", "exit 7"]).status().await?;
        assert_eq!(status.code(), Some(7));
        let status = Command::new("sh").args(["-c", "exit 255"]).status().await?;
        assert_eq!(status.code(), Some(255));
        let status = Command::new("sh")
            .args(["-c", "kill -TERM $$"])
            .status()
            .await?;
        assert_eq!(status.signal(), Some(15));
        Ok(())
    });
}

#[test]
fn a_status_is_given_as_often_as_it_is_asked() {
    everywhere(async || {
        let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
        for _ in 0..3 {
            assert_eq!(child.wait().await?.code(), Some(3));
            assert_eq!(child.try_wait()?.and_then(|it| it.code()), Some(3));
        }
        Ok(())
    });
}

#[test]
fn arguments_environment_directory_and_streams_are_the_childs() {
    everywhere(async || {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $0 $1 $A $B; pwd; cat; echo oops >&2"])
            .arg("zero")
            .arg("one")
            .env_clear()
            .env("A", "a")
            .envs([("B", "b")])
            .env("C", "c")
            .env_remove("C")
            .current_dir("/");
        let output = command.output().await?;
        assert_eq!(output.stdout, b"zero one a b\n/\n");
        assert_eq!(output.stderr, b"oops\n");
        assert!(output.status.success());

        // What is set stays as it is, and another way to run the command has its own defaults.
        let output = command.stdout(Stdio::null()).output().await?;
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b""[..], &b"oops\n"[..])
        );
        let child = command.stderr(Stdio::null()).stdin(Stdio::null()).spawn()?;
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        assert!(child.wait_with_output().await?.stdout.is_empty());
        Ok(())
    });
}

#[test]
fn a_process_group_and_the_standard_librarys_own_settings_are_kept() {
    everywhere(async || {
        use std::os::unix::process::CommandExt;

        let mut command = Command::new("sh");
        command.args(["-c", "echo $0; ps -o pgid= -p $$; echo $$"]);
        command.process_group(0).as_std_mut().arg0("another");
        let output = command.output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = Vec::from_iter(text.split_whitespace());
        assert_eq!(words.len(), 3, "{text}");
        assert_eq!(words[1], words[2]);
        Ok(())
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error_and_no_child() {
    everywhere(async || {
        let before = crate::open_descriptors();
        let mut command = Command::new("/nowhere/to/be/found");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        for _ in 0..3 {
            let errors = [
                command.spawn().map(drop),
                command.output().await.map(drop),
                command.status().await.map(drop),
            ];
            for error in errors {
                let kind = error.expect_err("no program").kind();
                assert_eq!(kind, io::ErrorKind::NotFound);
            }
        }
        assert_eq!(crate::open_descriptors(), before);
        let none = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        assert_eq!(none.err(), Some(rustix::io::Errno::CHILD));
        Ok(())
    });
}

#[test]
fn many_run_at_once() {
    everywhere(async || {
        let children = (0..100).map(|number| {
            spawn(async move {
                let script = format!("read line; echo $line; exit {number}");
                let mut child = Command::new("sh")
                    .args(["-c", &script])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()?;
                // All of them live at this moment, and end when their inputs are closed.
                oneloop::yield_now().await;
                drop(child.stdin.take());
                child.wait_with_output().await
            })
        });
        for (number, output) in join_all(Vec::from_iter(children))
            .await
            .into_iter()
            .enumerate()
        {
            let output = output?;
            assert_eq!(output.status.code(), i32::try_from(number).ok());
            assert_eq!(output.stdout, b"\n");
        }
        Ok(())
    });
}

#[test]
fn a_loop_goes_on_while_a_child_runs() {
    everywhere(async || {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        // Far longer than the loop needs, far shorter than the child lives.
        let waited = timeout(Duration::from_millis(20), child.wait());
        assert!(waited.await.is_err());
        assert_eq!(child.try_wait()?, None);
        drop(input);
        assert!(child.wait().await?.success());
        Ok(())
    });
}
