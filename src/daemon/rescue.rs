//! What of the files written here is not in S3, and bringing it there after all.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

use super::identities::Identities;
use super::{People, connect, write_options};
use crate::budget::Budget;
use crate::config::{Failure, Settings};
use crate::control::{
    self, AsideStatus, KeptBothStatus, RefusedDescriptionStatus, TroubledStatus, WaitingStatus, WritingStatus,
};
use crate::error::{Error, Kind};
use crate::name::ObjectKey;
use crate::namespace::{self, Namespace, RefusedDescription};
use crate::s3::{self, Gateway};
use crate::task::Tasks;
use crate::write::aside::{self, AsideFile, Rescue};
use crate::write::{KeptBoth, Sessions, Waiting};

/// What somebody wants of a set-aside file.
pub(crate) struct Wish {
    /// Its name among those set aside, or the end of it.
    pub(crate) name: String,
    /// The key that it is to have, if not its own.
    pub(crate) key: Option<String>,
    /// The bucket that it is to go to, if not its own.
    pub(crate) bucket: Option<String>,
    /// It takes the place of whatever is there.
    pub(crate) overwrite: bool,
}

/// Brings a set-aside file to S3, and returns where it is now.
///
/// # Errors
/// Why it stays where it is.
pub(super) async fn commit(
    sessions: &Arc<Sessions>,
    gateways: &[Arc<Gateway>],
    wish: &Wish,
) -> Result<String, Failure> {
    let file = aside::find(&sessions.options().staging, &wish.name)?;
    let unknown = || Failure::new(format!("which bucket {} was to go to is not known", file.name));
    let bucket = wish
        .bucket
        .as_deref()
        .or_else(|| file.bucket())
        .ok_or_else(|| unknown().hint("say where it is to go: --as s3://BUCKET/KEY"))?;
    let gateway = gateways.iter().find(|gateway| gateway.bucket().as_str() == bucket);
    let gateway =
        gateway.ok_or_else(|| Failure::new(format!("the bucket {bucket} is not one of this mount")))?;
    if wish.bucket.is_some()
        && file.bucket().is_some_and(|own| own != bucket)
        && file.elsewhere_bytes != Some(0)
    {
        return Err(Failure::new(format!("{} builds on a version that lies in another bucket", file.name))
            .hint("bring it to its own bucket and copy it from there, or take it out"));
    }
    let rescue = match (&wish.key, wish.overwrite) {
        (Some(key), _) => Rescue::As(ObjectKey::parse(key.as_str())?),
        (None, true) => Rescue::Overwrite,
        (None, false) => Rescue::AsItWas,
    };
    let receipt = sessions.rescue(&file, Arc::clone(gateway), &rescue).await.map_err(|error| {
        let is_taken = matches!(error.kind(), Kind::Exists | Kind::Changed);
        let failure = Failure::from(error);
        if is_taken {
            failure.hint("--as KEY gives it another name, --overwrite takes the other's place")
        } else {
            failure
        }
    })?;
    Ok(format!("s3://{bucket}/{}", receipt.key()))
}

/// Brings a set-aside file to S3 without a mount, which these settings describe.
///
/// # Errors
/// Why it stays where it is; a running mount is asked itself.
pub(crate) fn commit_alone(settings: &Settings, people: &People, wish: &Wish) -> Result<String, Failure> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the runtime could not be started: {error}")))?;
    runtime.block_on(async {
        let tasks = Tasks::new(Handle::current());
        let connections = s3::connections();
        let identities = Identities::obtain(settings, people, &connections, &tasks).await?;
        let mut gateways = Vec::new();
        for bucket in &settings.buckets {
            gateways.push(connect(settings, bucket, identities.of(bucket), &connections).await?.gateway);
        }
        // The directory is this process's for as long as that takes: no mount may begin to deal with it.
        let sessions =
            Sessions::open(write_options(settings), Budget::new(settings.memory_bytes), tasks.clone())?;
        let outcome = commit(&sessions, &gateways, wish).await;
        tasks.stop(Duration::from_secs(1)).await;
        outcome
    })
}

/// What `status` tells of written files.
pub(super) fn writing(sessions: &Sessions, namespace: &Namespace, staging: &Path) -> WritingStatus {
    let report = sessions.background();
    WritingStatus {
        staging: staging.display().to_string(),
        waiting: WaitingStatus {
            files: report.files,
            bytes: report.bytes,
            oldest: report.oldest.map(control::written),
            troubled: report.troubled.into_iter().map(troubled).collect(),
        },
        set_aside: set_aside(staging).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was set aside cannot be listed");
            Vec::new()
        }),
        kept_both: sessions.kept_both().into_iter().map(kept_both).collect(),
        refused_descriptions: namespace.refused_descriptions().into_iter().map(refused).collect(),
    }
}

/// The files that were set aside in a staging directory.
///
/// # Errors
/// Those of the local filesystem.
pub(crate) fn set_aside(staging: &Path) -> Result<Vec<AsideStatus>, Error> {
    Ok(aside::list(staging)?.iter().map(aside_status).collect())
}

/// The objects of which a mount that has ended left modes, owners or times for the next one to tell S3.
pub(crate) fn left_descriptions(staging: &Path) -> Vec<String> {
    let left = namespace::left_descriptions(staging).into_iter();
    left.map(|(bucket, key)| format!("s3://{bucket}/{key}")).collect()
}

fn aside_status(file: &AsideFile) -> AsideStatus {
    AsideStatus {
        name: file.name.clone(),
        bucket: file.bucket().map(str::to_owned),
        key: file.key().map(str::to_owned),
        bytes: file.bytes,
        elsewhere_bytes: file.elsewhere_bytes,
        released_bytes: file.released_bytes(),
        since: control::written(file.since),
        why: file.why.clone(),
        path: file.path.display().to_string(),
    }
}

fn troubled(waiting: Waiting) -> TroubledStatus {
    let Waiting { bucket, key, bytes, since, trouble } = waiting;
    TroubledStatus {
        bucket,
        key,
        bytes,
        since: control::written(since),
        trouble: trouble.unwrap_or_default(),
    }
}

fn kept_both(kept: KeptBoth) -> KeptBothStatus {
    let KeptBoth { bucket, key, ours, when } = kept;
    KeptBothStatus { bucket, key, ours, when: control::written(when) }
}

fn refused(one: RefusedDescription) -> RefusedDescriptionStatus {
    let RefusedDescription { bucket, key, since, why } = one;
    RefusedDescriptionStatus { bucket, key, since: control::written(since), why }
}
