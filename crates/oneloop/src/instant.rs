//! `Instant`: a point on the clock of the host that a loop runs for.
//!
//! It is nanoseconds since an origin that only the host knows. It is not `std::time::Instant`, because the clock may be a Python
//! loop's overridden `time()` or a simulation's, and because a deadline has to be an integer to be ordered and compared exactly.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use crate::sys;

/// A point in time on a loop's clock, in nanoseconds. Arithmetic saturates: `Instant::FAR_FUTURE` never comes.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// # oneloop::run(async {
/// let start = oneloop::now();
/// let later = start + Duration::from_millis(20);
/// assert_eq!(later - start, Duration::from_millis(20));
/// assert_eq!(start - later, Duration::ZERO);
/// assert_eq!(start + Duration::MAX, oneloop::Instant::FAR_FUTURE);
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(i64);

impl Instant {
    /// A deadline that is never reached.
    pub const FAR_FUTURE: Instant = Instant(i64::MAX);

    /// The instant `nanos` nanoseconds after the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Instant) -> Duration {
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

/// The system's monotonic clock, on which a host without one of its own runs its loop. Hosts read it; nothing else in the engine does.
#[must_use]
pub fn monotonic() -> Instant {
    Instant(sys::monotonic_ns())
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({}ns)", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Instant;
    use std::time::Duration;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::from_nanos(5) + Duration::MAX, Instant::FAR_FUTURE);
        let span = Instant::FAR_FUTURE - Instant::from_nanos(i64::MIN);
        assert_eq!(span, Duration::from_nanos(u64::MAX));
        assert_eq!(
            Instant::from_nanos(1) - Instant::from_nanos(2),
            Duration::ZERO
        );
    }
}
