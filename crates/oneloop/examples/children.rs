//! Child processes: several at once, a pipeline, and one that takes too long.
//!
//! `cargo run --example children`

use std::io;
use std::time::Duration;

use futures_util::AsyncWriteExt;
use oneloop::process::{Command, Stdio};

fn main() -> io::Result<()> {
    oneloop::run(async {
        let commands = [("uname", "-s"), ("date", "+%A"), ("nproc", "--all")];
        let outputs = commands.map(async |(program, argument)| -> io::Result<String> {
            let output = Command::new(program).arg(argument).output().await?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        });
        for (answer, (program, _)) in oneloop::join_all(outputs).await.into_iter().zip(commands) {
            println!("{program}: {}", answer?);
        }
        println!("sorted: {}", sorted("pear apple quince").await?);

        let sleep = oneloop::timeout(
            Duration::from_millis(50),
            Command::new("sleep")
                .arg("1000")
                .kill_on_drop(true)
                .status(),
        );
        if let Err(elapsed) = sleep.await {
            println!("sleep: {elapsed}, and it was killed");
        }
        Ok(())
    })?
}

/// `tr ' ' '\n' | sort`, with the words written by us and the lines read by us.
async fn sorted(words: &str) -> io::Result<String> {
    let mut split = Command::new("tr")
        .args([" ", "\n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut sort = Command::new("sort");
    if let Some(lines) = split.stdout.take() {
        sort.stdin(Stdio::try_from(lines)?);
    }
    let sort = sort.stdout(Stdio::piped()).spawn()?;

    if let Some(mut input) = split.stdin.take() {
        input.write_all(words.as_bytes()).await?;
        // Dropped here, which is the end of the input.
    }
    let output = sort.wait_with_output().await?;
    split.wait().await?;
    let lines = String::from_utf8_lossy(&output.stdout);
    Ok(lines.split_whitespace().collect::<Vec<_>>().join(" "))
}
