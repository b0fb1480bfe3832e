//! What was written, understood: [`Settings`] or a refusal with its place.
//!
//! Defaults and contradictions live here and nowhere else. A contradiction counts only where both
//! sides were said about this very mount or one of them on the command line; what the top of the file says for all mounts
//! simply does not apply to those that have no use for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arn::is_account;
use super::bucket::BucketSpec;
use super::failure::{Failure, Place};
use super::file::{BucketTable, ConfigFile, MountTable};
use super::merge::Layers;
use super::options::Key;
use super::surroundings::Surroundings;
use super::{
    Acl, AttributeSource, BucketSettings, CacheSettings, CommitMode, ExclusiveCreate, LogLevel, LogTarget,
    OnConflict, Origin, SHORTEST_COMMAND, Settings, Sse, customer_key, endpoint, identity, mount_points,
    units,
};
use crate::name::DirPrefix;

/// Understands everything that was written about a mount.
///
/// # Errors
/// Whatever cannot be understood or contradicts something else.
pub fn settle(
    mount_point: PathBuf,
    layers: Layers<'_>,
    file: &ConfigFile,
    table: Option<&MountTable>,
    around: &Surroundings,
) -> Result<Settings, Failure> {
    let path = |text: &str| Ok(around.absolute(text));
    let staging_dir = staging_dir(&mount_point, layers, around)?;
    let foreground = layers.switch(Key::Foreground)?;
    let settings = Settings {
        buckets: buckets(layers, table, around)?,
        region: layers.value(Key::Region, region)?,
        endpoint_url: layers.value(Key::EndpointUrl, url)?,
        force_path_style: layers.switch(Key::ForcePathStyle)?,
        dualstack: endpoint::dualstack(layers, around)?,
        fips: endpoint::fips(layers, around)?,
        read_only: layers.switch(Key::ReadOnly)?,
        allow_other: layers.switch(Key::AllowOther)?,
        no_exec: layers.switch(Key::NoExec)?,
        uid: layers.value(Key::Uid, units::id)?.unwrap_or(around.uid),
        gid: layers.value(Key::Gid, units::id)?.unwrap_or(around.gid),
        file_mode: layers.value(Key::FileMode, units::mode)?.unwrap_or(0o644),
        dir_mode: layers.value(Key::DirMode, units::mode)?.unwrap_or(0o755),
        attributes: layers.value(Key::Attributes, attributes)?.unwrap_or(AttributeSource::Auto),
        metadata_ttl: layers.value(Key::MetadataTtl, units::duration)?.unwrap_or(METADATA_TTL_DEFAULT),
        negative_ttl: layers.value(Key::NegativeTtl, units::duration)?.unwrap_or(NEGATIVE_TTL_DEFAULT),
        commit: layers.value(Key::Commit, commit_mode)?.unwrap_or(CommitMode::Close),
        on_conflict: layers.value(Key::OnConflict, on_conflict)?.unwrap_or(OnConflict::Fail),
        exclusive_create: layers
            .value(Key::ExclusiveCreate, exclusive_create)?
            .unwrap_or(ExclusiveCreate::Close),
        host: around.host.clone(),
        memory_bytes: layers.value(Key::Memory, memory)?.unwrap_or_else(|| default_memory(around)),
        cache: cache(layers, around)?,
        staging_bytes_max: layers.value(Key::StagingSize, staging_size)?.unwrap_or(STAGING_BYTES_DEFAULT),
        log_level: layers.value(Key::LogLevel, log_level)?.unwrap_or(LogLevel::Info),
        log_target: match layers.value(Key::LogFile, path)? {
            Some(file) => LogTarget::File(file),
            None if foreground => LogTarget::Stderr,
            None => LogTarget::File(staging_dir.join(LOG_NAME)),
        },
        foreground,
        staging_dir,
        mount_point,
        origin: Origin::default(),
    };
    refuse_no_bucket(&settings, file, table)?;
    refuse_paths_inside_the_mount(&settings, layers)?;
    endpoint::refuse_contradictions(&settings, layers)?;
    refuse_keys_in_the_open(&settings, layers)?;
    Ok(settings)
}

/// Where files of a mount wait while they are written.
///
/// # Errors
/// When that is neither written nor follows from the surroundings.
pub fn staging_dir(
    mount_point: &Path,
    layers: Layers<'_>,
    around: &Surroundings,
) -> Result<PathBuf, Failure> {
    let root = layers.value(Key::StagingDir, |text| Ok(around.absolute(text)))?;
    let root = root.map_or_else(|| default_staging_root(around), Ok)?;
    Ok(root.join(folder_name(mount_point)))
}

/// The buckets of the list, then those with tables of their own.
fn buckets(
    layers: Layers<'_>,
    table: Option<&MountTable>,
    around: &Surroundings,
) -> Result<Vec<BucketSettings>, Failure> {
    let listed = layers.all(Key::Bucket);
    let mut buckets: Vec<(BucketSettings, &Place)> = Vec::new();
    for written in listed {
        let spec = written.parse(BucketSpec::parse)?;
        buckets.push((bucket(spec, layers, None, around)?, &written.place));
    }
    // A list that outranks the file replaces what the file says, its tables included.
    let outranked = [layers.flags, layers.variables].iter().any(|layer| !layer.all(Key::Bucket).is_empty());
    for table in table.iter().flat_map(|table| &table.buckets).filter(|_| !outranked) {
        buckets.push((bucket_of_table(table, layers, around)?, &table.name.place));
    }
    refuse_doubles(&buckets)?;
    Ok(buckets.into_iter().map(|(bucket, _)| bucket).collect())
}

fn bucket_of_table(
    table: &BucketTable,
    layers: Layers<'_>,
    around: &Surroundings,
) -> Result<BucketSettings, Failure> {
    let text = |written: &Option<super::Written>| written.as_ref().map(|written| written.text.clone());
    let (directory, prefix) = (text(&table.directory), text(&table.prefix));
    let spec = table
        .name
        .parse(|name| BucketSpec::new(directory.as_deref(), name, prefix.as_deref().unwrap_or_default()))?;
    bucket(spec, layers.with_bucket(&table.layer), Some(table), around)
}

fn bucket(
    spec: BucketSpec,
    layers: Layers<'_>,
    table: Option<&BucketTable>,
    around: &Surroundings,
) -> Result<BucketSettings, Failure> {
    let sse = layers.value(Key::Sse, sse)?;
    let key = layers.value(Key::SseKmsKeyId, not_empty)?;
    let uses_key = matches!(sse, Some(Sse::Kms | Sse::KmsDsse));
    if let (Some(place), false) = (layers.said_of_this_mount(Key::SseKmsKeyId), uses_key) {
        return Err(Failure::new("a KMS key is named, but the encryption does not use one")
            .at(place.clone())
            .hint("add --sse aws:kms (in the file: sse = \"aws:kms\"), or leave the key away"));
    }
    let key_file = |text: &str| customer_key::read(&around.absolute(text));
    let customer_key = layers.value(Key::SseCustomerKeyFile, key_file)?;
    if let (Some(_), Some(_), Some(place)) =
        (&customer_key, sse, layers.said_of_this_mount(Key::SseCustomerKeyFile))
    {
        return Err(Failure::new("two encryptions are named")
            .at(place.clone())
            .hint("leave --sse away: a key of your own is an encryption by itself"));
    }
    // Everywhere else `region` is where the search for a bucket begins; only here it ends it.
    let own_region = table.map(|table| table.layer.one(Key::Region)).transpose()?.flatten();
    let accelerate = endpoint::accelerate(&spec.name, layers)?;
    Ok(BucketSettings {
        directory: spec.directory,
        name: spec.name,
        prefix: spec.prefix,
        region: own_region.map(|written| written.parse(region)).transpose()?,
        identity: identity::settle(layers, around)?,
        acl: layers.value(Key::Acl, acl)?.unwrap_or(Acl::BucketOwnerFullControl),
        expected_bucket_owner: layers.value(Key::ExpectedBucketOwner, account)?,
        storage_class: layers.value(Key::StorageClass, storage_class)?,
        sse: sse.filter(|_| customer_key.is_none()),
        sse_customer_key: customer_key,
        sse_kms_key_id: key.filter(|_| uses_key),
        requester_pays: layers.switch(Key::RequesterPays)?,
        accelerate,
        read_only: layers.switch(Key::ReadOnly)?,
        directories: layers
            .all(Key::Directories)
            .iter()
            .map(|written| written.parse(directory))
            .collect::<Result<_, _>>()?,
    })
}

/// The same directory twice would hide a bucket; what overlaps within a bucket would be cached twice and disagree.
fn refuse_doubles(buckets: &[(BucketSettings, &Place)]) -> Result<(), Failure> {
    for (i, (bucket, place)) in buckets.iter().enumerate() {
        let earlier = || buckets[..i].iter().map(|(earlier, _)| earlier);
        let overlaps = |other: &&BucketSettings| {
            other.name == bucket.name
                && (other.prefix.contains(&bucket.prefix) || bucket.prefix.contains(&other.prefix))
        };
        if let Some(other) = earlier().find(overlaps) {
            let message = if other.prefix == bucket.prefix {
                format!("the bucket '{}' is named twice", bucket.name)
            } else {
                format!("of the bucket '{}' one part that is shown lies within another", bucket.name)
            };
            return Err(Failure::new(message)
                .at((*place).clone())
                .hint(format!("it is shown as '{}' already; leave one of them away", other.directory)));
        }
        if earlier().any(|other| other.directory == bucket.directory) {
            let message = format!("the directory '{}' is named twice", bucket.directory);
            return Err(Failure::new(message)
                .at((*place).clone())
                .hint(format!("give this bucket another one: --bucket OTHER={}", bucket.name)));
        }
    }
    Ok(())
}

fn refuse_no_bucket(
    settings: &Settings,
    file: &ConfigFile,
    table: Option<&MountTable>,
) -> Result<(), Failure> {
    if !settings.buckets.is_empty() {
        return Ok(());
    }
    let mount_point = settings.mount_point.display();
    let failure = Failure::new(format!("there is no bucket to mount at {mount_point}"));
    Err(match (table, &file.path) {
        (Some(table), _) => {
            failure.at(table.path.place.clone()).hint("add: buckets = [\"SampleBucketA\", \"SampleBucketB\"]")
        }
        (None, Some(path)) if !file.mounts.is_empty() => failure.at(Place::File(path.clone())).hint(format!(
            "the file describes {}; add a [[mount]] table with path = \"{mount_point}\", or name buckets with --bucket",
            mount_points(file)
        )),
        (None, Some(path)) => failure
            .at(Place::File(path.clone()))
            .hint(format!("add a [[mount]] table with path = \"{mount_point}\", or name buckets with --bucket")),
        (None, None) => failure.hint(SHORTEST_COMMAND),
    })
}

/// A mount that stages, caches or logs into itself waits for itself.
fn refuse_paths_inside_the_mount(settings: &Settings, layers: Layers<'_>) -> Result<(), Failure> {
    let log_file = match &settings.log_target {
        LogTarget::File(path) => Some(path),
        LogTarget::Stderr => None,
    };
    let inside = |path: &Path| path.starts_with(&settings.mount_point);
    let (what, key) = if inside(&settings.staging_dir) {
        ("staging directory", Key::StagingDir)
    } else if settings.cache.as_ref().is_some_and(|cache| inside(&cache.directory)) {
        ("cache", Key::Cache)
    } else if log_file.is_some_and(|path| inside(path)) {
        ("log file", Key::LogFile)
    } else {
        return Ok(());
    };
    let mount_point = settings.mount_point.display();
    let place = layers.one(key)?.map(|written| written.place.clone());
    Err(Failure { place, ..Failure::new(format!("the {what} cannot lie within the mount at {mount_point}")) }
        .hint(format!("name another place with {}", key.spec().flag())))
}

/// A customer's key travels with every request. AWS refuses it without TLS; other servers may not mind.
fn refuse_keys_in_the_open(settings: &Settings, layers: Layers<'_>) -> Result<(), Failure> {
    let Some(url) = settings.endpoint_url.as_deref() else { return Ok(()) };
    let Some(host) = url.strip_prefix("http://").filter(|host| !is_loopback(host)) else { return Ok(()) };
    if settings.buckets.iter().all(|bucket| bucket.sse_customer_key.is_none()) {
        return Ok(());
    }
    let message = format!("an encryption key of your own cannot travel to {host} in the open");
    let place = layers.one(Key::EndpointUrl)?.map(|written| written.place.clone());
    Err(Failure { place, ..Failure::new(message) }.hint("use https://, or leave sse-customer-key-file away"))
}

fn is_loopback(host_and_port: &str) -> bool {
    let authority = host_and_port.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn not_empty(text: &str) -> Result<String, Failure> {
    if text.trim().is_empty() { Err(Failure::new("the value is empty")) } else { Ok(text.to_owned()) }
}

fn directory(text: &str) -> Result<DirPrefix, Failure> {
    let hint = "write its path below what is shown of the bucket, like reports/2024";
    match DirPrefix::parse(text) {
        Ok(path) if path != DirPrefix::root() => Ok(path),
        Ok(_) => Err(Failure::new("that is the bucket itself, which is there anyway").hint(hint)),
        Err(error) => {
            Err(Failure::new(format!("'{text}' is not the path of a directory: {error}")).hint(hint))
        }
    }
}

fn account(text: &str) -> Result<String, Failure> {
    if is_account(text) {
        return Ok(text.to_owned());
    }
    Err(Failure::new(format!("'{text}' is not an account"))
        .hint("an account id has 12 digits; in the file, write it in quotes"))
}

pub(super) fn region(text: &str) -> Result<String, Failure> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty() && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Failure::new(format!("'{text}' is not a region")).hint("it looks like eu-west-1"))
}

pub(super) fn url(text: &str) -> Result<String, Failure> {
    let host = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match host {
        Some(host) if host.contains('@') => Err(Failure::new("a URL cannot carry a user or password here")
            .hint("credentials come from where the AWS tools keep them")),
        Some(host)
            if !host.is_empty() && !host.starts_with(['/', ':']) && !text.contains(char::is_whitespace) =>
        {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => {
            Err(Failure::new(format!("'{text}' is not a URL"))
                .hint("it looks like https://s3.example.com:9000"))
        }
    }
}

fn acl(text: &str) -> Result<Acl, Failure> {
    one_of(text, "a canned ACL", Acl::ALL, Acl::as_str)
}

fn sse(text: &str) -> Result<Sse, Failure> {
    one_of(text, "an encryption of S3", Sse::ALL, Sse::as_str)
}

fn attributes(text: &str) -> Result<AttributeSource, Failure> {
    one_of(text, "a source of attributes", AttributeSource::ALL, AttributeSource::as_str)
}

fn commit_mode(text: &str) -> Result<CommitMode, Failure> {
    one_of(text, "something that a close can wait for", CommitMode::ALL, CommitMode::as_str)
}

fn on_conflict(text: &str) -> Result<OnConflict, Failure> {
    one_of(text, "an answer to a conflict", OnConflict::ALL, OnConflict::as_str)
}

fn exclusive_create(text: &str) -> Result<ExclusiveCreate, Failure> {
    one_of(text, "a moment to take a name", ExclusiveCreate::ALL, ExclusiveCreate::as_str)
}

fn log_level(text: &str) -> Result<LogLevel, Failure> {
    one_of(text, "a log level", LogLevel::ALL, LogLevel::as_str)
}

pub(super) fn one_of<T: Copy>(
    text: &str,
    what: &str,
    all: impl IntoIterator<Item = T> + Clone,
    name: fn(T) -> &'static str,
) -> Result<T, Failure> {
    all.clone().into_iter().find(|value| name(*value) == text).ok_or_else(|| {
        let names: Vec<&str> = all.into_iter().map(name).collect();
        Failure::new(format!("'{text}' is not {what}")).hint(format!("choose one of {}", names.join(", ")))
    })
}

/// New classes appear now and then, so their shape is all that is checked here.
fn storage_class(text: &str) -> Result<String, Failure> {
    let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if !text.is_empty() && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Failure::new(format!("'{text}' is not a storage class"))
        .hint("they are called STANDARD, STANDARD_IA, INTELLIGENT_TIERING, GLACIER_IR and so on"))
}

fn memory(text: &str) -> Result<u64, Failure> {
    let bytes = units::bytes(text)?;
    if bytes < MEMORY_BYTES_MIN {
        return Err(Failure::new(format!("{text} is too little memory to move data with"))
            .hint(format!("give it {}MiB or more", MEMORY_BYTES_MIN >> 20)));
    }
    Ok(bytes)
}

/// 512 MiB, or a quarter of what the control group allows if that is less.
fn default_memory(around: &Surroundings) -> u64 {
    let quarter = around.memory_limit_bytes.map_or(u64::MAX, |limit| limit / 4);
    quarter.clamp(MEMORY_BYTES_MIN, MEMORY_BYTES_DEFAULT)
}

fn cache(layers: Layers<'_>, around: &Surroundings) -> Result<Option<CacheSettings>, Failure> {
    let bytes_max = layers.value(Key::CacheSize, cache_size)?.unwrap_or(CACHE_BYTES_DEFAULT);
    let directory = layers.value(Key::Cache, |text| not_empty(text).map(|text| around.absolute(&text)))?;
    if let (None, Some(place)) = (&directory, layers.said_of_this_mount(Key::CacheSize)) {
        return Err(Failure::new("the cache has a size, but no place")
            .at(place.clone())
            .hint("name a directory for it with --cache, or leave the size away"));
    }
    Ok(directory.map(|directory| CacheSettings { directory, bytes_max }))
}

fn cache_size(text: &str) -> Result<u64, Failure> {
    let bytes = units::bytes(text)?;
    if bytes < CACHE_BYTES_MIN {
        return Err(Failure::new(format!("{text} is too little for a cache"))
            .hint(format!("give it {}MiB or more", CACHE_BYTES_MIN >> 20)));
    }
    Ok(bytes)
}

fn staging_size(text: &str) -> Result<u64, Failure> {
    let bytes = units::bytes(text)?;
    if bytes < STAGING_BYTES_MIN {
        return Err(Failure::new(format!("{text} is too little room for files that are being written"))
            .hint(format!("give it {}MiB or more", STAGING_BYTES_MIN >> 20)));
    }
    Ok(bytes)
}

fn default_staging_root(around: &Surroundings) -> Result<PathBuf, Failure> {
    if around.uid == 0 {
        return Ok(PathBuf::from("/var/lib/s3xmount"));
    }
    let state = around.xdg_dir("XDG_STATE_HOME", ".local/state").map(|dir| dir.join("s3xmount"));
    state.ok_or_else(|| {
        Failure::new("there is no place for files that are being written: HOME is not set")
            .hint("name one with --staging-dir")
    })
}

/// The folder of one mount among others: its path with `-` for `/`, and what would be ambiguous spelled out.
fn folder_name(mount_point: &Path) -> String {
    let text = mount_point.to_string_lossy();
    let text = text.trim_start_matches('/').replace('%', "%25").replace('-', "%2D");
    text.replace('/', "-")
}

/// Long enough for a build or a copy to look each name up once, short enough to wait for a colleague's change.
const METADATA_TTL_DEFAULT: Duration = Duration::from_secs(60);

/// Who waits for a file to appear looks again and again, and should see it soon.
const NEGATIVE_TTL_DEFAULT: Duration = Duration::from_secs(5);

/// Modest beside what the machine has; several gigabytes per second need less in flight.
const MEMORY_BYTES_DEFAULT: u64 = 512 << 20;

/// Some parts of 8 MiB in flight in each direction.
const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// What one is willing to lose of a disk without looking, and enough for what one works with in a week. What
/// really bounds it on a small disk is the share that stays free.
const CACHE_BYTES_DEFAULT: u64 = 10 << 30;

/// Only few files are larger, and most disks have that much; whoever has less says so.
const STAGING_BYTES_DEFAULT: u64 = 16 << 30;

/// Some parts that are on their way, and the first of each file.
const STAGING_BYTES_MIN: u64 = 64 << 20;

/// Less would hold one file, and evict it for the next.
const CACHE_BYTES_MIN: u64 = 64 << 20;

/// The log of a mount in the background, in its staging folder.
const LOG_NAME: &str = "log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_as_good_as_tls() {
        for host in ["localhost", "localhost:9000", "127.0.0.1:1/x", "[::1]:9000", "127.9.9.9"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1:9000", "[fe80::1]", "s3.example.com", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn different_mount_points_have_different_folders() {
        let paths =
            ["/mnt/accountb", "/mnt-accountb", "/mnt/account-b", "/mnt/account%2Db", "/mnt/account/b"];
        let mut names: Vec<String> = paths.iter().map(|path| folder_name(Path::new(path))).collect();
        assert_eq!(names[0], "mnt-accountb");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), paths.len());
    }

    #[test]
    fn the_memory_default_follows_the_limit_of_the_group() {
        let memory =
            |limit| default_memory(&Surroundings { memory_limit_bytes: limit, ..Surroundings::default() });
        assert_eq!(memory(None), 512 << 20);
        assert_eq!(memory(Some(1 << 30)), 256 << 20);
        assert_eq!(memory(Some(100 << 30)), 512 << 20);
        assert_eq!(memory(Some(1 << 20)), 64 << 20);
    }
}
