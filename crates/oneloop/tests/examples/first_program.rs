//! The first program, as it stands in the examples: what it prints, and that it takes its second.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::{DRIVERS, example};

#[test]
fn greets_waits_one_second_and_greets_again() -> std::io::Result<()> {
    for driver in DRIVERS {
        let mut greet = Command::new(example("greet")?);
        let start = Instant::now();
        let output = greet.env("ONELOOP_DRIVER", driver).output()?;
        let took = start.elapsed();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"Hello...\n...Asyncio World!\n");
        assert_eq!(output.stderr, b"");
        assert!(took >= Duration::from_secs(1), "{took:?}");
        // Generous: other tests run at the same time. A sleep that was rounded or repeated would be seen all the same.
        assert!(took < Duration::from_millis(1_900), "{took:?}");
    }
    Ok(())
}

#[test]
fn an_unknown_driver_is_named() -> std::io::Result<()> {
    let mut greet = Command::new(example("greet")?);
    let output = greet.env("ONELOOP_DRIVER", "kqueue").output()?;
    assert!(!output.status.success());
    assert_eq!(output.stdout, b"");
    let message = String::from_utf8_lossy(&output.stderr);
    let expected =
        r#"ONELOOP_DRIVER: unknown driver \"kqueue\"; expected \"epoll\" or \"portable\""#;
    assert!(message.contains(expected), "{message}");
    Ok(())
}
