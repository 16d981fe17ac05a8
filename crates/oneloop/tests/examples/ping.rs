//! The ping over UDP: every round is answered, by itself or by somebody else; where nobody is, it says so.

use std::io;
use std::net::UdpSocket;
use std::process::{Command, Output};
use std::thread;

use crate::{DRIVERS, example};

fn ping(driver: &str, arguments: &[&str]) -> io::Result<Output> {
    Command::new(example("ping")?)
        .args(arguments)
        .env("ONELOOP_DRIVER", driver)
        .output()
}

#[test]
fn every_round_is_answered() -> io::Result<()> {
    for driver in DRIVERS {
        for host in [None, Some("127.0.0.1:0"), Some("[::1]:0")] {
            let mut arguments = Vec::new();
            if let Some(host) = host {
                let server = UdpSocket::bind(host)?;
                arguments.push(server.local_addr()?.to_string());
                thread::spawn(move || {
                    let mut buffer = [0; 16];
                    while let Ok((length, sender)) = server.recv_from(&mut buffer) {
                        let _ = server.send_to(&buffer[..length], sender);
                    }
                });
            }
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let output = ping(driver, &arguments)?;
            assert!(output.status.success(), "{output:?}");
            let printed = String::from_utf8_lossy(&output.stdout);
            let rounds: Vec<_> = printed.lines().map(|line| &line[..3]).collect();
            assert_eq!(rounds, ["1: ", "2: ", "3: ", "4: ", "5: "]);
            assert!(printed.lines().all(|line| line.ends_with('s')), "{printed}");
        }
        let gone = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let output = ping(driver, &[&gone])?;
        assert!(!output.status.success());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("ConnectionRefused"), "{message}");
    }
    Ok(())
}
