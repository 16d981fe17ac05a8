//! When events come, in which directions, and how often.

use super::*;

pub(super) fn a_written_pipe_is_readable(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    rustix::io::write(&writer, b"x")?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    Ok(())
}

pub(super) fn both_directions_are_told_apart(mut driver: Driver) -> io::Result<()> {
    let (ours, mut theirs) = pair()?;
    driver.add(ours.as_raw_fd(), ONE, Interest::BOTH, Mode::Level)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [writable(ONE)]);
    theirs.write_all(b"x")?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [both(ONE)]);
    fill(&ours)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    Ok(())
}

pub(super) fn a_modified_watch_answers_with_its_new_token_and_interest(
    mut driver: Driver,
) -> io::Result<()> {
    let (ours, mut theirs) = pair()?;
    let fd = ours.as_raw_fd();
    theirs.write_all(b"x")?;
    driver.add(fd, ONE, Interest::READABLE, Mode::Level)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    driver.modify(fd, TWO, Interest::WRITABLE, Mode::Level)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [writable(TWO)]);
    driver.modify(fd, ONE, Interest::BOTH, Mode::OneShot)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [both(ONE)]);
    assert_eq!(wait(&mut driver, NOW)?, []);
    Ok(())
}

pub(super) fn a_removed_descriptor_is_silent(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"x")?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    driver.remove(reader.as_raw_fd())?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    Ok(())
}

pub(super) fn level_is_reported_for_as_long_as_it_lasts(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Level)?;
    rustix::io::write(&writer, b"xy")?;
    for _ in 0..3 {
        assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
    }
    rustix::io::read(&reader, &mut [0; 8])?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    Ok(())
}

pub(super) fn an_edge_is_reported_once(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    driver.add(reader.as_raw_fd(), ONE, Interest::READABLE, Mode::Edge)?;
    for _ in 0..3 {
        rustix::io::write(&writer, b"x")?;
        assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
        assert_eq!(wait(&mut driver, NOW)?, []);
    }
    // What was there before counts as an edge, so that nobody has to try first.
    driver.modify(reader.as_raw_fd(), TWO, Interest::READABLE, Mode::Edge)?;
    assert_eq!(wait(&mut driver, PATIENCE)?, [readable(TWO)]);
    Ok(())
}

pub(super) fn one_shot_is_reported_until_it_is_armed_again(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    let fd = reader.as_raw_fd();
    driver.add(fd, ONE, Interest::READABLE, Mode::OneShot)?;
    for _ in 0..3 {
        rustix::io::write(&writer, b"x")?;
        assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
        rustix::io::write(&writer, b"x")?;
        assert_eq!(wait(&mut driver, NOW)?, []);
        driver.modify(fd, ONE, Interest::READABLE, Mode::OneShot)?;
    }
    Ok(())
}

pub(super) fn a_hang_up_counts_as_both_directions(mut driver: Driver) -> io::Result<()> {
    let (ours, theirs) = pair()?;
    fill(&ours)?;
    driver.add(ours.as_raw_fd(), ONE, Interest::BOTH, Mode::Level)?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    drop(theirs);
    assert_eq!(wait(&mut driver, PATIENCE)?, [both(ONE)]);
    Ok(())
}

pub(super) fn a_broken_pipe_is_writable(mut driver: Driver) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    fill(&writer)?;
    driver.add(writer.as_raw_fd(), ONE, Interest::WRITABLE, Mode::Level)?;
    assert_eq!(wait(&mut driver, NOW)?, []);
    drop(reader);
    let events = wait(&mut driver, PATIENCE)?;
    assert_eq!(events.len(), 1);
    assert!(events[0].writable);
    Ok(())
}

pub(super) fn no_interest_is_silent(mut driver: Driver) -> io::Result<()> {
    let (ours, mut theirs) = pair()?;
    let fd = ours.as_raw_fd();
    theirs.write_all(b"x")?;
    for mode in [Mode::Level, Mode::Edge, Mode::OneShot] {
        driver.add(fd, ONE, Interest::NONE, mode)?;
        assert_eq!(wait(&mut driver, NOW)?, []);
        driver.modify(fd, ONE, Interest::READABLE, mode)?;
        assert_eq!(wait(&mut driver, PATIENCE)?, [readable(ONE)]);
        driver.modify(fd, ONE, Interest::NONE, mode)?;
        assert_eq!(wait(&mut driver, NOW)?, []);
        driver.remove(fd)?;
    }
    Ok(())
}

pub(super) fn a_hang_up_without_interest_does_not_spin(mut driver: Driver) -> io::Result<()> {
    let (ours, theirs) = pair()?;
    driver.add(ours.as_raw_fd(), ONE, Interest::NONE, Mode::Level)?;
    drop(theirs);
    wait(&mut driver, NOW)?; // may report it, once
    assert_eq!(wait(&mut driver, NOW)?, []);
    Ok(())
}

pub(super) fn more_events_than_one_batch_all_arrive(mut driver: Driver) -> io::Result<()> {
    // One at a time: three of these at once would need most of a usual process's descriptors.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"x")?;
    let readers = (0..300)
        .map(|_| rustix::io::fcntl_dupfd_cloexec(&reader, 0))
        .collect::<Result<Vec<_>, _>>()?;
    let mut silent = vec![true; readers.len()];
    for (index, reader) in readers.iter().enumerate() {
        let token = Token(index as u64);
        driver.add(reader.as_raw_fd(), token, Interest::READABLE, Mode::OneShot)?;
    }
    loop {
        let events = wait(&mut driver, NOW)?;
        if events.is_empty() {
            break;
        }
        for event in events {
            assert!(std::mem::take(&mut silent[event.token.0 as usize]));
        }
    }
    assert!(!silent.contains(&true));
    Ok(())
}
