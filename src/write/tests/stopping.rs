//! A process that stops at any request of a commit, and what another one makes of what it left.

use super::*;

/// What is written, and where the process stops.
#[derive(Debug, Clone, Copy)]
struct Story {
    length: usize,
    edits: bool,
    background: bool,
    /// After its effect, and not before it.
    answered: bool,
}

/// Runs a commit that stops at its request number `stop`, counted from 0, and recovers. `false` where it has no such
/// request.
async fn stops_at(story: Story, stop: u64) -> bool {
    let world = World::new().await;
    let old = story.edits.then(|| pattern(1, story.length));
    let (base, new) = match &old {
        Some(old) => {
            let mut new = old.clone();
            new[PART + 100..PART + 105].copy_from_slice(b"edits");
            (world.existing("a", old).await, new)
        }
        None => (Base::New, pattern(2, story.length)),
    };
    let gate = Gate::closed();
    let at = On::anything().after(stop).times(1);
    world.inject(if story.answered { at.hold_answer(&gate) } else { at.hold_request(&gate) });
    let session = world.begin("a", base);
    match story.edits {
        true => write(&session, PART + 100, b"edits").await,
        false => write(&session, 0, &new).await,
    }
    let running = Arc::clone(&session);
    let closed = match story.background {
        true => Some(session.entrust(Occasion::LastClose).await.unwrap()),
        false => None,
    };
    let commit = started(async move {
        match closed {
            Some(_) => running.deliver().await.map(drop),
            None => running.commit(Occasion::Flush).await.map(drop),
        }
    });
    tokio::select! {
        done = commit => {
            done.unwrap();
            return false;
        }
        () = gate.reached_by(1) => {}
    }
    let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    let now = world.object("a");
    let is_kept = !sessions.set_aside().unwrap().is_empty();
    let is_new = now.as_ref() == Some(&new);
    let told =
        format!("{story:?} at {stop}: {:?}", recovered.iter().map(|one| one.outcome).collect::<Vec<_>>());
    assert!(is_new || now == old, "{told}: neither the old object nor the new one");
    // Whoever closed into the background was told that it is safe; nobody else was told anything.
    assert!(is_new || is_kept && !story.background, "{told}");
    // An upload whose beginning was not heard of has no name that anybody could have written down. And the edges of an
    // edit are fetched while its upload begins: only one of the two stops here, and the other goes on.
    assert!(story.answered || story.edits || world.unfinished_uploads() == 0, "{told}");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_stops_at_any_request_leaves_the_old_object_or_the_new_one() {
    for (length, edits) in [(10, false), (3 * PART + 7, false), (3 * PART, true)] {
        for (background, answered) in [(false, false), (false, true), (true, false), (true, true)] {
            let story = Story { length, edits, background, answered };
            let mut stop = 0;
            while stops_at(story, stop).await {
                stop += 1;
            }
            let least = if length == 10 { 1 } else { 5 };
            assert!(stop >= least, "{story:?} has no more than {stop} requests");
        }
    }
}
