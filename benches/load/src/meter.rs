//! What is counted, from when to when: the warm-up, the two marks, the clocks at each, and the line of JSON at the end.
//!
//! A mark reads three clocks at once: the wall's, this process's processor time and the server's. Linux lets a process
//! read another's clock (`clock_getcpuclockid`): it is the one that the server would read itself, user and system
//! time of all its threads, without the server having to run anything for it. While the server runs, the kernel brings
//! that clock up to date at its ticks only, every few milliseconds; once it sleeps it is right to the nanosecond. So a
//! slice begins and ends with a server that sleeps: all requests of it are answered before the second mark.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::options::{Amount, Load};

/// Above this share of its processor, it is the client that is measured.
pub(crate) const BUSY: f64 = 0.9;
/// How long a server may be silent before it is called dead. Long: it may share its processor with who knows what.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a run is left alone with nothing to do.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a server may take to fall asleep after its last answer.
const ASLEEP: Duration = Duration::from_millis(1);
/// The longest latency that the histogram tells from longer ones.
const LONGEST: u64 = 60_000_000_000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Warming,
    Measuring,
    /// Time is up, and answers are due.
    Draining,
    Over,
}

/// What the clocks said at a mark.
#[derive(Clone, Copy, Debug)]
struct Mark {
    wall: Instant,
    own: Duration,
    server: Duration,
}

pub(crate) struct Meter {
    warmup: Amount,
    measured: Amount,
    connections: u64,
    drained: bool,
    server: Option<ClockId>,
    phase: Phase,
    mark: Mark,
    /// The second mark, once it is over.
    end: Mark,
    started: u64,
    finished: u64,
    latencies: Histogram<u64>,
    lost: u64,
    heard: Instant,
}

impl Meter {
    /// Begins the warm-up.
    pub(crate) fn begin(load: &Load) -> io::Result<Self> {
        let server = load
            .server
            .map(|pid| ClockId::pid_cpu_clock_id(Pid::from_raw(pid)))
            .transpose()?;
        let mark = mark(server)?;
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3).map_err(io::Error::other)?;
        Ok(Self {
            warmup: load.warmup,
            measured: load.measured,
            connections: load.connections as u64,
            drained: load.slices,
            server,
            // A warm-up of no request is not over with the first; and the connections of slices are warm.
            phase: if load.warmup == Amount::Requests(0) || load.slices {
                Phase::Measuring
            } else {
                Phase::Warming
            },
            mark,
            end: mark,
            started: 0,
            finished: 0,
            latencies,
            lost: 0,
            heard: mark.wall,
        })
    }

    /// May another request begin? With numbers of requests, exactly so many are sent that all are answered at the end.
    pub(crate) fn start(&mut self) -> bool {
        let limit = match (self.warmup, self.measured) {
            (Amount::Requests(warmup), Amount::Requests(measured)) => warmup + measured,
            _ => u64::MAX,
        };
        if self.started == limit || self.phase == Phase::Draining {
            return false;
        }
        self.started += 1;
        true
    }

    /// A request that counts from `since` has its answer.
    pub(crate) fn finish(&mut self, since: Instant, now: Instant) -> io::Result<()> {
        self.heard = now;
        self.finished += 1;
        if matches!(self.phase, Phase::Measuring | Phase::Draining) {
            self.latencies
                .saturating_record(now.saturating_duration_since(since).as_nanos() as u64);
        }
        match (self.phase, self.warmup, self.measured) {
            (Phase::Warming, Amount::Requests(wanted), _) if self.finished >= wanted => {
                self.next_phase()
            }
            (Phase::Measuring, _, Amount::Requests(wanted)) if self.finished >= wanted => {
                self.next_phase()
            }
            _ => Ok(()),
        }
    }

    /// A request that will not have one.
    pub(crate) fn lose(&mut self) {
        self.lost += 1;
    }

    /// Looks at the time. It is not over before there is a figure, however slow the machine.
    pub(crate) fn look(&mut self, now: Instant) -> io::Result<()> {
        if self.phase == Phase::Draining && self.finished + self.lost >= self.started {
            thread::sleep(ASLEEP);
            return self.next_phase();
        }
        let time_is_up = self.deadline().is_some_and(|deadline| now >= deadline);
        // Nor is the warm-up over before there have been as many answers as there are connections: what the server does to
        // let them in belongs to no request. And as many answers may be on their way already when the measuring begins,
        // which cost the server nothing any more: a figure needs others, too.
        let least = if self.phase == Phase::Warming {
            self.connections
        } else {
            2 * self.connections
        };
        if time_is_up && self.drained {
            self.phase = Phase::Draining;
        } else if time_is_up && self.finished >= least {
            return self.next_phase();
        }
        if now.saturating_duration_since(self.heard) > PATIENCE {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the server is silent",
            ));
        }
        Ok(())
    }

    /// How long one may wait before looking again.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        let pause = self
            .deadline()
            .map_or(PAUSE, |deadline| deadline.saturating_duration_since(now));
        pause.clamp(Duration::from_millis(1), PAUSE)
    }

    fn deadline(&self) -> Option<Instant> {
        let amount = match self.phase {
            Phase::Warming => self.warmup,
            Phase::Measuring => self.measured,
            Phase::Draining | Phase::Over => return None,
        };
        match amount {
            Amount::For(duration) => Some(self.mark.wall + duration),
            Amount::Requests(_) => None,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    fn next_phase(&mut self) -> io::Result<()> {
        let mark = mark(self.server)?;
        match self.phase {
            Phase::Warming => {
                self.phase = Phase::Measuring;
                (self.mark, self.finished, self.lost) = (mark, 0, 0);
            }
            Phase::Measuring | Phase::Draining => {
                self.phase = Phase::Over;
                self.end = mark;
            }
            Phase::Over => {}
        }
        Ok(())
    }

    /// What was measured; an error if that was nothing.
    pub(crate) fn report(&self) -> io::Result<Report> {
        if self.phase != Phase::Over || self.finished == 0 {
            return Err(io::Error::other(
                "not one request was answered between the marks",
            ));
        }
        let seconds = (self.end.wall - self.mark.wall).as_secs_f64();
        let busy = (self.end.own - self.mark.own).as_secs_f64() / seconds;
        let server = self
            .server
            .map(|_| (self.end.server - self.mark.server).as_secs_f64());
        Ok(Report {
            requests: self.finished,
            lost: self.lost,
            seconds,
            busy,
            server,
            latencies: [0.5, 0.99, 0.999, 1.0]
                .map(|quantile| self.latencies.value_at_quantile(quantile)),
        })
    }
}

fn mark(server: Option<ClockId>) -> io::Result<Mark> {
    let time = |clock: ClockId| -> io::Result<Duration> { Ok(clock.now()?.into()) };
    Ok(Mark {
        server: server.map_or(Ok(Duration::ZERO), time)?,
        own: time(ClockId::CLOCK_PROCESS_CPUTIME_ID)?,
        wall: Instant::now(),
    })
}

/// The figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) lost: u64,
    seconds: f64,
    busy: f64,
    server: Option<f64>,
    /// p50, p99, p99.9 and the longest, in nanoseconds
    latencies: [u64; 4],
}

impl Report {
    /// One line. A throughput is null where it is the client's, the server's time where nobody asked for it.
    pub(crate) fn as_json(&self) -> String {
        let requests = self.requests as f64;
        let throughput = if self.busy > BUSY {
            "null".to_owned()
        } else {
            format!("{:.1}", requests / self.seconds)
        };
        let server = self.server.map_or("null".to_owned(), |seconds| {
            format!("{:.4}", seconds * 1e6 / requests)
        });
        let [p50, p99, p999, longest] = self.latencies.map(|nanoseconds| nanoseconds as f64 / 1e3);
        format!(
            "{{\"requests\": {}, \"lost\": {}, \"seconds\": {:.6}, \"per_second\": {throughput}, \"client_busy\": {:.4}, \
             \"server_us_per_request\": {server}, \"p50_us\": {p50:.1}, \"p99_us\": {p99:.1}, \"p99.9_us\": {p999:.1}, \
             \"max_us\": {longest:.1}}}",
            self.requests, self.lost, self.seconds, self.busy,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Command, parse};

    fn meter(line: &str) -> Meter {
        let arguments = format!("echo --tcp 127.0.0.1:9 {line}");
        let Ok(Command::Load(load)) =
            parse(lexopt::Parser::from_args(arguments.split_whitespace()))
        else {
            panic!("not read: {line}")
        };
        Meter::begin(&load).expect("clocks can be read")
    }

    #[test]
    fn what_comes_before_the_first_mark_is_in_no_figure() {
        let mut meter = meter("--warmup-requests 3 --requests 2");
        let now = Instant::now();
        for latency in [900, 900, 900, 5, 7] {
            assert!(meter.start());
            meter
                .finish(now, now + Duration::from_micros(latency))
                .expect("a mark");
        }
        assert!(meter.is_over());
        assert!(!meter.start(), "exactly as many as were asked for");
        let report = meter.report().expect("a figure");
        assert_eq!(report.requests, 2);
        let [p50, .., longest] = report.latencies;
        assert!(
            (5_000..5_010).contains(&p50) && (7_000..7_010).contains(&longest),
            "{report:?}"
        );
    }

    #[test]
    fn without_a_warm_up_the_first_request_counts() {
        let mut meter = meter("--warmup-requests 0 --requests 1");
        let now = Instant::now();
        assert!(meter.start() && !meter.start());
        meter.finish(now, now).expect("a mark");
        assert_eq!(meter.report().expect("a figure").requests, 1);
    }

    #[test]
    fn a_time_is_over_when_it_is_looked_at() {
        let mut meter = meter("--warmup 0 --seconds 0.001");
        let now = Instant::now();
        meter.finish(now, now).expect("an answer");
        meter.look(now + Duration::from_secs(1)).expect("a mark");
        assert!(!meter.is_over() && meter.deadline().is_some_and(|deadline| deadline > now));
        meter.finish(now, now).expect("an answer");
        meter.finish(now, now).expect("a figure");
        meter
            .look(Instant::now() + Duration::from_secs(1))
            .expect("a mark");
        assert!(meter.is_over());
        assert_eq!(meter.report().expect("a figure").requests, 2);
    }

    #[test]
    fn a_warm_up_is_not_over_before_the_connections_have_had_their_answers() {
        let mut meter = meter("--connections 3 --warmup 0 --seconds 0");
        let now = Instant::now();
        for _ in 0..3 {
            meter.look(now + Duration::from_secs(1)).expect("a look");
            assert_eq!(meter.phase, Phase::Warming);
            meter.finish(now, now).expect("an answer");
        }
        meter.look(now + Duration::from_secs(1)).expect("a mark");
        assert_eq!(meter.phase, Phase::Measuring);
    }

    #[test]
    fn a_silent_server_ends_the_run() {
        let mut meter = meter("--warmup 1000 --seconds 1");
        assert!(meter.look(Instant::now() + PATIENCE / 2).is_ok());
        assert!(meter.look(Instant::now() + PATIENCE * 2).is_err());
    }

    #[test]
    fn the_time_is_not_over_before_there_is_a_figure() {
        let mut meter = meter("--warmup 0 --seconds 0");
        let now = Instant::now();
        meter.finish(now, now).expect("an answer");
        meter.look(now + Duration::from_secs(1)).expect("a mark");
        meter
            .finish(now, now)
            .expect("an answer that was on its way");
        meter
            .look(now + Duration::from_secs(1))
            .expect("nothing yet");
        assert!(!meter.is_over() && meter.report().is_err());
        meter.finish(now, now).expect("a figure");
        meter
            .look(Instant::now() + Duration::from_secs(1))
            .expect("a mark");
        assert!(meter.is_over() && meter.report().is_ok());
    }

    #[test]
    fn a_busy_client_has_no_throughput() {
        let mut report = Report {
            requests: 10,
            lost: 0,
            seconds: 2.0,
            busy: 0.95,
            server: Some(1e-3),
            latencies: [1_000, 2_000, 3_000, 4_500],
        };
        let json = report.as_json();
        assert!(
            json.contains("\"per_second\": null")
                && json.contains("\"server_us_per_request\": 100.0000"),
            "{json}"
        );
        assert!(
            json.contains("\"p50_us\": 1.0,") && json.contains("\"max_us\": 4.5}"),
            "{json}"
        );
        report.busy = 0.5;
        assert!(report.as_json().contains("\"per_second\": 5.0,"));
    }

    #[test]
    fn the_server_s_clock_is_read_from_outside() {
        // This process stands in for the server: what it burns between the marks is in the figure.
        let mut meter = meter(&format!(
            "--warmup-requests 1 --requests 1 --server-pid {}",
            std::process::id()
        ));
        let now = Instant::now();
        meter.finish(now, now).expect("a mark");
        while now.elapsed() < Duration::from_millis(5) {}
        meter.finish(now, now).expect("a mark");
        let report = meter.report().expect("a figure");
        assert!(report.server.is_some_and(|seconds| seconds > 0.0));
    }
}
