//! What is true of every driver, the scripted one included: who is registered, who is notified, what is refused.

use super::*;

pub(super) fn a_descriptor_is_watched_once(mut driver: Driver) -> io::Result<()> {
    let (reader, _writer) = pipe()?;
    let fd = reader.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    let again = driver.add(fd, TWO, Interest::READABLE, Mode::Level);
    assert_eq!(kind_of(again), Some(io::ErrorKind::AlreadyExists));
    driver.remove(fd)?;
    driver.add(fd, TWO, Interest::READABLE, Mode::Level)
}

pub(super) fn an_unknown_descriptor_is_not_found(mut driver: Driver) -> io::Result<()> {
    let (reader, _writer) = pipe()?;
    let fd = reader.as_raw_fd();
    let modified = driver.modify(fd, ONE, Interest::READABLE, Mode::Level);
    assert_eq!(kind_of(modified), Some(io::ErrorKind::NotFound));
    assert_eq!(kind_of(driver.remove(fd)), Some(io::ErrorKind::NotFound));
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    driver.remove(fd)?;
    assert_eq!(kind_of(driver.remove(fd)), Some(io::ErrorKind::NotFound));
    Ok(())
}

pub(super) fn a_negative_descriptor_is_refused(mut driver: Driver) -> io::Result<()> {
    for fd in [-1, -2, RawFd::MIN] {
        let added = driver.add(fd, ONE, Interest::READABLE, Mode::Level);
        assert_eq!(errno_of(added), Some(Errno::BADF));
        let modified = driver.modify(fd, ONE, Interest::READABLE, Mode::Level);
        assert_eq!(errno_of(modified), Some(Errno::BADF));
        assert_eq!(errno_of(driver.remove(fd)), Some(Errno::BADF));
        assert_eq!(errno_of(driver.read(fd, &mut [0])), Some(Errno::BADF));
        assert_eq!(errno_of(driver.detach(fd)), Some(Errno::BADF));
    }
    Ok(())
}

pub(super) fn the_reserved_token_is_refused(mut driver: Driver) -> io::Result<()> {
    let (reader, _writer) = pipe()?;
    let fd = reader.as_raw_fd();
    let added = driver.add(fd, Token::RESERVED, Interest::READABLE, Mode::Level);
    assert_eq!(kind_of(added), Some(io::ErrorKind::InvalidInput));
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    let modified = driver.modify(fd, Token::RESERVED, Interest::READABLE, Mode::Level);
    assert_eq!(kind_of(modified), Some(io::ErrorKind::InvalidInput));
    Ok(())
}

pub(super) fn a_notification_ends_the_next_wait_and_no_other(mut driver: Driver) -> io::Result<()> {
    let notifier = driver.notifier();
    for _ in 0..3 {
        notifier.notify()?;
        assert_eq!(wait(&mut driver, None)?, []);
        assert_unnotified(&mut driver)?;
    }
    Ok(())
}

pub(super) fn many_notifications_end_one_wait(mut driver: Driver) -> io::Result<()> {
    let (one, other) = (driver.notifier(), driver.notifier());
    for _ in 0..1000 {
        one.notify()?;
        other.clone().notify()?;
    }
    assert_eq!(wait(&mut driver, None)?, []);
    assert_unnotified(&mut driver)
}

pub(super) fn detach_of_an_unwatched_descriptor_gives_nothing(
    mut driver: Driver,
) -> io::Result<()> {
    let (reader, _writer) = pipe()?;
    assert_eq!(driver.detach(reader.as_raw_fd())?, b"");
    Ok(())
}

pub(super) fn release_closes(mut driver: Driver) -> io::Result<()> {
    for watched in [true, false] {
        let (reader, writer) = pipe()?;
        if watched {
            driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
        }
        driver.release(reader);
        assert_eq!(rustix::io::write(&writer, b"x"), Err(Errno::PIPE));
    }
    Ok(())
}

pub(super) fn a_fresh_set_is_empty(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    let fd = reader.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    driver.notifier().notify()?;
    rustix::io::write(&writer, b"x")?;
    driver.abandon_after_fork()?;
    assert_unnotified(&mut driver)?;
    driver.add(fd, TWO, Interest::READABLE, Mode::Level)?;
    driver.notifier().notify()?;
    wait(&mut driver, None)?;
    Ok(())
}
