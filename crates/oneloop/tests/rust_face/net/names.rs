//! Names: literals as the C library reads them, and the rest without holding up the loop.

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use futures_util::FutureExt;
use oneloop::engine::Reactor;
use oneloop::net::{TcpListener, TcpStream, lookup};
use oneloop::{join_all, run};
use proptest::prelude::*;

use super::{on_every_driver, poll_once};

/// What the C library makes of a numeric host, or that it is none.
fn by_the_c_library(host: &str) -> Option<Vec<SocketAddr>> {
    let host = CString::new(host).expect("no NUL");
    // SAFETY: all zeros is a valid `addrinfo`.
    #[expect(unsafe_code, reason = "the function that is compared with")]
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_flags = libc::AI_NUMERICHOST;
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list = std::ptr::null_mut();
    // SAFETY: the strings end with a NUL, and everything outlives the call.
    #[expect(unsafe_code, reason = "the function that is compared with")]
    let code = unsafe {
        libc::getaddrinfo(
            host.as_ptr(),
            std::ptr::null(),
            &raw const hints,
            &raw mut list,
        )
    };
    if code != 0 {
        return None;
    }
    let mut addresses = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: an entry of the list that was returned, whose address is as long as it says.
        #[expect(unsafe_code, reason = "the function that is compared with")]
        let (entry, ((), address)) = unsafe {
            let entry = *next;
            let copied = socket2::SockAddr::try_init(|storage, length| {
                let count = entry.ai_addrlen as usize;
                std::ptr::copy_nonoverlapping(entry.ai_addr.cast::<u8>(), storage.cast(), count);
                *length = entry.ai_addrlen;
                Ok(())
            });
            (entry, copied.expect("an address"))
        };
        addresses.extend(address.as_socket());
        next = entry.ai_next;
    }
    // SAFETY: the list that was returned, once.
    #[expect(unsafe_code, reason = "the function that is compared with")]
    unsafe {
        libc::freeaddrinfo(list)
    };
    Some(addresses)
}

/// What `lookup` answers without waiting, in a place where it cannot wait.
fn at_once(host: &str) -> Option<Vec<SocketAddr>> {
    let answer = lookup(host, 0).now_or_never()?;
    answer.ok().map(Iterator::collect)
}

#[test]
fn zones_are_those_of_the_c_library() {
    for zone in [
        "lo",
        "1",
        "2",
        "no-such-zone",
        "",
        "4294967296",
        "-1",
        "lo%lo",
        " 1",
    ] {
        for address in ["fe80::1", "ff02::1", "::1", "2001:db8::1"] {
            let host = format!("{address}%{zone}");
            assert_eq!(at_once(&host), by_the_c_library(&host), "{host}");
        }
    }
    let SocketAddr::V6(address) = at_once("fe80::1%lo").expect("a zone")[0] else {
        panic!("an IPv6 address");
    };
    assert_eq!(address.scope_id(), 1);
}

proptest! {
    #[test]
    fn literals_are_read_as_the_c_library_reads_them(
        v4: u32,
        v6: u128,
        shape in "[0-9a-f:.]{1,20}",
        dotted in "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}",
    ) {
        for host in [
            IpAddr::V4(Ipv4Addr::from_bits(v4)).to_string(),
            IpAddr::V6(Ipv6Addr::from_bits(v6)).to_string(),
            format!("::{}", Ipv4Addr::from_bits(v4)),
            shape,
            dotted,
        ] {
            // What is answered at once is right; what is not is asked of the C library, which is right by definition.
            if let Some(answer) = at_once(&host) {
                prop_assert_eq!(Some(answer), by_the_c_library(&host), "{}", host);
            }
        }
        prop_assert!(at_once(&Ipv4Addr::from_bits(v4).to_string()).is_some());
        prop_assert!(at_once(&Ipv6Addr::from_bits(v6).to_string()).is_some());
    }
}

#[test]
fn names_are_resolved_while_the_loop_goes_on() {
    on_every_driver(async || {
        let addresses = Vec::from_iter(lookup("localhost", 80).await?);
        assert!(!addresses.is_empty());
        assert!(
            addresses
                .iter()
                .all(|it| it.ip().is_loopback() && it.port() == 80)
        );
        let unknown = lookup("no-such-host.invalid", 80).await;
        assert!(unknown.is_err_and(|error| error.raw_os_error().is_none()));
        assert!(lookup("a\0b", 80).await.is_err());
        let many = join_all((0..100).map(|_| lookup("localhost", 1))).await;
        assert!(many.iter().all(Result::is_ok));
        Ok(())
    });
}

#[test]
fn a_lookup_that_is_given_up_holds_up_nobody() -> io::Result<()> {
    run(async {
        for _ in 0..100 {
            let mut resolving = std::pin::pin!(lookup("localhost", 80));
            drop(poll_once(&mut resolving).await);
        }
        assert!(lookup("localhost", 80).await.is_ok());
    })
}

#[test]
fn wherever_an_address_can_be_given_a_name_can() {
    on_every_driver(async || {
        let listener = TcpListener::bind("localhost:0").await?;
        let port = listener.local_addr()?.port();
        for stream in [
            TcpStream::connect(("localhost", port)).await?,
            TcpStream::connect(("localhost".to_owned(), port)).await?,
            TcpStream::connect(format!("localhost:{port}")).await?,
            TcpStream::connect(&format!("localhost:{port}")).await?,
            TcpStream::connect(listener.local_addr()?).await?,
            oneloop::net::connect("localhost", port).await?,
        ] {
            assert_eq!(stream.peer_addr()?.port(), port);
        }
        let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0);
        let listener = TcpListener::bind(v6).await?;
        let port = listener.local_addr()?.port();
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await?;
        TcpStream::connect((IpAddr::V6(Ipv6Addr::LOCALHOST), port)).await?;
        TcpStream::connect(format!("[::1%lo]:{port}"))
            .await
            .map(drop)
            .or_else(|error| {
                // Not every C library lets the loopback address have a zone.
                if by_the_c_library("::1%lo").is_some() {
                    Err(error)
                } else {
                    Ok(())
                }
            })?;
        Ok(())
    });
}

#[test]
fn one_slow_answer_does_not_hold_up_the_others() -> io::Result<()> {
    use crate::support::{call, real};
    use oneloop::DriverKind;

    let event_loop = real(DriverKind::Best);
    event_loop.push(call(|event_loop| {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let slow = event_loop.pool().run(move || ended.recv().is_ok());
        oneloop::spawn(async move {
            assert!(lookup("localhost", 80).await.is_ok());
            end.send(()).expect("the slow one waits");
            assert!(slow.await.expect("an answer"));
            crate::support::this_loop().expect("the loop").stop();
        })
        .detach();
    }));
    event_loop.run().expect("a run");
    event_loop.close()
}
