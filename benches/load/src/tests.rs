//! The generator against the plain servers, and against servers that do wrong.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::options::{self, Command, Load, Service};
use crate::socket::Place;
use crate::{bulk, churn, echo, meter::Report, serve};

/// Serves until the tests are over; the answer says where.
fn served(service: Service, place: Place) -> String {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        serve::run(service, &place, |address| {
            tell.send(address.to_owned()).expect("somebody asked")
        })
    });
    told.recv_timeout(Duration::from_secs(10))
        .expect("the server is there")
}

fn tcp() -> Place {
    Place::Tcp(([127, 0, 0, 1], 0).into())
}

fn udp() -> Place {
    Place::Udp(([127, 0, 0, 1], 0).into())
}

fn load(line: &str) -> Load {
    match options::parse(lexopt::Parser::from_args(line.split_whitespace())) {
        Ok(Command::Load(load)) => load,
        other => panic!("{line}: {other:?}"),
    }
}

const SHORT: &str = "--warmup-requests 20 --requests 200";

fn assert_all_answered(report: &Report) {
    assert_eq!((report.requests, report.lost), (200, 0));
}

#[test]
fn messages_of_every_size_come_back() {
    let address = served(Service::Echo, tcp());
    for (connections, size) in [(1, 1), (10, 1000), (3, 1_000_000)] {
        let line =
            format!("echo --tcp {address} --connections {connections} --size {size} {SHORT}");
        assert_all_answered(&echo::run(&load(&line)).expect("a figure"));
    }
    let lines = format!("echo --tcp {address} --connections 4 --size 1000 --line {SHORT}");
    assert_all_answered(&echo::run(&load(&lines)).expect("a figure"));
}

#[test]
fn unix_sockets_and_datagrams_come_back() {
    let path = std::env::temp_dir().join(format!("oneloop-load-{}", std::process::id()));
    let address = served(Service::Echo, Place::Unix(path.clone()));
    let line = format!("echo --unix {address} --connections 10 --size 10000 {SHORT}");
    let report = echo::run(&load(&line));
    std::fs::remove_file(path).expect("it was bound there");
    assert_all_answered(&report.expect("a figure"));

    let address = served(Service::Echo, udp());
    let line = format!("echo --udp {address} --connections 8 --size 1000 {SHORT}");
    assert_all_answered(&echo::run(&load(&line)).expect("a figure"));
}

#[test]
fn a_fixed_offered_load_is_what_it_says() {
    let address = served(Service::Echo, tcp());
    let line = format!(
        "echo --tcp {address} --connections 5 --rate 2000 --warmup-requests 20 --requests 200"
    );
    let began = Instant::now();
    assert_all_answered(&echo::run(&load(&line)).expect("a figure"));
    // The 220th request is due after 219 intervals, however fast the server is.
    assert!(began.elapsed() >= Duration::from_micros(219 * 500));
}

#[test]
fn streams_and_connections_are_counted() {
    let address = served(Service::Sink, tcp());
    let up = bulk::up(&load(&format!(
        "bulk-up --tcp {address} --warmup-requests 4 --requests 16"
    )))
    .expect("a figure");
    let address = served(Service::Source, tcp());
    let down = bulk::down(&load(&format!(
        "bulk-down --tcp {address} --warmup-requests 4 --requests 16"
    )))
    .expect("a figure");
    assert_eq!((up.requests, down.requests), (16, 16));
    let address = served(Service::Accept, tcp());
    let churned = churn::run(&load(&format!(
        "churn --tcp {address} --connections 8 {SHORT}"
    )))
    .expect("a figure");
    assert_all_answered(&churned);
}

/// A server of one connection, and what it does with it.
fn wrong_server(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || serve(listener.accept().expect("a connection").0));
    address.to_string()
}

/// Echoes, but what it sends at its tenth answer is up to `spoil`.
fn spoiled(spoil: impl FnOnce(&mut Vec<u8>) + Send + 'static) -> String {
    wrong_server(move |mut stream| {
        let (mut buffer, mut spoil) = ([0; 1000], Some(spoil));
        for answer in 0.. {
            if stream.read_exact(&mut buffer).is_err() {
                return;
            }
            let mut bytes = buffer.to_vec();
            if answer == 10 {
                spoil.take().expect("once")(&mut bytes);
            }
            stream.write_all(&bytes).expect("somebody reads");
        }
    })
}

#[test]
fn an_answer_that_is_wrong_ends_the_run() {
    let garbled = spoiled(|bytes| bytes[999] ^= 0x40);
    let short = spoiled(|bytes| {
        bytes.remove(500);
    });
    let long = spoiled(|bytes| bytes.push(0));
    for address in [garbled, short, long] {
        let failed = echo::run(&load(&format!("echo --tcp {address} --size 1000 {SHORT}")))
            .expect_err("no figure");
        assert!(failed.to_string().contains("answer"), "{failed}");
    }
}

#[test]
fn an_answer_to_another_request_ends_the_run() {
    let stale = wrong_server(|mut stream| {
        let (mut first, mut other) = ([0; 1000], [0; 1000]);
        stream.read_exact(&mut first).expect("a message");
        stream.write_all(&first).expect("somebody reads");
        stream.read_exact(&mut other).expect("a message");
        stream.write_all(&first).expect("somebody reads");
        stream.read_exact(&mut other).unwrap_or_default();
    });
    let failed = echo::run(&load(&format!("echo --tcp {stale} --size 1000 {SHORT}")))
        .expect_err("no figure");
    assert!(failed.to_string().contains("wrong from byte 0"), "{failed}");
}

#[test]
fn a_stream_that_is_wrong_or_miscounted_ends_the_run() {
    let wrong = wrong_server(|mut stream| {
        let mut bytes = crate::payload::bulk(1 << 20);
        bytes[500_000] ^= 1;
        stream.write_all(&bytes).unwrap_or_default();
    });
    let failed = bulk::down(&load(&format!(
        "bulk-down --tcp {wrong} --warmup-requests 1 --requests 1"
    )))
    .expect_err("no figure");
    assert!(
        failed.to_string().contains("the stream is wrong"),
        "{failed}"
    );

    let miscounted = wrong_server(|mut stream| {
        std::io::copy(&mut stream, &mut std::io::sink()).expect("a stream");
        stream.write_all(b"7").expect("somebody reads");
    });
    let line = format!("bulk-up --tcp {miscounted} --warmup-requests 1 --requests 1");
    let failed = bulk::up(&load(&line)).expect_err("no figure");
    assert!(failed.to_string().contains("counted \"7\""), "{failed}");
}

#[test]
fn a_stall_is_paid_for_by_every_request_that_was_due_in_it() {
    const STALL: Duration = Duration::from_millis(100);
    let stalling = wrong_server(|mut stream| {
        let mut buffer = [0; 100];
        for answer in 0.. {
            if stream.read_exact(&mut buffer).is_err() {
                return;
            }
            if answer == 50 {
                thread::sleep(STALL);
            }
            stream.write_all(&buffer).unwrap_or_default();
        }
    });
    let line =
        format!("echo --tcp {stalling} --size 100 --rate 1000 --warmup-requests 10 --requests 190");
    let report = echo::run(&load(&line)).expect("a figure").as_json();
    // One answer is late by itself, the next hundred because they had to wait for it: half of what is measured.
    let p50: f64 = report
        .split("\"p50_us\": ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .expect("there")
        .parse()
        .expect("a number");
    assert!(
        p50 > 1_000.0,
        "the requests that the stall kept waiting are not in {report}"
    );
}

#[test]
fn slices_are_measured_one_by_one_over_connections_that_stay() {
    let (tcp, udp) = (served(Service::Echo, tcp()), served(Service::Echo, udp()));
    for place in [format!("--tcp {tcp}"), format!("--udp {udp}")] {
        let line = format!("echo {place} --connections 4 --warmup 0.002 --seconds 0.005 --slices");
        let told = std::cell::RefCell::new(Vec::new());
        let orders = (0..3).map(|_| {
            // A pause, in which what was under way has its answer.
            thread::sleep(Duration::from_millis(5));
            Ok(String::new())
        });
        echo::slices(&load(&line), orders, |line| {
            told.borrow_mut().push(line.to_owned());
        })
        .expect("figures");
        let told = told.into_inner();
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[0], "{\"ready\": true}");
        for slice in &told[1..] {
            assert!(slice.starts_with("{\"requests\": "), "{slice}");
            assert!(slice.contains("\"lost\": 0"), "{slice}");
        }
    }
}

#[test]
fn a_wrong_answer_ends_the_slices() {
    let address = spoiled(|answer| answer[999] ^= 1);
    let line = format!("echo --tcp {address} --size 1000 --warmup 0 --seconds 0.05 --slices");
    let orders = std::iter::repeat_with(|| Ok(String::new()));
    let failure = echo::slices(&load(&line), orders, |_| {}).expect_err("no figure");
    assert!(failure.to_string().contains("wrong"), "{failure}");
}
