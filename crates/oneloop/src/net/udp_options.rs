//! What can be asked of a [`UdpSocket`] besides sending and receiving: broadcasts, how far a datagram goes, and multicast.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use socket2::SockRef;

use super::UdpSocket;

/// Options.
impl UdpSocket {
    /// Whether datagrams may be sent to everybody (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UdpSocket;
    ///
    /// # oneloop::run(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// assert!(!socket.broadcast()?);
    /// socket.set_broadcast(true)?;
    /// assert!(socket.broadcast()?);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn broadcast(&self) -> io::Result<bool> {
        SockRef::from(&self.socket).broadcast()
    }

    /// Sets what [`UdpSocket::broadcast`] tells.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::broadcast`].
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        SockRef::from(&self.socket).set_broadcast(broadcast)
    }

    /// How many routers a datagram may pass that is sent to one receiver.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UdpSocket;
    ///
    /// # oneloop::run(async {
    /// let socket = UdpSocket::bind("[::1]:0").await?;
    /// socket.set_ttl(1)?; // this network only
    /// assert_eq!(socket.ttl()?, 1);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
    }

    /// Sets what [`UdpSocket::ttl`] tells.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::ttl`].
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }
}

/// Multicast: one datagram to all who have joined a group.
impl UdpSocket {
    /// Receives what is sent to an IPv4 group, by the interface of that address; [`Ipv4Addr::UNSPECIFIED`] is one of the system's choice.
    ///
    /// # Errors
    ///
    /// The system's: if the address is no group's, or there is no such interface.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UdpSocket;
    /// use std::net::Ipv4Addr;
    ///
    /// # oneloop::run(async {
    /// let group = Ipv4Addr::new(239, 255, 0, 1);
    /// let socket = UdpSocket::bind("0.0.0.0:0").await?;
    /// socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    /// socket.set_multicast_loop_v4(true)?; // hear myself, too
    /// socket.set_multicast_ttl_v4(1)?;
    /// socket.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        SockRef::from(&self.socket).join_multicast_v4(group, interface)
    }

    /// Ends what [`UdpSocket::join_multicast_v4`] began.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::join_multicast_v4`].
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        SockRef::from(&self.socket).leave_multicast_v4(group, interface)
    }

    /// Receives what is sent to an IPv6 group, by the interface of that index; 0 is one of the system's choice.
    ///
    /// # Errors
    ///
    /// The system's: if the address is no group's, or there is no such interface.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use oneloop::net::UdpSocket;
    ///
    /// # oneloop::run(async {
    /// let socket = UdpSocket::bind("[::]:5353").await?;
    /// socket.join_multicast_v6(&"ff02::fb".parse().unwrap(), 0)?;
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        SockRef::from(&self.socket).join_multicast_v6(group, interface)
    }

    /// Ends what [`UdpSocket::join_multicast_v6`] began.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::join_multicast_v6`].
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        SockRef::from(&self.socket).leave_multicast_v6(group, interface)
    }

    /// Whether this machine hears what the socket sends to an IPv4 group.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::join_multicast_v4`].
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        SockRef::from(&self.socket).multicast_loop_v4()
    }

    /// Sets what [`UdpSocket::multicast_loop_v4`] tells.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::join_multicast_v4`].
    pub fn set_multicast_loop_v4(&self, heard: bool) -> io::Result<()> {
        SockRef::from(&self.socket).set_multicast_loop_v4(heard)
    }

    /// Whether this machine hears what the socket sends to an IPv6 group.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::join_multicast_v4`].
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        SockRef::from(&self.socket).multicast_loop_v6()
    }

    /// Sets what [`UdpSocket::multicast_loop_v6`] tells.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::join_multicast_v4`].
    pub fn set_multicast_loop_v6(&self, heard: bool) -> io::Result<()> {
        SockRef::from(&self.socket).set_multicast_loop_v6(heard)
    }

    /// How many routers a datagram may pass that is sent to an IPv4 group.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::join_multicast_v4`].
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        SockRef::from(&self.socket).multicast_ttl_v4()
    }

    /// Sets what [`UdpSocket::multicast_ttl_v4`] tells.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::join_multicast_v4`].
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        SockRef::from(&self.socket).set_multicast_ttl_v4(ttl)
    }
}
