//! Names: [`lookup`], and what may stand for addresses wherever one can be given.
//!
//! A literal is answered at once. A name is the C library's to resolve, on the loop's own threads, so that a slow resolver holds up
//! nothing but those who ask. What it asks, and how long it takes, is the system's configuration.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

use crate::current;

/// Looks up the addresses of `host`, in the order in which they should be tried.
///
/// An address in figures, with the zone of an IPv6 address (`fe80::1%eth0`) if it has one, is answered without waiting.
///
/// # Errors
///
/// If the name is not known, or nobody could be asked.
///
/// # Examples
///
/// ```
/// # oneloop::run(async {
/// for address in oneloop::net::lookup("localhost", 80).await? {
///     println!("{address}"); // 127.0.0.1:80, [::1]:80
/// }
/// let mut literal = oneloop::net::lookup("::1", 80).await?;
/// assert_eq!(literal.next(), "[::1]:80".parse().ok());
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub async fn lookup(host: &str, port: u16) -> io::Result<impl Iterator<Item = SocketAddr> + use<>> {
    let addresses = match literal(host, port)? {
        Some(address) => vec![address],
        None => ask(host.to_owned(), port).await?,
    };
    Ok(addresses.into_iter())
}

/// The addresses that something stands for.
pub(crate) async fn resolve(addresses: impl ToAddresses) -> io::Result<Vec<SocketAddr>> {
    match addresses.question()? {
        Question::Answered(addresses) => Ok(addresses),
        Question::Host(host, port) => Ok(lookup(&host, port).await?.collect()),
    }
}

/// What `attempt` gives for the first of the addresses for which it succeeds.
///
/// # Errors
///
/// If the name cannot be resolved; the last address's; `none` where there is no address.
pub(crate) async fn first_of<R>(
    addresses: impl ToAddresses,
    none: &'static str,
    mut attempt: impl FnMut(SocketAddr) -> io::Result<R>,
) -> io::Result<R> {
    let mut result = Err(io::Error::new(io::ErrorKind::InvalidInput, none));
    for address in resolve(addresses).await? {
        result = attempt(address);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// What stands for one address or several: an address, a pair of host and port, or both in one text (`"example.org:80"`, `"[::1]:80"`).
///
/// # Examples
///
/// ```
/// use oneloop::net::TcpListener;
/// use std::net::{Ipv4Addr, SocketAddr};
///
/// # oneloop::run(async {
/// let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
/// let listener = TcpListener::bind(("localhost", 0)).await?;
/// let listener = TcpListener::bind("[::1]:0").await?;
/// let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
/// # drop(listener);
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub trait ToAddresses: sealed::Ask {}

impl<T: sealed::Ask> ToAddresses for T {}

mod sealed {
    use super::Question;

    pub trait Ask {
        fn question(self) -> std::io::Result<Question>;
    }
}

/// What is to be looked up.
#[derive(PartialEq, Eq, Debug)]
pub enum Question {
    Answered(Vec<SocketAddr>),
    Host(String, u16),
}

macro_rules! is_an_address {
    ($($address:ty),+) => {$(
        impl sealed::Ask for $address {
            fn question(self) -> io::Result<Question> {
                Ok(Question::Answered(vec![self.into()]))
            }
        }
    )+};
}

is_an_address!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl sealed::Ask for &[SocketAddr] {
    fn question(self) -> io::Result<Question> {
        Ok(Question::Answered(self.to_vec()))
    }
}

impl sealed::Ask for (&str, u16) {
    fn question(self) -> io::Result<Question> {
        Ok(Question::Host(self.0.to_owned(), self.1))
    }
}

impl sealed::Ask for (String, u16) {
    fn question(self) -> io::Result<Question> {
        Ok(Question::Host(self.0, self.1))
    }
}

impl sealed::Ask for &str {
    fn question(self) -> io::Result<Question> {
        let parts = self.rsplit_once(':').and_then(|(host, port)| {
            let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
            // Without brackets the last group of an IPv6 address would be taken for the port.
            let host = bare.or_else(|| Some(host).filter(|host| !host.contains(':')))?;
            Some((host, port.parse().ok()?))
        });
        let (host, port) = parts.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "this is no address: \"host:port\" or \"[IPv6 address]:port\" is one",
            )
        })?;
        (host, port).question()
    }
}

impl sealed::Ask for &String {
    fn question(self) -> io::Result<Question> {
        self.as_str().question()
    }
}

impl sealed::Ask for String {
    fn question(self) -> io::Result<Question> {
        self.as_str().question()
    }
}

/// The address that `host` is the text of, if it is one's.
fn literal(host: &str, port: u16) -> io::Result<Option<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Some((address, port).into()));
    }
    match host.split_once('%') {
        Some((address, _)) if address.parse::<Ipv6Addr>().is_ok() => {
            // Which zones there are the C library knows, and asks nobody: with such an address before it, the rest can be no name.
            Ok((host, port).to_socket_addrs()?.next())
        }
        _ => Ok(None),
    }
}

async fn ask(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let event_loop = current::get()?;
    let answer = event_loop
        .pool()
        .run(move || (host.as_str(), port).to_socket_addrs().map(Vec::from_iter));
    answer.await?
}

#[cfg(test)]
mod tests {
    use super::sealed::Ask;
    use super::*;

    #[test]
    fn a_text_is_a_host_and_a_port() {
        let host = |text: &str| match text.question() {
            Ok(Question::Host(host, port)) => Some((host, port)),
            _ => None,
        };
        let is = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(host("example.org:80"), is("example.org", 80));
        assert_eq!(host("127.0.0.1:0"), is("127.0.0.1", 0));
        assert_eq!(host("[::1]:65535"), is("::1", 65535));
        assert_eq!(host("[fe80::1%lo]:1"), is("fe80::1%lo", 1));
        assert_eq!(host(":80"), is("", 80));
        for wrong in [
            "",
            "example.org",
            "::1:80",
            "[::1]",
            "[::1:80",
            "a:65536",
            "a:-1",
            "a:x",
        ] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_literal_is_known_by_its_form() -> io::Result<()> {
        let known = |host| literal(host, 7).map(|it| it.map(|it| it.to_string()));
        assert_eq!(known("127.0.0.1")?.as_deref(), Some("127.0.0.1:7"));
        assert_eq!(known("::1")?.as_deref(), Some("[::1]:7"));
        assert_eq!(known("fe80::1%1")?.as_deref(), Some("[fe80::1%1]:7"));
        assert!(known("fe80::1%no-such-zone").is_err());
        // The C library's business, whatever it makes of it.
        for other in [
            "",
            "localhost",
            "127.1",
            "010.0.0.1",
            "1.2.3.4%lo",
            "x%y",
            "%",
            "::g",
        ] {
            assert_eq!(known(other)?, None, "{other}");
        }
        Ok(())
    }
}
