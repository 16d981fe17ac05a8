//! The pipes: bytes in both directions at once, ends, and passing one on to another child.

use std::io;
use std::os::fd::AsRawFd;

use futures_util::io::copy;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use oneloop::process::{Command, Stdio};
use oneloop::spawn;

use super::everywhere;

/// Bytes in which no part looks like another.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes = Vec::from_iter(words.take(length / 8 + 1).flatten());
    bytes.truncate(length);
    bytes
}

#[test]
fn many_mebibytes_go_through_a_child_and_come_back() {
    let sent = noise((64 << 20) + 13);
    everywhere(async || {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().expect("piped");
        let writing = spawn({
            let sent = sent.clone();
            async move {
                input.write_all(&sent).await?;
                input.close().await
            }
        });
        let output = child.wait_with_output().await?;
        writing.await?;
        assert!(output.status.success());
        assert!(
            output.stdout == sent,
            "{} bytes came back",
            output.stdout.len()
        );
        Ok(())
    });
}

#[test]
fn both_outputs_are_read_at_once() {
    everywhere(async || {
        // More than a pipe holds, on the one and then on the other.
        let script = "head -c 1000000 /dev/zero >&2; head -c 2000000 /dev/zero; head -c 500000 /dev/zero >&2";
        let output = Command::new("sh").args(["-c", script]).output().await?;
        assert_eq!(
            (output.stdout.len(), output.stderr.len()),
            (2_000_000, 1_500_000)
        );
        assert!(output.status.success());
        Ok(())
    });
}

#[test]
fn a_child_that_reads_no_more_is_a_broken_pipe_and_not_a_signal() {
    everywhere(async || {
        let mut child = Command::new("true").stdin(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().expect("piped");
        let error = input
            .write_all(&noise(1 << 20))
            .await
            .expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(child.wait().await?.success());
        Ok(())
    });
}

#[test]
fn closing_is_the_end_of_the_childs_input_and_writing_after_it_an_error() {
    everywhere(async || {
        let mut child = Command::new("wc")
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().expect("piped");
        let pieces = [b"three ", b"pieces", b"of six"].map(|piece| io::IoSlice::new(piece));
        assert_eq!(input.write_vectored(&pieces).await?, 18);
        input.flush().await?;
        input.close().await?;
        let error = input.write(b"more").await.expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        input.close().await?;
        assert!(Stdio::try_from(input).is_err());
        assert_eq!(child.wait_with_output().await?.stdout.trim_ascii(), b"18");
        Ok(())
    });
}

#[test]
fn waiting_closes_an_input_that_nobody_has_taken() {
    everywhere(async || {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
        assert!(child.wait().await?.success());
        let child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
        assert!(child.wait_with_output().await?.status.success());
        Ok(())
    });
}

#[test]
fn one_childs_output_is_anothers_input() {
    everywhere(async || {
        let mut first = Command::new("sh")
            .args(["-c", "seq 1000; echo last"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = first.stdout.take().expect("piped");
        // What was read here is missing there; and the pipe has been on the loop.
        let mut number = [0; 2];
        lines.read_exact(&mut number).await?;
        assert_eq!(&number, b"1\n");
        let second = Command::new("tail")
            .args(["-n", "+999"])
            .stdin(Stdio::try_from(lines)?)
            .output()
            .await?;
        assert_eq!(second.stdout, b"1000\nlast\n");
        assert!(first.wait().await?.success());

        // The other way round: a child writes to what was another's input.
        let mut sink = Command::new("sh")
            .args(["-c", "read a; echo got $a"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = Stdio::try_from(sink.stdin.take().expect("piped"))?;
        let status = Command::new("echo")
            .arg("it")
            .stdout(input)
            .status()
            .await?;
        assert!(status.success());
        assert_eq!(sink.wait_with_output().await?.stdout, b"got it\n");
        Ok(())
    });
}

#[test]
fn a_pipe_that_a_grandchild_keeps_open_outlives_the_child() {
    everywhere(async || {
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<&0; cat <&3 & exit 5"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().expect("piped");
        let mut output = child.stdout.take().expect("piped");
        assert_eq!(child.wait().await?.code(), Some(5));
        input.write_all(b"still there").await?;
        let mut echo = [0; 11];
        output.read_exact(&mut echo).await?;
        assert_eq!(&echo, b"still there");
        drop(input);
        assert_eq!(output.read(&mut echo).await?, 0);
        Ok(())
    });
}

#[test]
fn an_error_stream_is_copied_while_the_child_runs() {
    everywhere(async || {
        let mut child = Command::new("sh")
            .args(["-c", "while read line; do echo \"<$line>\" >&2; done"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut input, errors) = (
            child.stdin.take().expect("piped"),
            child.stderr.take().expect("piped"),
        );
        assert!(errors.as_raw_fd() > 2);
        let copying = spawn(async move {
            let mut copied = Vec::new();
            copy(errors, &mut futures_util::io::AllowStdIo::new(&mut copied)).await?;
            io::Result::Ok(copied)
        });
        for line in ["one\n", "two\n"] {
            input.write_all(line.as_bytes()).await?;
        }
        drop(input);
        assert_eq!(copying.await?, b"<one>\n<two>\n");
        assert!(child.wait().await?.success());
        Ok(())
    });
}
