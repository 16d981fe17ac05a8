//! Descriptors that are closed, reused, duplicated or of the wrong kind; reading, releasing and detaching.

use super::*;

pub(super) fn a_closed_descriptor_is_refused(mut driver: Driver) -> io::Result<()> {
    let fd = {
        let (reader, _writer) = pipe()?;
        own_number(&reader)?.as_raw_fd()
    };
    let added = driver.add(fd, ONE, Interest::READABLE, Mode::Level);
    assert_eq!(errno_of(added), Some(Errno::BADF));
    let modified = driver.modify(fd, ONE, Interest::READABLE, Mode::Level);
    assert_eq!(errno_of(modified), Some(Errno::BADF));
    assert_eq!(errno_of(driver.remove(fd)), Some(Errno::BADF));
    Ok(())
}

pub(super) fn a_regular_file_is_refused(mut driver: Driver) -> io::Result<()> {
    let file = std::fs::File::open(std::env::current_exe()?)?;
    let added = driver.add(file.as_raw_fd(), ONE, Interest::READABLE, Mode::Level);
    assert_eq!(errno_of(added), Some(Errno::PERM));
    Ok(())
}

pub(super) fn a_directory_is_refused(mut driver: Driver) -> io::Result<()> {
    let directory = std::fs::File::open("/")?;
    let added = driver.add(directory.as_raw_fd(), ONE, Interest::READABLE, Mode::Level);
    assert_eq!(errno_of(added), Some(Errno::PERM));
    Ok(())
}

pub(super) fn a_reused_number_belongs_to_its_new_owner(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"x")?;
    let first = own_number(&reader)?;
    let fd = first.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    driver.release(first);

    let (silent_reader, silent_writer) = pipe()?;
    let second = rustix::io::fcntl_dupfd_cloexec(&silent_reader, fd)?;
    assert_eq!(second.as_raw_fd(), fd);
    driver.add(fd, TWO, Interest::READABLE, Mode::Level)?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    rustix::io::write(&silent_writer, b"x")?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(TWO)]);
    Ok(())
}

pub(super) fn a_number_that_was_closed_unremoved_can_be_added_again(
    mut driver: Driver,
) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    let first = own_number(&reader)?;
    let fd = first.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    drop((first, reader, writer)); // the file ends here, and the kernel forgets it

    let (reader, writer) = pipe()?;
    let second = rustix::io::fcntl_dupfd_cloexec(&reader, fd)?;
    assert_eq!(second.as_raw_fd(), fd);
    let modified = driver.modify(fd, TWO, Interest::READABLE, Mode::Level);
    assert_eq!(kind_of(modified), Some(io::ErrorKind::NotFound));
    driver.add(fd, TWO, Interest::READABLE, Mode::Level)?;
    rustix::io::write(&writer, b"x")?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(TWO)]);
    Ok(())
}

/// What the registry's generations are for: the driver cannot know, and hides nothing.
pub(super) fn a_file_that_outlives_its_number_is_reported_until_the_set_is_fresh(
    mut driver: Driver,
) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"x")?;
    let number = own_number(&reader)?;
    driver.add(number.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    drop(number);
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    driver.abandon_after_fork()?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    Ok(())
}

pub(super) fn release_forgets_a_file_that_lives_on(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"x")?;
    let number = own_number(&reader)?;
    let fd = number.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    driver.release(number);
    assert_eq!(wait(&mut driver, NOW)?, []);
    assert_eq!(errno_of(driver.read(fd, &mut [0])), Some(Errno::BADF));
    Ok(())
}

pub(super) fn detach_forgets_and_leaves_the_descriptor_open(mut driver: Driver) -> io::Result<()> {
    let (mut ours, mut theirs) = pair()?;
    driver.add(ours.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    theirs.write_all(b"x")?;
    assert_eq!(driver.detach(ours.as_raw_fd())?, b"");
    assert_eq!(wait(&mut driver, NOW)?, []);
    assert_eq!(ours.read(&mut [0; 8])?, 1);
    Ok(())
}

pub(super) fn read_reads_and_would_block(mut driver: Driver) -> io::Result<()> {
    let (ours, mut theirs) = pair()?;
    let fd = ours.as_raw_fd();
    let mut buf = [0; 8];
    assert_eq!(
        kind_of(driver.read(fd, &mut buf)),
        Some(io::ErrorKind::WouldBlock)
    );
    theirs.write_all(b"bytes")?;
    assert_eq!(driver.read(fd, &mut buf[..3])?, 3);
    assert_eq!(driver.read(fd, &mut buf[3..])?, 2);
    assert_eq!(&buf[..5], b"bytes");
    drop(theirs);
    assert_eq!(driver.read(fd, &mut buf)?, 0);
    Ok(())
}
