//! Time, other threads and signals.

use super::*;

pub(super) fn waits_never_end_early(mut driver: Driver) -> io::Result<()> {
    let (reader, _writer) = pipe()?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    for nanos in [1, 999, 50_000, 999_999, 1_000_000, 1_000_001, 3_300_000] {
        for _ in 0..20 {
            let start = sys::monotonic_ns();
            let events = wait(&mut driver, Some(Duration::from_nanos(nanos)))?;
            let elapsed = sys::monotonic_ns() - start;
            assert_eq!(events, []);
            assert!(elapsed >= nanos as i64, "{elapsed} ns instead of {nanos}");
        }
    }
    Ok(())
}

pub(super) fn a_timeout_beyond_every_kernel_is_no_error(mut driver: Driver) -> io::Result<()> {
    let notifier = driver.notifier();
    let year = Duration::from_secs(365 * 86_400);
    let mut timeouts = vec![Duration::MAX, Duration::from_secs(u64::MAX), year * 300];
    timeouts.extend([LONGEST_WAIT, LONGEST_WAIT + Duration::from_nanos(1)]);
    for timeout in timeouts {
        notifier.notify()?;
        assert_eq!(wait(&mut driver, Some(timeout))?, []);
    }
    Ok(())
}

pub(super) fn a_notification_from_another_thread_ends_a_wait(mut driver: Driver) -> io::Result<()> {
    let notifier = driver.notifier();
    let (go, gone) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || gone.iter().try_for_each(|()| notifier.notify()));
    for _ in 0..500 {
        // Comes before the wait or during it, as the scheduler likes; neither may be lost.
        go.send(()).map_err(io::Error::other)?;
        let start = sys::monotonic_ns();
        assert_eq!(wait(&mut driver, PATIENCE)?, []);
        assert!(sys::monotonic_ns() - start < 15_000_000_000);
    }
    drop(go);
    thread.join().map_err(|_| io::ErrorKind::Other)??;
    Ok(())
}

pub(super) fn a_notification_does_not_hide_an_event(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::OneShot)?;
    driver.notifier().notify()?;
    rustix::io::write(&writer, b"x")?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    assert_unnotified(&mut driver)
}

#[allow(unsafe_code, reason = "a handler and a signal to one thread")]
pub(super) fn a_signal_ends_a_wait_without_events(mut driver: Driver) -> io::Result<()> {
    static SEEN: AtomicBool = AtomicBool::new(false);
    extern "C" fn note(_: libc::c_int) {
        SEEN.store(true, Ordering::SeqCst);
    }
    // SAFETY: the handler stores to an atomic, which a handler may; SA_RESTART is not asked for.
    let main = unsafe {
        libc::signal(libc::SIGUSR1, note as *const () as libc::sighandler_t);
        libc::pthread_self() as usize // an integer or a pointer, by platform
    };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                // SAFETY: the main thread of this scope is alive until the scope ends, which is after this loop.
                unsafe { libc::pthread_kill(main as libc::pthread_t, libc::SIGUSR1) };
                thread::sleep(Duration::from_micros(300)); // between two tries, not for an effect
            }
        });
        let start = sys::monotonic_ns();
        let mut events = vec![readable(ONE)];
        let result = driver.wait(&mut events, PATIENCE);
        over.store(true, Ordering::SeqCst);
        assert_eq!(events, []);
        assert!(sys::monotonic_ns() - start < 15_000_000_000);
        assert!(SEEN.load(Ordering::SeqCst));
        result
    })
}

pub(super) fn a_notifier_may_outlive_its_driver(driver: Driver) -> io::Result<()> {
    let notifier = driver.notifier();
    drop(driver);
    notifier.notify()
}
