//! The echo server and its client: they understand each other, and the server stops on Ctrl-C.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::{DRIVERS, example};

/// A server that runs until it is told to stop, or the test fails.
struct Server {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(driver: &str) -> io::Result<(Self, String)> {
        let mut process = Command::new(example("echo_server")?)
            .arg("localhost:0")
            .env("ONELOOP_DRIVER", driver)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().expect("it is piped");
        let mut server = Self {
            process,
            output: BufReader::new(output),
        };
        let line = server.line()?;
        let address = line.strip_prefix("listening on ").expect("its first line");
        let address = address.to_owned();
        Ok((server, address))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client(driver: &str, arguments: &[&str]) -> io::Result<Output> {
    Command::new(example("echo_client")?)
        .args(arguments)
        .env("ONELOOP_DRIVER", driver)
        .output()
}

#[test]
fn what_the_client_says_comes_back_and_the_server_stops_on_ctrl_c() -> io::Result<()> {
    for driver in DRIVERS {
        let (mut server, address) = Server::start(driver)?;
        for _ in 0..3 {
            let output = client(driver, &[&address, "Hello...", "...Asyncio World!"])?;
            assert!(output.status.success(), "{output:?}");
            assert_eq!(output.stdout, b"Hello...\n...Asyncio World!\n");
            assert!(server.line()?.ends_with(": 25 bytes"));
        }
        let pid = Pid::from_child(&server.process);
        kill_process(pid, Signal::INT)?;
        assert_eq!(server.line()?, "stopped");
        assert!(server.process.wait()?.success());
        // Its address is free again at once, and nobody is there.
        let output = client(driver, &[&address, "anybody?"])?;
        assert!(!output.status.success());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("ConnectionRefused"), "{message}");
    }
    Ok(())
}
