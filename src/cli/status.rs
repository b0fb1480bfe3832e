//! `s3xmount status`: how running mounts are, for people or for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::SystemTime;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Stop, args, complain, desk, rescue};
use crate::clock;
use crate::config::{Surroundings, Written};
use crate::control::{
    self, BucketStatus, CacheStatus, IdentityStatus, KeptBothStatus, ListingStatus, MoveStatus,
    SilenceStatus, Status, TroubledStatus, WaitingStatus, WritingStatus,
};

/// What was asked for.
#[derive(Debug)]
pub struct StatusArgs {
    path: Option<Written>,
    json: bool,
}

impl StatusArgs {
    /// Takes down what clap has split.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        Self { path: args::written_path(matches), json: matches.get_flag(JSON) }
    }
}

/// The command and its flags.
pub fn command() -> Command {
    Command::new("status")
        .about("Says what is mounted, with whose right, until when, and what is wrong")
        .override_usage("s3xmount status [PATH] [--json]")
        .args([
            args::path("A path in a running mount [default: all running mounts of this user; for root, of all users]"),
            Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help(
                "Prints one JSON object for a path, and without one a list of them",
            ),
        ])
}

/// Prints the status of the mount, or of all.
///
/// # Errors
/// When a mount does not answer, after those that do have been told.
pub fn run(asked: &StatusArgs) -> Result<(), Stop> {
    let around = Surroundings::look();
    if asked.path.is_some() {
        let found = desk::mount(asked.path.as_ref(), &around).map_err(Stop::Refused)?;
        let status = desk::status(&found)?;
        return print(&if asked.json { json(&status) } else { text(&status, clock::now()) });
    }
    let answers = control::running(&around).iter().map(desk::status).collect::<Vec<_>>();
    let (statuses, mut silent): (Vec<Status>, Vec<Stop>) = sort(answers);
    let texts = statuses.iter().map(|status| text(status, clock::now())).collect::<Vec<_>>();
    print(&match (asked.json, statuses.is_empty() && silent.is_empty()) {
        (true, _) => json(&statuses),
        (false, true) => "No mount is running.\n".to_owned(),
        (false, false) => texts.join("\n"),
    })?;
    let last = silent.pop();
    silent.iter().for_each(complain);
    last.map_or(Ok(()), Err)
}

fn sort<T, E>(results: Vec<Result<T, E>>) -> (Vec<T>, Vec<E>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(one) => good.push(one),
            Err(one) => bad.push(one),
        }
    }
    (good, bad)
}

fn print(text: &str) -> Result<(), Stop> {
    super::printed(io::stdout().lock().write_all(text.as_bytes()), "the status")
}

fn json(status: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(status).expect("texts and numbers, into memory") + "\n"
}

/// A status as people read it.
fn text(status: &Status, now: SystemTime) -> String {
    let Status { mount_point, pid, version, since, .. } = status;
    let mut text = format!("{mount_point}\n");
    line(&mut text, 1, &format!("process {pid}, s3xmount {version}, mounted {}", desk::moment(since, now)));
    let width = status.buckets.iter().map(|bucket| source(bucket).chars().count()).max().unwrap_or(0);
    for bucket in &status.buckets {
        let rights = if bucket.read_only { "read-only" } else { "read and write" };
        let session = match status.identities.len() {
            0 | 1 => String::new(),
            _ => format!(", session {}", bucket.identity + 1),
        };
        line(&mut text, 1, &format!("{:width$}  {}, {rights}{session}", source(bucket), bucket.region));
        for words in
            bucket.silent.iter().map(|silent| silence(silent, now)).chain(limits(bucket, mount_point))
        {
            line(&mut text, 2, &words);
        }
    }
    for (at, identity) in status.identities.iter().enumerate() {
        line(&mut text, 1, &format!("session {}: {}", at + 1, who(identity)));
        for words in life(identity, mount_point, now) {
            line(&mut text, 2, &words);
        }
    }
    if let Some(cache) = &status.cache {
        line(&mut text, 1, &kept(cache));
    }
    for moving in &status.moves {
        line(&mut text, 1, &progress(moving));
    }
    for (depth, words) in written(status, now) {
        line(&mut text, depth, &words);
    }
    text
}

/// How far a directory has moved.
fn progress(moving: &MoveStatus) -> String {
    let MoveStatus { bucket, from, onto, objects, copied, deleted } = moving;
    format!("moving s3://{bucket}/{from} to {onto}: {copied} of {objects} objects copied, {deleted} deleted")
}

/// What of the files written here is not in S3, or not where it was to be.
fn written(status: &Status, now: SystemTime) -> Vec<(usize, String)> {
    let WritingStatus { waiting, set_aside, kept_both, refused_descriptions, .. } = &status.writing;
    let mut lines = Vec::new();
    if waiting.files > 0 {
        let oldest = waiting.oldest.as_deref().map(|oldest| desk::moment(oldest, now)).unwrap_or_default();
        let WaitingStatus { files, bytes, .. } = waiting;
        lines.push((
            1,
            format!("{files} closed files on their way to S3, {bytes} bytes, the first closed {oldest}"),
        ));
        for TroubledStatus { bucket, key, trouble, .. } in &waiting.troubled {
            lines.push((2, format!("s3://{bucket}/{key}: {trouble}")));
        }
    }
    for KeptBothStatus { bucket, key, ours, when } in kept_both {
        let when = desk::moment(when, now);
        lines.push((
            1,
            format!(
                "s3://{bucket}/{key} was changed by somebody else, {when}; what was written here is {ours}"
            ),
        ));
    }
    lines.extend(refused_descriptions.iter().map(|one| (1, rescue::refused(one, now))));
    if !set_aside.is_empty() {
        let mount_point = &status.mount_point;
        lines.push((1, format!("set aside, see s3xmount rescue {mount_point}:")));
        for file in set_aside {
            lines.extend(rescue::lines(file, now).into_iter().map(|(depth, words)| (depth + 2, words)));
            lines.push((3, file.path.clone()));
        }
    }
    lines
}

/// How full the block cache is, and what share of what was read came from it.
fn kept(cache: &CacheStatus) -> String {
    let CacheStatus { directory, used_bytes, bytes_max, served_bytes, fetched_bytes } = cache;
    let mib = |bytes: &u64| bytes >> 20;
    let (used, most, served, fetched) =
        (mib(used_bytes), mib(bytes_max), mib(served_bytes), mib(fetched_bytes));
    format!("cache {directory}: {used} of {most} MiB used; read from it {served} MiB, from S3 {fetched} MiB")
}

/// What is written by a server goes to the terminal without the control characters it may hold.
fn line(text: &mut String, depth: usize, words: &str) {
    let printable: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    writeln!(text, "{:indent$}{printable}", "", indent = 2 * depth).expect("a string takes everything");
}

/// The bucket, and its directory where that has another name.
fn source(bucket: &BucketStatus) -> String {
    let BucketStatus { directory, bucket, prefix, .. } = bucket;
    let slash = if prefix.is_empty() { "" } else { "/" };
    match directory == bucket && prefix.is_empty() {
        true => bucket.clone(),
        false => format!("{directory} = {bucket}{slash}{prefix}"),
    }
}

/// That S3 does not answer, for whoever wonders why a program hangs.
fn silence(silent: &SilenceStatus, now: SystemTime) -> String {
    let SilenceStatus { since, requests, first, trouble } = silent;
    let trouble = trouble.as_deref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
    let since = desk::moment(since, now);
    format!("S3 does not answer since {since}{trouble}; requests that wait: {requests}, the first a {first}")
}

/// What does not work in a bucket, and what would make it work.
fn limits(bucket: &BucketStatus, mount_point: &str) -> Vec<String> {
    let listing = match &bucket.listing {
        ListingStatus::Unknown | ListingStatus::Open => None,
        ListingStatus::Blind => Some("cannot be listed: known names work, `ls` does not".to_owned()),
        ListingStatus::Prefix(prefixes) => {
            let name = |prefix: &String| if prefix.is_empty() { "/".to_owned() } else { prefix.clone() };
            Some(format!(
                "can be listed in part: {}",
                prefixes.iter().map(name).collect::<Vec<_>>().join(", ")
            ))
        }
    };
    let mut lines = Vec::from_iter(listing);
    for missing in &bucket.missing {
        lines.push(format!("missing: {} on {}: {}", missing.action, missing.resource, missing.consequence));
        lines.push(format!("  {}", missing.place));
    }
    if !bucket.missing.is_empty() {
        lines.push(format!(
            "the statements to add: s3xmount status {mount_point} --json, or s3xmount doctor {mount_point}"
        ));
    }
    lines.extend(bucket.lacking.iter().map(|words| format!("its server {words}")));
    lines
}

fn who(identity: &IdentityStatus) -> &str {
    let last = identity.roles.last().map_or("the base identity", String::as_str);
    identity.caller.as_deref().unwrap_or(last)
}

/// How a session came to be, until when it lasts, and what there is to do about it.
fn life(identity: &IdentityStatus, mount_point: &str, now: SystemTime) -> Vec<String> {
    let mut lines = Vec::new();
    if !identity.roles.is_empty() {
        lines.push(format!("through {}", identity.roles.join(", then ")));
    }
    let end = identity.expires.as_deref().map(|end| (end, control::read(end).is_some_and(|end| end <= now)));
    let end = match end {
        None if identity.trouble.is_some() && identity.caller.is_none() => "there is none yet".to_owned(),
        None => "does not end".to_owned(),
        Some((end, true)) => format!("ended {}", desk::moment(end, now)),
        Some((end, false)) => format!("lasts until {}", desk::moment(end, now)),
    };
    lines.push(match identity.renewals {
        0 => end,
        1 => format!("{end}, renewed once"),
        renewals => format!("{end}, renewed {renewals} times"),
    });
    lines.extend(identity.trouble.as_ref().map(|trouble| format!("trouble: {trouble}")));
    lines.extend(
        identity
            .needs_code
            .as_ref()
            .map(|device| format!("waits for an MFA code of {device}: s3xmount login {mount_point}")),
    );
    lines
}

const JSON: &str = "json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RefusedDescriptionStatus;

    fn status() -> Status {
        let bucket = |directory: &str, prefix: &str, read_only, identity| BucketStatus {
            directory: directory.to_owned(),
            bucket: "SampleBucketA".to_owned(),
            prefix: prefix.to_owned(),
            region: "us-east-1".to_owned(),
            read_only,
            identity,
            listing: ListingStatus::Open,
            missing: Vec::new(),
            lacking: Vec::new(),
            silent: None,
        };
        Status {
            mount_point: "/mnt/b".to_owned(),
            pid: 42,
            version: "0.1.0".to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            buckets: vec![bucket("SampleBucketA", "", false, 0), bucket("photos", "2024/", true, 1)],
            cache: Some(CacheStatus {
                directory: "/var/cache/x".to_owned(),
                used_bytes: 5 << 30,
                bytes_max: 10 << 30,
                served_bytes: 3 << 20,
                fetched_bytes: 1 << 20,
            }),
            moves: vec![MoveStatus {
                bucket: "SampleBucketA".to_owned(),
                from: "old/".to_owned(),
                onto: "new/".to_owned(),
                objects: 1000,
                copied: 1000,
                deleted: 7,
            }],
            writing: WritingStatus::default(),
            identities: vec![
                IdentityStatus {
                    caller: Some("arn:aws:sts::111122223333:assumed-role/x/y".to_owned()),
                    roles: vec!["arn:one".to_owned(), "arn:two".to_owned()],
                    expires: Some("2026-01-01T04:00:00Z".to_owned()),
                    renewals: 2,
                    trouble: None,
                    needs_code: None,
                },
                IdentityStatus {
                    caller: None,
                    roles: vec!["arn:three".to_owned()],
                    expires: Some("2026-01-01T00:30:00Z".to_owned()),
                    renewals: 1,
                    trouble: Some("STS says\x1b[31m no".to_owned()),
                    needs_code: Some("arn:mfa".to_owned()),
                },
            ],
        }
    }

    #[test]
    fn a_status_says_what_whose_until_when_and_what_to_do() {
        let now = clock::from_unix(1_767_225_600 + 3600, 0);
        let expected = "\
/mnt/b
  process 42, s3xmount 0.1.0, mounted 2026-01-01 00:00:00 UTC (60 min ago)
  SampleBucketA                 us-east-1, read and write, session 1
  photos = SampleBucketA/2024/  us-east-1, read-only, session 2
  session 1: arn:aws:sts::111122223333:assumed-role/x/y
    through arn:one, then arn:two
    lasts until 2026-01-01 04:00:00 UTC (in 3 h), renewed 2 times
  session 2: arn:three
    through arn:three
    ended 2026-01-01 00:30:00 UTC (30 min ago), renewed once
    trouble: STS says [31m no
    waits for an MFA code of arn:mfa: s3xmount login /mnt/b
  cache /var/cache/x: 5120 of 10240 MiB used; read from it 3 MiB, from S3 1 MiB
  moving s3://SampleBucketA/old/ to new/: 1000 of 1000 objects copied, 7 deleted
";
        assert_eq!(text(&status(), now), expected);
    }

    #[test]
    fn what_is_not_in_s3_is_said_with_what_to_do() {
        let mut status = status();
        let since = "2026-01-01T00:00:00Z".to_owned();
        let bucket = "B".to_owned();
        let object = |key: &str| (bucket.clone(), key.to_owned());
        let ((bucket, key), trouble) = (object("late"), "S3 is away".to_owned());
        let late = TroubledStatus { bucket, key, bytes: 3, since: since.clone(), trouble };
        let waiting = WaitingStatus { files: 2, bytes: 7, oldest: Some(since.clone()), troubled: vec![late] };
        let (bucket, key) = object("x");
        let aside = control::AsideStatus {
            name: "B_x.1234abcd".to_owned(),
            bucket: Some(bucket),
            key: Some(key),
            bytes: 10,
            elsewhere_bytes: Some(0),
            released_bytes: 0,
            since: since.clone(),
            why: "denied".to_owned(),
            path: "/staging/set-aside/B_x.1234abcd".to_owned(),
        };
        let (bucket, key) = object("y");
        let both = KeptBothStatus { bucket, key, ours: "y.conflict-h-t".to_owned(), when: since.clone() };
        let (bucket, key) = object("z");
        let refused = RefusedDescriptionStatus { bucket, key, since, why: "denied".to_owned() };
        status.writing = WritingStatus {
            staging: "/staging".to_owned(),
            waiting,
            set_aside: vec![aside],
            kept_both: vec![both],
            refused_descriptions: vec![refused],
        };
        let expected = "\
  2 closed files on their way to S3, 7 bytes, the first closed 2026-01-01 00:00:00 UTC (in 0 s)
    s3://B/late: S3 is away
  s3://B/y was changed by somebody else, 2026-01-01 00:00:00 UTC (in 0 s); what was written here is y.conflict-h-t
  mode, owner or times of s3://B/z are refused by S3 since 2026-01-01 00:00:00 UTC (in 0 s): denied
  set aside, see s3xmount rescue /mnt/b:
    B_x.1234abcd
      s3://B/x, 10 bytes, 2026-01-01 00:00:00 UTC (in 0 s)
      denied
      /staging/set-aside/B_x.1234abcd
";
        let text = text(&status, clock::from_unix(1_767_225_600, 0));
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn whoever_wonders_why_a_program_hangs_is_told_that_s3_does_not_answer() {
        let mut status = status();
        status.buckets[1].silent = Some(SilenceStatus {
            since: "2026-01-01T00:00:00Z".to_owned(),
            requests: 2,
            first: "ListObjectsV2".to_owned(),
            trouble: Some("Connection refused".to_owned()),
        });
        let expected = "\
  photos = SampleBucketA/2024/  us-east-1, read-only, session 2
    S3 does not answer since 2026-01-01 00:00:00 UTC (48 s ago) (Connection refused); requests that wait: 2, the first a ListObjectsV2
";
        let text = text(&status, clock::from_unix(1_767_225_600 + 48, 0));
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn what_a_server_lacks_is_said_with_what_follows() {
        let mut status = status();
        status.buckets[0].lacking = vec!["knows no ACLs: objects are written without".to_owned()];
        let text = text(&status, SystemTime::UNIX_EPOCH);
        assert!(text.contains("its server knows no ACLs: objects are written without\n"), "{text}");
    }

    #[test]
    fn what_a_bucket_lacks_is_said_with_the_place_where_it_is_missing() {
        let mut status = status();
        let bucket = &mut status.buckets[0];
        assert!(limits(bucket, "/mnt/b").is_empty());
        bucket.listing = ListingStatus::Prefix(vec![String::new(), "team/".to_owned()]);
        assert_eq!(limits(bucket, "/mnt/b"), ["can be listed in part: /, team/"]);
        bucket.listing = ListingStatus::Blind;
        bucket.missing = vec![control::MissingRight {
            action: "s3:ListBucket".to_owned(),
            resource: "arn:aws:s3:::SampleBucketA".to_owned(),
            consequence: "directories cannot be listed".to_owned(),
            place: "look into the policy of the role".to_owned(),
            statement: serde_json::json!({}),
        }];
        assert_eq!(
            limits(bucket, "/mnt/b"),
            [
                "cannot be listed: known names work, `ls` does not",
                "missing: s3:ListBucket on arn:aws:s3:::SampleBucketA: directories cannot be listed",
                "  look into the policy of the role",
                "the statements to add: s3xmount status /mnt/b --json, or s3xmount doctor /mnt/b",
            ]
        );
        let json = json(&status);
        assert!(json.contains("\"state\": \"blind\""), "{json}");
    }

    #[test]
    fn a_base_identity_has_no_end_and_needs_no_number() {
        let mut status = Status { cache: None, moves: Vec::new(), ..status() };
        status.buckets.truncate(1);
        status.identities.truncate(1);
        status.identities[0] = IdentityStatus {
            caller: None,
            roles: Vec::new(),
            expires: None,
            renewals: 0,
            trouble: None,
            needs_code: None,
        };
        let text = text(&status, clock::from_unix(1_767_225_600, 0));
        assert!(text.ends_with(
            "  SampleBucketA  us-east-1, read and write\n  session 1: the base identity\n    does not end\n"
        ));
    }
}
