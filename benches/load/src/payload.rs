//! What a message says, so that an echo can be told from every other.
//!
//! Two requests that follow each other on a connection, and two connections at the same request, send different bytes: an
//! answer that is late, early or somebody else's is noticed as one that was garbled. All messages lie in one buffer
//! that is made before anything is measured, so asking for one costs nothing.

/// How many different messages there are; a prime, so that neighbours stay different whatever connections step by.
const BINARY: usize = 251;
const LINES: usize = 13;

/// The messages of a run.
pub(crate) struct Messages {
    bytes: Vec<u8>,
    size: usize,
    stride: usize,
    kinds: usize,
}

impl Messages {
    /// Messages of any bytes: windows into one stretch of noise, each beginning a byte after the one before.
    pub(crate) fn binary(size: usize) -> Self {
        Self {
            bytes: noise().take(size + BINARY).collect(),
            size,
            stride: 1,
            kinds: BINARY,
        }
    }

    /// Messages that end with the only newline in them.
    pub(crate) fn lines(size: usize) -> Self {
        let printable = noise().map(|byte| b'!' + byte % 94);
        let mut bytes: Vec<u8> = printable.take(size * LINES).collect();
        for line in bytes.chunks_exact_mut(size) {
            line[size - 1] = b'\n';
        }
        Self {
            bytes,
            size,
            stride: size,
            kinds: LINES,
        }
    }

    /// What that connection sends as its `request`th message.
    pub(crate) fn message(&self, connection: usize, request: u64) -> &[u8] {
        let kind = (connection as u64).wrapping_mul(7).wrapping_add(request) % self.kinds as u64;
        &self.bytes[kind as usize * self.stride..][..self.size]
    }
}

/// The same noise in every run (xorshift64).
fn noise() -> impl Iterator<Item = u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

/// The bulk stream: the byte at each position is the position, modulo 256.
pub(crate) fn bulk(length: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ() {
        for messages in [Messages::binary(100), Messages::lines(100)] {
            for connection in 0..20 {
                for request in 0..300 {
                    let message = messages.message(connection, request);
                    assert_eq!(message.len(), 100);
                    assert_ne!(message, messages.message(connection, request + 1));
                    assert_ne!(message, messages.message(connection + 1, request));
                }
            }
        }
    }

    #[test]
    fn a_line_has_one_newline_and_it_is_the_last_byte() {
        let messages = Messages::lines(1000);
        for request in 0..50 {
            let line = messages.message(3, request);
            assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(999));
        }
    }

    #[test]
    fn the_bulk_stream_says_where_it_is() {
        let stream = bulk(1000);
        assert!(
            stream
                .iter()
                .enumerate()
                .all(|(position, &byte)| byte == position as u8)
        );
    }
}
