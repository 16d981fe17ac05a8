//! The staggered race by a manual clock: what begins when, who wins, and what becomes of the others.

use std::time::Duration;

use oneloop::engine::{Attempt, staggered_race};
use oneloop::{now, sleep, spawn};

use crate::support::{Log, rig};
use crate::timing::simulate;

const MS: Duration = Duration::from_millis(1);

/// What an attempt does: it takes some milliseconds, and then succeeds or fails.
#[derive(Clone, Copy)]
enum Does {
    Succeed(u32),
    Fail(u32),
}
use Does::{Fail, Succeed};

/// Says when an attempt is dropped that has not ended.
struct Cut(Log, usize, bool);

impl Cut {
    fn has_ended(&mut self) {
        self.2 = true;
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if !self.2 {
            self.0.say(format!("{} cut at {}", self.1, millis()));
        }
    }
}

fn millis() -> i64 {
    now().as_nanos() / 1_000_000
}

fn attempt(log: &Log, number: usize, does: Does) -> Attempt<usize, String> {
    log.say(format!("{number} begins at {}", millis()));
    let mut cut = Cut(log.clone(), number, false);
    Box::pin(async move {
        let (Succeed(time) | Fail(time)) = does;
        if time > 0 {
            sleep(time * MS).await;
        }
        cut.has_ended();
        match does {
            Succeed(_) => Ok(number),
            Fail(_) => Err(format!("{number} failed")),
        }
    })
}

fn race(delay: Option<u32>, attempts: &'static [Does]) -> (String, Vec<String>) {
    let rig = rig();
    let said = simulate(&rig, move |log| async move {
        let begin = |number| attempt(&log, number, attempts[number]);
        let outcome = staggered_race(attempts.len(), delay.map(|it| it * MS), begin).await;
        log.say(match outcome {
            Ok((number, value)) => {
                assert_eq!(number, value);
                format!("{number} wins at {}", millis())
            }
            Err(errors) => format!("{} at {}", errors.join(", "), millis()),
        });
    });
    (said.last().cloned().unwrap_or_default(), said)
}

#[test]
fn each_has_a_head_start_and_the_first_to_succeed_wins() {
    let (_, said) = race(Some(250), &[Succeed(600), Succeed(300), Succeed(900)]);
    assert_eq!(
        said,
        [
            "0 begins at 0",
            "1 begins at 250",
            "2 begins at 500",
            "1 cut at 550",
            "2 cut at 550",
            "0 wins at 550",
        ]
        .map(|it| it
            .replace("1 cut at 550", "0 cut at 550")
            .replace("0 wins", "1 wins"))
    );
}

#[test]
fn a_failure_hurries_the_next() {
    let (_, said) = race(Some(250), &[Fail(10), Fail(0), Succeed(5)]);
    let expected = [
        "0 begins at 0",
        "1 begins at 10",
        "2 begins at 10",
        "2 wins at 15",
    ];
    assert_eq!(said, expected);
}

#[test]
fn an_older_ones_failure_hurries_nobody() {
    let (_, said) = race(Some(100), &[Fail(150), Succeed(900), Fail(0), Succeed(10)]);
    let expected = [
        "0 begins at 0",
        "1 begins at 100",
        "2 begins at 200",
        "3 begins at 200",
        "1 cut at 210",
        "3 wins at 210",
    ];
    assert_eq!(said, expected);
}

#[test]
fn without_a_delay_one_after_the_other() {
    let (_, said) = race(None, &[Fail(700), Fail(0), Succeed(300), Succeed(0)]);
    let expected = [
        "0 begins at 0",
        "1 begins at 700",
        "2 begins at 700",
        "2 wins at 1000",
    ];
    assert_eq!(said, expected);
}

#[test]
fn the_errors_come_in_the_order_of_the_attempts() {
    let (last, _) = race(Some(10), &[Fail(50), Fail(20), Fail(0), Fail(40)]);
    assert_eq!(last, "0 failed, 1 failed, 2 failed, 3 failed at 60");
    assert_eq!(race(Some(10), &[]).0, " at 0");
    assert_eq!(race(None, &[Fail(3)]).0, "0 failed at 3");
}

#[test]
fn no_delay_at_all_begins_everything_in_order() {
    let (_, said) = race(Some(0), &[Succeed(20), Succeed(10), Succeed(30)]);
    let begins = ["0 begins at 0", "1 begins at 0", "2 begins at 0"];
    assert_eq!(said[..3], begins);
    assert_eq!(said[3..], ["0 cut at 10", "2 cut at 10", "1 wins at 10"]);
}

#[test]
fn of_two_that_succeed_at_once_the_older_wins() {
    assert_eq!(
        race(Some(10), &[Succeed(30), Succeed(20)]).0,
        "0 wins at 30"
    );
}

#[test]
fn the_winner_leaves_no_timer() {
    let rig = rig();
    simulate(&rig, |log| async move {
        let begin = |number| attempt(&log, number, Succeed(5));
        let outcome = staggered_race(2, Some(3600 * 1000 * MS), begin).await;
        assert!(outcome.is_ok());
    });
    assert_eq!(rig.clock.now().as_nanos(), 5_000_000);
}

#[test]
fn dropping_the_race_drops_every_attempt() {
    let rig = rig();
    let said = simulate(&rig, |log| async move {
        let theirs = log.clone();
        let racing = spawn(async move {
            let begin = |number| attempt(&theirs, number, Succeed(1000));
            let outcome = staggered_race(5, Some(10 * MS), begin).await;
            unreachable!("{outcome:?}");
        });
        sleep(15 * MS).await;
        racing.cancel().await;
        log.say(format!("over at {}", millis()));
    });
    let expected = [
        "0 begins at 0",
        "1 begins at 10",
        "0 cut at 15",
        "1 cut at 15",
        "over at 15",
    ];
    assert_eq!(said, expected);
    assert_eq!(rig.clock.now().as_nanos(), 15_000_000);
}
