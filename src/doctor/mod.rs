//! Finds out what does not work, and says which document, in which account, lacks which statement.
//!
//! S3 answers "Access Denied" and no more, so a diagnosis has to probe: it makes the requests that
//! the mount would make, each in its plainest form, and where one is denied in other forms, too; and
//! concludes from which of them work.
//!
//! ```text
//!   running mount ─► machine ─► base identity ─► each role ─► for each bucket: probe ─► diagnosis
//!                                                               requests, through    pure: checks
//!                                                               entrance, as attempts  and remedies
//! ```
//!
//! **Nothing is changed unless the caller asked for it**: without a write test there are only requests
//! that read. With one, all writes go to a single key of a name that nobody else uses, which is
//! removed in the end; where it could not be removed, nothing is written to begin with, unless it
//! was agreed that it may stay.

mod attempt;
mod diagnosis;
mod entrance;
mod identity;
mod machine;
mod probe;
mod remedy;
mod running;
mod words;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use serde::Serialize;
use tokio::runtime::Builder;

pub use self::remedy::{Change, Location, Remedy};
pub use self::running::{RunningMount, of_mount};

use self::identity::Walked;
use crate::config::{Failure, Identity, Settings, Surroundings};
use crate::daemon::People;
use crate::s3;

/// How far the examination goes.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// A key that is known to be there, below the prefix of its bucket; with several buckets that of the
    /// directory in front.
    pub read: Option<String>,
    /// Whether writing is tried, too.
    pub write: WriteTest,
}

/// Whether writing is tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WriteTest {
    /// Nothing is changed.
    #[default]
    Refused,
    /// A probe is written, if it can be removed again.
    IfRemovable,
    /// A probe is written, and stays if it cannot be removed.
    Allowed,
}

/// What one examination came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What it is about: `mount`, `machine`, `identity`, or the name of a bucket.
    pub subject: String,
    /// What was tried.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What came back.
    pub answer: String,
    /// What that means.
    pub meaning: String,
    /// What to change; the likeliest first, and usually it is the one. Each other is for the case that
    /// those before it are there already.
    pub remedies: Vec<Remedy>,
}

impl Check {
    fn new(subject: &str, name: &str, outcome: Outcome, answer: impl Into<String>) -> Self {
        Self {
            subject: subject.to_owned(),
            name: name.to_owned(),
            outcome,
            answer: answer.into(),
            meaning: String::new(),
            remedies: Vec::new(),
        }
    }

    fn meaning(self, meaning: impl Into<String>) -> Self {
        Self { meaning: meaning.into(), ..self }
    }

    /// Says the consequence before the reason.
    fn prefixed(self, consequence: &str) -> Self {
        let meaning = match self.meaning.as_str() {
            "" => consequence.to_owned(),
            reason => format!("{consequence}; {reason}"),
        };
        Self { meaning, ..self }
    }

    fn remedies(self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        Self { remedies: remedies.into_iter().collect(), ..self }
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It works.
    Passed,
    /// It does not, and the mount goes without it.
    Limited,
    /// It was not tried, or what came back allows no conclusion.
    Undecided,
    /// It does not work, and the mount does not work without it.
    Failed,
}

/// Whether all that the mount cannot do without was seen to work.
pub fn is_well(checks: &[Check]) -> bool {
    checks.iter().all(|check| matches!(check.outcome, Outcome::Passed | Outcome::Limited))
}

/// Examines the machine, the identities and the buckets of a mount, in that order.
///
/// # Errors
/// When the examination itself cannot begin.
pub fn examine(
    settings: &Settings,
    wish: &Wish,
    people: &People,
    around: &Surroundings,
) -> Result<Vec<Check>, Failure> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the runtime could not be started: {error}")))?;
    Ok(runtime.block_on(async {
        let connections = s3::connections();
        let mut checks = machine::checks(settings, around);
        let walked = walk_all(settings, people, &connections).await;
        checks.extend(walked.iter().flat_map(|(_, walked)| identity::checks(walked)));
        for bucket in &settings.buckets {
            let (_, walked) = walked
                .iter()
                .find(|(identity, _)| *identity == &bucket.identity)
                .expect("the way of every identity was walked");
            let findings = probe::bucket(settings, bucket, walked, wish, &connections).await;
            checks.extend(diagnosis::checks(settings, bucket, walked, &findings));
        }
        checks
    }))
}

/// Walks the way to the session of each identity.
async fn walk_all<'s>(
    settings: &'s Settings,
    people: &People,
    connections: &SharedHttpClient,
) -> Vec<(&'s Identity, Walked<'s>)> {
    let mut all: Vec<(&Identity, Walked<'_>)> = Vec::new();
    for bucket in &settings.buckets {
        if all.iter().all(|(identity, _)| *identity != &bucket.identity) {
            let walked = identity::walk(&bucket.identity, settings, people, connections).await;
            all.push((&bucket.identity, walked));
        }
    }
    all
}
