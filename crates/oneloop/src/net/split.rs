//! The two halves of a stream, for two tasks: they own it together, and it is closed with the second.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use super::stream::ByteStream;

/// The half of a stream that reads.
///
/// # Examples
///
/// ```
/// use futures_util::{AsyncReadExt, AsyncWriteExt};
/// use oneloop::net::UnixStream;
///
/// # oneloop::run(async {
/// let (ours, theirs) = UnixStream::pair()?;
/// let (mut reader, mut writer) = ours.split();
/// let reading = oneloop::spawn(async move {
///     let mut answer = String::new();
///     reader.read_to_string(&mut answer).await.map(|_| answer)
/// });
/// writer.write_all(b"are you there?").await?;
/// drop(writer); // the peer reads to the end
///
/// let mut question = Vec::new();
/// (&theirs).read_to_end(&mut question).await?;
/// (&theirs).write_all(b"yes").await?;
/// drop(theirs);
/// assert_eq!(reading.await?, "yes");
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub struct ReadHalf<S: ByteStream> {
    stream: Rc<S>,
}

/// The half of a stream that writes. Dropping it ends this direction: the peer reads what was written, and then the end.
///
/// # Examples
///
/// See [`ReadHalf`].
pub struct WriteHalf<S: ByteStream> {
    stream: Rc<S>,
}

pub(super) fn split<S: ByteStream>(stream: S) -> (ReadHalf<S>, WriteHalf<S>) {
    let stream = Rc::new(stream);
    let reader = ReadHalf {
        stream: Rc::clone(&stream),
    };
    (reader, WriteHalf { stream })
}

impl<S: ByteStream> AsRef<S> for ReadHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: ByteStream> AsyncRead for ReadHalf<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.socket().poll_read(context, buffer)
    }
}

impl<S: ByteStream> AsRef<S> for WriteHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: ByteStream> AsyncWrite for WriteHalf<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.socket().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.socket().poll_write_vectored(context, pieces)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // what was written is the kernel's
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.socket().finish())
    }
}

impl<S: ByteStream> Drop for WriteHalf<S> {
    fn drop(&mut self) {
        // It fails only where the stream is over anyway.
        let _ = self.stream.socket().finish();
    }
}

impl<S: ByteStream> fmt::Debug for ReadHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.stream.socket();
        f.debug_tuple("ReadHalf").field(socket).finish()
    }
}

impl<S: ByteStream> fmt::Debug for WriteHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.stream.socket();
        f.debug_tuple("WriteHalf").field(socket).finish()
    }
}
