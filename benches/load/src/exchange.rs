//! One request and its answer, as a state machine without a socket: what is left to send, and whether what comes back is right.

use std::fmt;

/// A request under way.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    sent: usize,
    received: usize,
}

#[must_use]
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// There is more to come.
    Incomplete,
    /// All of it came back, and nothing else.
    Complete,
}

/// What came back is not what was sent.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Wrong {
    /// The first byte of the message that differs, or its length where something came after it.
    position: usize,
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the answer is wrong from byte {} on",
            self.position
        )
    }
}

impl Exchange {
    /// What is still to be sent of the message.
    pub(crate) fn unsent<'m>(&self, message: &'m [u8]) -> &'m [u8] {
        &message[self.sent..]
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// Compares what came with what has to come: byte for byte, and nothing before it was sent.
    pub(crate) fn received(&mut self, message: &[u8], bytes: &[u8]) -> Result<Answer, Wrong> {
        let expected = &message[self.received..self.sent];
        if !expected.starts_with(bytes) {
            let right = expected
                .iter()
                .zip(bytes)
                .take_while(|(one, other)| one == other)
                .count();
            return Err(Wrong {
                position: self.received + right,
            });
        }
        self.received += bytes.len();
        Ok(if self.received == message.len() {
            Answer::Complete
        } else {
            Answer::Incomplete
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"a message";

    fn wholly_sent() -> Exchange {
        let mut exchange = Exchange::default();
        exchange.sent(MESSAGE.len());
        exchange
    }

    #[test]
    fn an_answer_in_pieces_is_whole_at_its_last_byte() {
        let mut exchange = wholly_sent();
        assert_eq!(exchange.received(MESSAGE, b"a mes"), Ok(Answer::Incomplete));
        assert_eq!(exchange.received(MESSAGE, b"sag"), Ok(Answer::Incomplete));
        assert_eq!(exchange.received(MESSAGE, b"e"), Ok(Answer::Complete));
    }

    #[test]
    fn a_garbled_byte_is_noticed_wherever_it_is() {
        for position in 0..MESSAGE.len() {
            let mut garbled = MESSAGE.to_vec();
            garbled[position] ^= 1;
            assert_eq!(
                wholly_sent().received(MESSAGE, &garbled),
                Err(Wrong { position })
            );
            // And in a second piece.
            let mut exchange = wholly_sent();
            let (first, second) = garbled.split_at(position);
            assert!(exchange.received(MESSAGE, first).is_ok());
            assert_eq!(exchange.received(MESSAGE, second), Err(Wrong { position }));
        }
    }

    #[test]
    fn more_than_the_answer_is_wrong() {
        let mut exchange = wholly_sent();
        assert_eq!(
            exchange.received(MESSAGE, b"a message!"),
            Err(Wrong { position: 9 })
        );
    }

    #[test]
    fn an_answer_before_the_request_is_wrong() {
        let mut exchange = Exchange::default();
        assert_eq!(exchange.unsent(MESSAGE), MESSAGE);
        exchange.sent(2);
        assert_eq!(exchange.unsent(MESSAGE), b"message");
        assert_eq!(
            exchange.received(MESSAGE, b"a m"),
            Err(Wrong { position: 2 })
        );
    }
}
