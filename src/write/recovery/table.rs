//! The decision table. The reasons of its rows stand at the top of [`recovery`](super).

/// What a journal record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Story {
    /// There is no record.
    Missing,
    /// It cannot be read.
    Unreadable,
    /// Somebody was writing.
    Open,
    /// Somebody was waiting for a commit.
    Sealed,
    /// Somebody was told that the commit would follow.
    Entrusted,
}

/// What the staged bytes are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// There are none where there should be some.
    Gone,
    /// The machine has died since they were written.
    Unproven,
    /// They are all there.
    Whole,
}

/// What S3 has under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    /// What the commit made.
    Ours,
    /// What the commit requires to be there.
    AsRequired,
    /// Anything else, whose place the commit is to take.
    Loser,
    /// Anything else, beside which the file is to lie.
    Rival,
    /// Anything else.
    Otherwise,
    /// It could not be asked, or did not have to be.
    Unknown,
}

/// What becomes of a leftover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The commit is run to its end.
    Finish,
    /// The same, in the place of what somebody else has put there.
    Overwrite,
    /// The same, under a second name.
    KeepBoth,
    /// S3 has it; the local files go.
    AlreadyDone,
    /// The bytes are kept for a person to look at.
    SetAside,
    /// There is nothing worth keeping.
    Discard,
    /// Nothing is touched until the next mount.
    Later,
}

/// One row: these facts, this outcome.
struct Row {
    story: &'static [Story],
    worth: &'static [Worth],
    object: &'static [Object],
    outcome: Outcome,
}

const ANY_WORTH: &[Worth] = &[Worth::Gone, Worth::Unproven, Worth::Whole];
const SOME_BYTES: &[Worth] = &[Worth::Unproven, Worth::Whole];
const ANY_OBJECT: &[Object] =
    &[Object::Ours, Object::AsRequired, Object::Loser, Object::Rival, Object::Otherwise, Object::Unknown];
const CLOSED: &[Story] = &[Story::Sealed, Story::Entrusted];
const NOT_OURS: &[Object] = &[Object::AsRequired, Object::Loser, Object::Rival, Object::Otherwise];

/// The decision table; the reasons stand at the top of this module.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { story: &[Story::Missing],                 worth: ANY_WORTH,          object: ANY_OBJECT,            outcome: Outcome::Discard },
    Row { story: &[Story::Unreadable, Story::Open], worth: &[Worth::Gone],     object: ANY_OBJECT,            outcome: Outcome::Discard },
    Row { story: &[Story::Unreadable, Story::Open], worth: SOME_BYTES,         object: ANY_OBJECT,            outcome: Outcome::SetAside },
    Row { story: CLOSED,                            worth: ANY_WORTH,          object: &[Object::Ours],       outcome: Outcome::AlreadyDone },
    Row { story: CLOSED,                            worth: &[Worth::Whole],    object: &[Object::AsRequired], outcome: Outcome::Finish },
    Row { story: CLOSED,                            worth: &[Worth::Whole],    object: &[Object::Loser],      outcome: Outcome::Overwrite },
    Row { story: CLOSED,                            worth: &[Worth::Whole],    object: &[Object::Rival],      outcome: Outcome::KeepBoth },
    Row { story: CLOSED,                            worth: &[Worth::Whole],    object: &[Object::Otherwise],  outcome: Outcome::SetAside },
    Row { story: CLOSED,                            worth: &[Worth::Unproven], object: NOT_OURS,              outcome: Outcome::SetAside },
    Row { story: CLOSED,                            worth: &[Worth::Gone],     object: NOT_OURS,              outcome: Outcome::Discard },
    Row { story: CLOSED,                            worth: ANY_WORTH,          object: &[Object::Unknown],    outcome: Outcome::Later },
];

/// Looks up what becomes of a leftover with these facts.
pub(super) fn outcome(story: Story, worth: Worth, object: Object) -> Outcome {
    let applies =
        |row: &&Row| row.story.contains(&story) && row.worth.contains(&worth) && row.object.contains(&object);
    TABLE.iter().find(applies).map(|row| row.outcome).expect("the table has a row for every combination")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_STORIES: [Story; 5] =
        [Story::Missing, Story::Unreadable, Story::Open, Story::Sealed, Story::Entrusted];

    #[test]
    fn every_combination_of_facts_has_exactly_one_row() {
        for story in ALL_STORIES {
            for worth in ANY_WORTH {
                for object in ANY_OBJECT {
                    let applies = |row: &&Row| {
                        row.story.contains(&story) && row.worth.contains(worth) && row.object.contains(object)
                    };
                    assert_eq!(TABLE.iter().filter(applies).count(), 1, "{story:?} {worth:?} {object:?}");
                }
            }
        }
    }

    #[test]
    fn bytes_are_only_discarded_when_nobody_can_want_them() {
        for story in ALL_STORIES {
            for object in ANY_OBJECT {
                if outcome(story, Worth::Whole, *object) == Outcome::Discard {
                    assert_eq!(story, Story::Missing);
                }
            }
        }
    }

    #[test]
    fn only_proven_bytes_are_ever_committed() {
        for story in ALL_STORIES {
            for worth in ANY_WORTH {
                for object in ANY_OBJECT {
                    let committed = [Outcome::Finish, Outcome::Overwrite, Outcome::KeepBoth];
                    let is_committed = committed.contains(&outcome(story, *worth, *object));
                    let is_free = [Object::AsRequired, Object::Loser, Object::Rival].contains(object);
                    let is_right = CLOSED.contains(&story) && *worth == Worth::Whole && is_free;
                    assert_eq!(is_committed, is_right, "{story:?} {worth:?} {object:?}");
                }
            }
        }
    }
}
