//! Datagrams: each arrives whole, from and to its address; who waits for room gets it; what is given up has happened or has not.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join;
use oneloop::net::{UdpSocket, UnixDatagram};
use oneloop::{Builder, join_all, sleep, spawn, yield_now};
use socket2::SockRef;

use super::{TemporaryPath, on_every_driver, poll_once, unique_name};

const HOSTS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.expect_err("it fails").kind()
}

#[test]
fn an_echo_server_answers_whoever_asks() {
    on_every_driver(async || {
        for host in HOSTS {
            let server = UdpSocket::bind(host).await?;
            let address = server.local_addr()?;
            let serving = spawn(async move {
                let mut buffer = [0; 1500];
                for _ in 0..400 {
                    let (length, sender) = server.recv_from(&mut buffer).await?;
                    server.send_to(&buffer[..length], sender).await?;
                }
                io::Result::Ok(())
            });
            let clients = (0..20_u16).map(|number| async move {
                let client = UdpSocket::bind(host).await?;
                let mut buffer = [0; 1500];
                for round in 0..20_u16 {
                    let message = (number * 100 + round)
                        .to_be_bytes()
                        .repeat(usize::from(round));
                    assert_eq!(client.send_to(&message, address).await?, message.len());
                    let (length, sender) = client.recv_from(&mut buffer).await?;
                    assert_eq!((&buffer[..length], sender), (&message[..], address));
                }
                io::Result::Ok(())
            });
            for client in join_all(clients).await {
                client?;
            }
            serving.await?;
        }
        Ok(())
    });
}

#[test]
fn a_connected_socket_hears_nobody_else() {
    on_every_driver(async || {
        for host in HOSTS {
            let (one, other, stranger) = (
                UdpSocket::bind(host).await?,
                UdpSocket::bind(host).await?,
                UdpSocket::bind(host).await?,
            );
            assert_eq!(kind(one.peer_addr()), ErrorKind::NotConnected);
            assert!(one.send(b"to whom?").await.is_err());
            one.connect(other.local_addr()?).await?;
            assert_eq!(one.peer_addr()?, other.local_addr()?);
            stranger.send_to(b"stranger", one.local_addr()?).await?;
            other.send_to(b"friend", one.local_addr()?).await?;
            let mut buffer = [0; 16];
            assert_eq!(one.recv(&mut buffer).await?, 6);
            assert_eq!(&buffer[..6], b"friend");
            assert_eq!(one.send(b"answer").await?, 6);
            assert_eq!(other.recv(&mut buffer).await?, 6);
        }
        Ok(())
    });
}

#[test]
fn a_refused_datagram_is_told_of_once() {
    on_every_driver(async || {
        let gone = UdpSocket::bind("127.0.0.1:0").await?.local_addr()?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(gone).await?;
        socket.send(b"anybody?").await?;
        let refused = socket.recv(&mut [0; 8]).await;
        assert_eq!(kind(refused), ErrorKind::ConnectionRefused);
        assert!(socket.take_error()?.is_none());
        assert_eq!(kind(socket.try_recv(&mut [0; 8])), ErrorKind::WouldBlock);
        socket.send(b"anybody?").await?;
        while socket.take_error()?.is_none() {
            yield_now().await;
        }
        Ok(())
    });
}

#[test]
fn datagrams_are_whole_empty_or_cut_off() {
    on_every_driver(async || {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let mut buffer = [0; 8];
        for (message, received) in [
            (&b""[..], &b""[..]),
            (b"1", b"1"),
            (b"12345678", b"12345678"),
            (b"123456789", b"12345678"),
            (b"next", b"next"),
        ] {
            socket.send_to(message, address).await?;
            assert_eq!(socket.peek(&mut buffer).await?, received.len());
            let (length, sender) = socket.peek_from(&mut buffer).await?;
            assert_eq!((&buffer[..length], sender), (received, address));
            assert_eq!(socket.recv_from(&mut buffer).await?, (length, address));
            assert_eq!(&buffer[..length], received);
        }
        let too_long = vec![0; 70_000];
        assert!(socket.send_to(&too_long, address).await.is_err());
        Ok(())
    });
}

#[test]
fn what_need_not_wait_does_not() {
    on_every_driver(async || {
        let (one, other) = (
            UdpSocket::bind("127.0.0.1:0").await?,
            UdpSocket::bind("127.0.0.1:0").await?,
        );
        let mut buffer = [0; 8];
        assert_eq!(kind(one.try_recv_from(&mut buffer)), ErrorKind::WouldBlock);
        one.try_send_to(b"ping", other.local_addr()?)?;
        assert_eq!(other.try_recv_from(&mut buffer)?, (4, one.local_addr()?));
        one.connect(other.local_addr()?).await?;
        one.try_send(b"pong")?;
        assert_eq!(other.try_recv(&mut buffer)?, 4);
        Ok(())
    });
}

#[test]
fn one_task_sends_while_another_receives() {
    on_every_driver(async || {
        let (one, other) = (
            Rc::new(UdpSocket::bind("127.0.0.1:0").await?),
            Rc::new(UdpSocket::bind("127.0.0.1:0").await?),
        );
        one.connect(other.local_addr()?).await?;
        other.connect(one.local_addr()?).await?;
        let mut tasks = Vec::new();
        for (ours, theirs) in [(&one, &other), (&other, &one)] {
            let (sender, receiver) = (Rc::clone(ours), Rc::clone(theirs));
            tasks.push(spawn(async move {
                for number in 0..200_u8 {
                    sender.send(&[number]).await?;
                    yield_now().await;
                }
                io::Result::Ok(())
            }));
            tasks.push(spawn(async move {
                for number in 0..200_u8 {
                    let mut buffer = [0; 8];
                    assert_eq!(receiver.recv(&mut buffer).await?, 1);
                    assert_eq!(buffer[0], number);
                }
                io::Result::Ok(())
            }));
        }
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

#[test]
fn what_is_given_up_has_taken_nothing() {
    on_every_driver(async || {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let mut buffer = [0; 8];
        for number in 0..50_u8 {
            let mut receiving = Box::pin(socket.recv_from(&mut buffer));
            assert!(poll_once(&mut receiving).await.is_pending());
            socket.send_to(&[number], socket.local_addr()?).await?;
            // It is there, and the future was perhaps woken; given up, it has not taken it.
            for _ in 0..number % 3 {
                yield_now().await;
            }
            drop(receiving);
            assert_eq!(socket.recv(&mut buffer).await?, 1);
            assert_eq!(buffer[0], number);
        }
        Ok(())
    });
}

#[test]
fn the_first_address_that_can_be_had_is_bound_to() {
    on_every_driver(async || {
        let taken = UdpSocket::bind("127.0.0.1:0").await?;
        let not_here: SocketAddr = ([192, 0, 2, 1], 0).into();
        let here: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let addresses = [taken.local_addr()?, not_here, here];
        let bound = UdpSocket::bind(&addresses[..]).await?;
        assert_eq!(bound.local_addr()?.ip(), Ipv4Addr::LOCALHOST);
        assert_eq!(
            kind(UdpSocket::bind(&addresses[..1]).await),
            ErrorKind::AddrInUse
        );
        let none: &[SocketAddr] = &[];
        assert_eq!(kind(UdpSocket::bind(none).await), ErrorKind::InvalidInput);
        assert_eq!(kind(bound.connect(none).await), ErrorKind::InvalidInput);
        bound.connect(("localhost", 9)).await?;
        assert_eq!(bound.peer_addr()?.port(), 9);
        Ok(())
    });
}

#[test]
fn options_are_the_socket_s() {
    on_every_driver(async || {
        for host in HOSTS {
            let socket = UdpSocket::bind(host).await?;
            let inside = SockRef::from(&socket);
            for on in [true, false] {
                socket.set_broadcast(on)?;
                assert_eq!((socket.broadcast()?, inside.broadcast()?), (on, on));
            }
            socket.set_ttl(7)?;
            assert_eq!(socket.ttl()?, 7);
            if host.starts_with('[') {
                assert_eq!(inside.unicast_hops_v6()?, 7);
                socket.set_multicast_loop_v6(false)?;
                assert!(!socket.multicast_loop_v6()? && !inside.multicast_loop_v6()?);
            } else {
                assert_eq!(inside.ttl_v4()?, 7);
                socket.set_multicast_loop_v4(false)?;
                assert!(!socket.multicast_loop_v4()? && !inside.multicast_loop_v4()?);
                socket.set_multicast_ttl_v4(3)?;
                assert_eq!(
                    (socket.multicast_ttl_v4()?, inside.multicast_ttl_v4()?),
                    (3, 3)
                );
            }
            let shown = format!("{socket:?}");
            assert!(shown.starts_with("UdpSocket { local: "), "{shown}");
        }
        Ok(())
    });
}

#[test]
fn a_group_hears_what_is_sent_to_it() {
    on_every_driver(async || {
        let group = Ipv4Addr::new(239, 255, 77, 1);
        let member = UdpSocket::bind("0.0.0.0:0").await?;
        member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
        let to = (group, member.local_addr()?.port());
        let sender = UdpSocket::bind("127.0.0.1:0").await?;
        SockRef::from(&sender).set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
        sender.send_to(b"all", SocketAddr::from(to)).await?;
        let mut buffer = [0; 8];
        assert_eq!(
            member.recv_from(&mut buffer).await?,
            (3, sender.local_addr()?)
        );
        member.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
        assert!(
            member
                .leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
                .is_err()
        );
        assert!(
            member
                .join_multicast_v4(&Ipv4Addr::LOCALHOST, &Ipv4Addr::LOCALHOST)
                .is_err()
        );
        Ok(())
    });
}

#[test]
fn sockets_come_from_the_standard_library_and_go_back() {
    on_every_driver(async || {
        let given = std::net::UdpSocket::bind("127.0.0.1:0")?;
        let address = given.local_addr()?;
        let socket = UdpSocket::try_from(given)?;
        assert!(
            poll_once(Box::pin(socket.recv(&mut [0; 8])))
                .await
                .is_pending()
        );
        assert!(is_nonblocking(&socket));
        let back = socket.into_std()?;
        assert_eq!(back.local_addr()?, address);
        // Its registration has ended: another one of the same descriptor works.
        let again = UdpSocket::from_std(back)?;
        again.send_to(b"x", address).await?;
        assert_eq!(again.recv(&mut [0; 8]).await?, 1);
        let (one, other) = UnixDatagram::pair()?;
        let one = UnixDatagram::try_from(one.into_std()?)?;
        one.send(b"x").await?;
        assert_eq!(other.recv(&mut [0; 8]).await?, 1);
        Ok(())
    });
}

fn is_nonblocking(socket: &impl AsFd) -> bool {
    SockRef::from(socket)
        .nonblocking()
        .expect("the flags of a socket")
}

// Unix sockets.

#[test]
fn unix_sockets_have_names_or_none() {
    on_every_driver(async || {
        let path = TemporaryPath::new();
        let abstract_name = PathBuf::from(format!("\0{}", unique_name()));
        for name in [&path.0, &abstract_name] {
            let server = UnixDatagram::bind(name)?;
            assert_eq!(kind(UnixDatagram::bind(name)), ErrorKind::AddrInUse);
            let client = UnixDatagram::unbound()?;
            assert_eq!(kind(client.peer_addr()), ErrorKind::NotConnected);
            client.send_to(b"from nobody", name).await?;
            let mut buffer = [0; 16];
            let (length, sender) = server.recv_from(&mut buffer).await?;
            assert_eq!(&buffer[..length], b"from nobody");
            assert!(sender.is_unnamed());

            let ours = PathBuf::from(format!("\0{}", unique_name()));
            let named = UnixDatagram::bind(&ours)?;
            named.connect(name)?;
            named.send(b"question").await?;
            let (_, sender) = server.peek_from(&mut buffer).await?;
            assert_eq!(server.try_recv_from(&mut buffer)?.0, 8);
            assert_eq!(format!("{sender:?}"), format!("{:?}", named.local_addr()?));
            server.send_to_addr(b"answer", &sender).await?;
            assert_eq!(named.recv(&mut buffer).await?, 6);
            named.try_send_to(b"again", name)?;
            assert_eq!(server.try_recv(&mut buffer)?, 5);
        }
        let nobody = UnixDatagram::unbound()?;
        let gone = nobody.send_to(b"x", "/no/such/socket").await;
        assert_eq!(kind(gone), ErrorKind::NotFound);
        let unnamed = nobody.local_addr()?;
        assert_eq!(
            kind(nobody.send_to_addr(b"x", &unnamed).await),
            ErrorKind::InvalidInput
        );
        Ok(())
    });
}

/// Sends numbers until there is no more room; how many that were.
fn fill(send: impl Fn(&[u8]) -> io::Result<usize>) -> u32 {
    for number in 0_u32.. {
        match send(&number.to_be_bytes()) {
            Ok(sent) => assert_eq!(sent, 4),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return number;
            }
        }
    }
    unreachable!("no queue is endless")
}

#[test]
fn who_waits_for_room_gets_it() {
    on_every_driver(async || {
        let name = PathBuf::from(format!("\0{}", unique_name()));
        for connected in [true, false] {
            let receiver = UnixDatagram::bind(&name)?;
            let sender = UnixDatagram::unbound()?;
            let first = match connected {
                true => {
                    sender.connect(&name)?;
                    fill(|bytes| sender.try_send(bytes))
                }
                false => fill(|bytes| sender.try_send_to(bytes, &name)),
            };
            let sending = async {
                for number in first..first + 30 {
                    let bytes = number.to_be_bytes();
                    match connected {
                        true => sender.send(&bytes).await?,
                        false => sender.send_to(&bytes, &name).await?,
                    };
                }
                io::Result::Ok(())
            };
            let receiving = async {
                // The sender has had to wait by then.
                sleep(Duration::from_millis(5)).await;
                for number in 0..first + 30 {
                    let mut buffer = [0; 8];
                    assert_eq!(receiver.recv(&mut buffer).await?, 4);
                    assert_eq!(buffer[..4], number.to_be_bytes());
                }
                io::Result::Ok(())
            };
            let (sent, received) = join(sending, receiving).await;
            sent?;
            received?;
        }
        Ok(())
    });
}

#[test]
fn a_sender_that_waits_and_is_given_up_has_sent_nothing() {
    on_every_driver(async || {
        let name = PathBuf::from(format!("\0{}", unique_name()));
        let receiver = UnixDatagram::bind(&name)?;
        let sender = UnixDatagram::unbound()?;
        let first = fill(|bytes| sender.try_send_to(bytes, &name));
        let mut sending = Box::pin(sender.send_to(b"never", &name));
        assert!(poll_once(&mut sending).await.is_pending());
        drop(sending);
        for _ in 0..first {
            assert_eq!(receiver.recv(&mut [0; 8]).await?, 4);
        }
        sleep(Duration::from_millis(2)).await;
        assert_eq!(kind(receiver.try_recv(&mut [0; 8])), ErrorKind::WouldBlock);
        Ok(())
    });
}

#[test]
fn a_receiver_that_goes_away_ends_the_wait() {
    on_every_driver(async || {
        let name = PathBuf::from(format!("\0{}", unique_name()));
        let receiver = UnixDatagram::bind(&name)?;
        let sender = UnixDatagram::unbound()?;
        sender.connect(&name)?;
        fill(|bytes| sender.try_send(bytes));
        let (sent, ()) = join(sender.send(b"x"), async {
            sleep(Duration::from_millis(2)).await;
            drop(receiver);
        })
        .await;
        assert_eq!(kind(sent), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

#[test]
fn one_direction_of_a_unix_socket_can_be_shut_down() {
    on_every_driver(async || {
        let (one, other) = UnixDatagram::pair()?;
        one.shutdown(Shutdown::Read)?;
        assert_eq!(kind(other.send(b"x").await), ErrorKind::BrokenPipe);
        one.send(b"y").await?;
        assert_eq!(other.recv(&mut [0; 8]).await?, 1);
        let shown = format!("{one:?}");
        assert!(shown.starts_with("UnixDatagram { local: "), "{shown}");
        Ok(())
    });
}

/// The kernel lets a path be one byte longer than the standard library can say.
#[cfg(target_os = "linux")]
#[test]
fn a_sender_whose_name_cannot_be_told_loses_no_datagram() {
    on_every_driver(async || {
        let name = format!("\0{}", unique_name());
        let receiver = UnixDatagram::bind(&name)?;
        let (sender, directory) = super::bound_to_a_full_path(socket2::Type::DGRAM)?;
        sender.send_to(b"hello", &socket2::SockAddr::unix(&name)?)?;
        let mut buffer = [0; 8];
        let (length, address) = receiver.peek_from(&mut buffer).await?;
        assert_eq!(&buffer[..length], b"hello");
        assert!(address.is_unnamed());
        let (length, address) = receiver.recv_from(&mut buffer).await?;
        assert!(length == 5 && address.is_unnamed());
        std::fs::remove_dir_all(&directory)
    });
}

// Whose a socket is.

#[test]
fn a_socket_of_a_closed_loop_is_an_error_and_can_be_taken_along() {
    for &kind in crate::support::KINDS {
        let bound = Builder::new().driver(kind).run(async {
            let udp = UdpSocket::bind("127.0.0.1:0").await?;
            let (unix, other) = UnixDatagram::pair()?;
            assert!(poll_once(pin!(udp.recv(&mut [0]))).await.is_pending());
            assert!(poll_once(pin!(unix.recv_from(&mut [0]))).await.is_pending());
            io::Result::Ok((udp, unix, other))
        });
        let (udp, unix, other) = bound.expect("a run").expect("sockets");
        let next = Builder::new().driver(kind).run(async {
            const ELSEWHERE: &str =
                "the socket belongs to an event loop that is not the one that runs here";
            let address = udp.local_addr()?;
            for result in [
                udp.send_to(b"x", address).await,
                udp.recv(&mut [0]).await,
                udp.peek(&mut [0]).await,
                unix.send(b"x").await,
                unix.recv(&mut [0]).await,
            ] {
                assert_eq!(result.expect_err("another loop").to_string(), ELSEWHERE);
            }
            // What needs no waiting needs no loop.
            assert_eq!(udp.try_send_to(b"x", address)?, 1);
            let udp = UdpSocket::from_std(udp.into_std()?)?;
            assert_eq!(udp.recv_from(&mut [0; 8]).await?, (1, address));
            let unix = UnixDatagram::from_std(unix.into_std()?)?;
            other.send(b"x").await?;
            assert_eq!(unix.recv(&mut [0; 8]).await?, 1);
            io::Result::Ok(())
        });
        next.expect("a run").expect("the sockets work");
    }
}

#[test]
fn a_buffer_without_room_takes_a_datagram_all_the_same() {
    on_every_driver(async || {
        let (one, other) = UnixDatagram::pair()?;
        let udp = UdpSocket::bind("[::1]:0").await?;
        for message in [&b"lost"[..], b"kept"] {
            one.send(message).await?;
            udp.send_to(message, udp.local_addr()?).await?;
        }
        assert_eq!(other.peek(&mut []).await?, 0);
        assert_eq!(other.recv(&mut []).await?, 0);
        assert_eq!(udp.recv_from(&mut []).await?, (0, udp.local_addr()?));
        let mut buffer = [0; 8];
        assert_eq!(other.recv(&mut buffer).await?, 4);
        assert_eq!(&buffer[..4], b"kept");
        assert_eq!(udp.recv(&mut buffer).await?, 4);
        assert_eq!(&buffer[..4], b"kept");
        Ok(())
    });
}

#[test]
fn datagrams_to_everybody_are_to_be_asked_for() {
    on_every_driver(async || {
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        let to_all = (Ipv4Addr::BROADCAST, socket.local_addr()?.port());
        let refused = socket.send_to(b"all", SocketAddr::from(to_all)).await;
        // Where there is no network at all, there is no way to it either.
        assert!(matches!(
            kind(refused),
            ErrorKind::PermissionDenied | ErrorKind::NetworkUnreachable
        ));
        Ok(())
    });
}
