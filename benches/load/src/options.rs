//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::socket::Place;

#[derive(Debug)]
pub(crate) enum Command {
    Load(Load),
    Serve {
        service: Service,
        place: Place,
        core: Option<usize>,
    },
}

/// What to put on a server.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    /// `--tls FILE`: TLS 1.3, and the authority in that file vouches for `localhost`.
    pub(crate) tls: Option<PathBuf>,
    /// `--connections N`
    pub(crate) connections: usize,
    /// `--size BYTES` of a message
    pub(crate) size: usize,
    /// `--line`: messages are lines, so a newline ends each, and none is inside.
    pub(crate) line: bool,
    /// `--rate N`: so many requests a second are due, whatever the server does; without it, each connection asks again
    /// as soon as it has its answer.
    pub(crate) rate: Option<f64>,
    /// `--warmup S` or `--warmup-requests N`
    pub(crate) warmup: Amount,
    /// `--seconds S` or `--requests N`
    pub(crate) measured: Amount,
    /// `--core N`: the processor to stay on
    pub(crate) core: Option<usize>,
    /// `--server-pid PID`: whose CPU time to read at the two marks
    pub(crate) server: Option<i32>,
    /// `--slices`: the connections stay, and each line of standard input asks for a measurement, without a warm-up
    pub(crate) slices: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Sends messages, and wants them back.
    Echo,
    /// Sends one long stream; afterwards the server says how many bytes it got.
    BulkUp,
    /// Reads one long stream.
    BulkDown,
    /// Makes connections, which the server closes; with TLS, once the handshake is done.
    Churn,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Service {
    Echo,
    Sink,
    Source,
    Accept,
}

/// How long a part of a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amount {
    For(Duration),
    Requests(u64),
}

pub(crate) fn parse(mut arguments: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let word = |arguments: &mut lexopt::Parser| match arguments.next()? {
        Some(Value(word)) => word.string(),
        Some(other) => Err(other.unexpected()),
        None => Err("echo, bulk-up, bulk-down, churn or serve?".into()),
    };
    let first = word(&mut arguments)?;
    if first == "serve" {
        let service = match word(&mut arguments)?.as_str() {
            "echo" => Service::Echo,
            "sink" => Service::Sink,
            "source" => Service::Source,
            "accept" => Service::Accept,
            other => return Err(format!("no such service: {other}").into()),
        };
        return serve_options(service, arguments);
    }
    let kind = match first.as_str() {
        "echo" => Kind::Echo,
        "bulk-up" => Kind::BulkUp,
        "bulk-down" => Kind::BulkDown,
        "churn" => Kind::Churn,
        other => return Err(format!("no such command: {other}").into()),
    };
    load_options(kind, arguments)
}

fn serve_options(
    service: Service,
    mut arguments: lexopt::Parser,
) -> Result<Command, lexopt::Error> {
    let (mut place, mut core) = (None, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("core") => core = Some(arguments.value()?.parse()?),
            Long("tcp" | "unix" | "udp") => {
                place = Some(place_option(&argument_name(&argument), arguments.value()?)?)
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Serve {
        service,
        place: place.ok_or("where? --tcp, --unix or --udp")?,
        core,
    })
}

fn load_options(kind: Kind, mut arguments: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut load = Load {
        kind,
        place: Place::Unix(PathBuf::new()),
        tls: None,
        connections: 1,
        size: 1000,
        line: false,
        rate: None,
        warmup: Amount::For(Duration::from_millis(200)),
        measured: Amount::For(Duration::from_secs(1)),
        core: None,
        server: None,
        slices: false,
    };
    let mut place = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("tcp" | "unix" | "udp") => {
                place = Some(place_option(&argument_name(&argument), arguments.value()?)?)
            }
            Long("tls") => load.tls = Some(arguments.value()?.into()),
            Long("connections") => load.connections = arguments.value()?.parse()?,
            Long("size") => load.size = arguments.value()?.parse()?,
            Long("line") => load.line = true,
            Long("rate") => load.rate = Some(arguments.value()?.parse()?),
            Long("warmup") => load.warmup = seconds(arguments.value()?)?,
            Long("warmup-requests") => load.warmup = Amount::Requests(arguments.value()?.parse()?),
            Long("seconds") => load.measured = seconds(arguments.value()?)?,
            Long("requests") => load.measured = Amount::Requests(arguments.value()?.parse()?),
            Long("core") => load.core = Some(arguments.value()?.parse()?),
            Long("slices") => load.slices = true,
            Long("server-pid") => load.server = Some(arguments.value()?.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    load.place = place.ok_or("where? --tcp, --unix or --udp")?;
    refuse_nonsense(&load)?;
    Ok(Command::Load(load))
}

/// What would otherwise divide by nothing, or measure something else than it says.
fn refuse_nonsense(load: &Load) -> Result<(), lexopt::Error> {
    if load.connections == 0 || load.size == 0 {
        return Err("at least one connection and one byte".into());
    }
    if load
        .rate
        .is_some_and(|rate| !(rate.is_finite() && rate > 0.0))
    {
        return Err("a rate is a number of requests a second".into());
    }
    if load.tls.is_some() && matches!(load.kind, Kind::BulkUp | Kind::BulkDown) {
        return Err("a bulk stream goes without TLS".into());
    }
    if load.slices && (load.kind != Kind::Echo || load.rate.is_some()) {
        return Err("only an echo without a rate comes in slices".into());
    }
    if load.slices
        && !matches!(
            (load.warmup, load.measured),
            (Amount::For(_), Amount::For(_))
        )
    {
        return Err("a slice lasts for a time".into());
    }
    if matches!(load.place, Place::Udp(_)) && load.kind != Kind::Echo {
        return Err("datagrams can only be echoed".into());
    }
    Ok(())
}

/// lexopt lends the name of an option, and takes the parser again for its value.
fn argument_name(argument: &lexopt::Arg<'_>) -> String {
    match argument {
        Long(name) => (*name).to_owned(),
        _ => String::new(),
    }
}

fn place_option(kind: &str, value: OsString) -> Result<Place, lexopt::Error> {
    Ok(match kind {
        "tcp" => Place::Tcp(value.parse()?),
        "udp" => Place::Udp(value.parse()?),
        _ => Place::Unix(value.into()),
    })
}

fn seconds(value: OsString) -> Result<Amount, lexopt::Error> {
    let duration =
        Duration::try_from_secs_f64(value.parse()?).map_err(|error| error.to_string())?;
    Ok(Amount::For(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, lexopt::Error> {
        parse(lexopt::Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn a_load_is_read_with_all_that_it_says() {
        let line = "echo --tcp 127.0.0.1:9 --connections 7 --size 65536 --line --rate 2.5 --warmup 0.5 --requests 12 --core 1 --server-pid 3";
        let Ok(Command::Load(load)) = parsed(line) else {
            panic!("not read")
        };
        assert_eq!(
            (load.kind, load.connections, load.size, load.line),
            (Kind::Echo, 7, 65536, true)
        );
        assert_eq!(
            (load.rate, load.core, load.server),
            (Some(2.5), Some(1), Some(3))
        );
        assert_eq!(load.warmup, Amount::For(Duration::from_millis(500)));
        assert_eq!(load.measured, Amount::Requests(12));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "echo",
            "shout --tcp 127.0.0.1:9",
            "echo --tcp nowhere",
            "echo --tcp 127.0.0.1:9 --connections 0",
            "echo --tcp 127.0.0.1:9 --rate 0",
            "echo --tcp 127.0.0.1:9 --seconds -1",
            "bulk-up --udp 127.0.0.1:9",
            "bulk-up --tcp 127.0.0.1:9 --tls ca.pem",
            "bulk-up --tcp 127.0.0.1:9 --slices",
            "echo --tcp 127.0.0.1:9 --slices --rate 9",
            "echo --tcp 127.0.0.1:9 --slices --requests 9",
            "serve dinner --tcp 127.0.0.1:9",
            "serve echo",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
