//! What people write, and what it comes to.
//!
//! A setting may be written on the command line, in the environment or in a file. Each source is
//! first taken down as text with its place ([`Layer`], [`ConfigFile`]); [`merge`] says which of them
//! wins; [`settle`] understands the winners, fills in defaults, refuses what
//! contradicts itself and hands out [`Settings`], which nobody needs to check again. So a mistake
//! is always reported at the place where it was made, and [`options`] is the only list of what can
//! be set.
//!
//! Only this module reads the environment. It knows no secrets: those stay where the AWS tools keep
//! them, and there is neither flag nor key for one.

pub mod arn;
pub mod bucket;
mod customer_key;
pub mod endpoint;
pub mod failure;
pub mod file;
pub mod identity;
pub mod merge;
pub mod mount_point;
pub mod mount_table;
pub mod options;
mod origin;
pub mod settle;
pub mod similar;
pub mod surroundings;
pub mod units;
mod writing;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::arn::RoleArn;
pub use self::failure::{Failure, Place, Written};
pub use self::file::ConfigFile;
pub use self::identity::{Identity, OnRevoked, SessionPolicy, SessionTag};
pub use self::merge::Layer;
pub use self::origin::Origin;
pub use self::surroundings::Surroundings;
pub use self::writing::{CommitMode, ExclusiveCreate, OnConflict};

use self::merge::Layers;
use crate::name::{BucketName, DirPrefix, FileName};
use crate::secret::Secret;

/// Everything a mount needs to know: validated, defaulted, typed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the mount appears: absolute, links resolved.
    pub mount_point: PathBuf,
    /// What it shows: at least one bucket, each below a directory of its own.
    pub buckets: Vec<BucketSettings>,

    /// Where the search for a bucket's region begins.
    pub region: Option<String>,
    /// Where S3 answers, if not at AWS.
    pub endpoint_url: Option<String>,
    /// Bucket in the path of a request and not in the host name.
    pub force_path_style: bool,
    /// The endpoints that also answer over IPv6.
    pub dualstack: bool,
    /// The endpoints with validated cryptography.
    pub fips: bool,

    /// Nothing may be changed in any bucket.
    pub read_only: bool,
    /// Other users are let in.
    pub allow_other: bool,
    /// Programs in the mount may not be run.
    pub no_exec: bool,
    /// The owner of files that do not name one themselves.
    pub uid: u32,
    /// The group of files that do not name one themselves.
    pub gid: u32,
    /// The mode of files that do not name one themselves.
    pub file_mode: u32,
    /// The mode of directories that do not name one themselves.
    pub dir_mode: u32,

    /// Where modes, owners and times come from.
    pub attributes: AttributeSource,
    /// How long what S3 said about a name is taken as true.
    pub metadata_ttl: Duration,
    /// How long an absent name is taken as still absent.
    pub negative_ttl: Duration,
    /// What close(2) waits for.
    pub commit: CommitMode,
    /// What becomes of a file that somebody else changed while it was written.
    pub on_conflict: OnConflict,
    /// When the name of a file that must not exist is taken.
    pub exclusive_create: ExclusiveCreate,
    /// The name of this machine, if it is known.
    pub host: Option<String>,

    /// What all buffers may take together.
    pub memory_bytes: u64,
    /// Where what was read is kept, and how much of it.
    pub cache: Option<CacheSettings>,
    /// Where files of this mount, and of no other, wait while they are written.
    pub staging_dir: PathBuf,
    /// What files that stream may take of it.
    pub staging_bytes_max: u64,

    /// Stay in the foreground.
    pub foreground: bool,
    /// What is logged.
    pub log_level: LogLevel,
    /// Where it is logged.
    pub log_target: LogTarget,

    /// What all this was made from.
    pub origin: Origin,
}

/// What was read, on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Where.
    pub directory: PathBuf,
    /// How much, of all mounts that use this directory.
    pub bytes_max: u64,
}

/// One bucket, and how we act in it.
#[derive(Debug, Clone)]
pub struct BucketSettings {
    /// Its directory below the mount point.
    pub directory: FileName,
    /// The bucket as requests name it.
    pub name: BucketName,
    /// What of it is shown.
    pub prefix: DirPrefix,
    /// Its region, if someone said it; else it is to be found.
    pub region: Option<String>,
    /// Whose right is used in it.
    pub identity: Identity,
    /// The ACL on every object we write.
    pub acl: Acl,
    /// The account that the bucket must belong to.
    pub expected_bucket_owner: Option<String>,
    /// The storage class of what we write.
    pub storage_class: Option<String>,
    /// How the server encrypts what we write.
    pub sse: Option<Sse>,
    /// The key it encrypts with.
    pub sse_kms_key_id: Option<String>,
    /// A key of the customer's own that it encrypts with, in base64.
    pub sse_customer_key: Option<Secret>,
    /// We agree to pay for requests.
    pub requester_pays: bool,
    /// Bytes take the nearest entrance to AWS's network.
    pub accelerate: bool,
    /// Nothing may be changed in this bucket.
    pub read_only: bool,
    /// Directories that are there whatever S3 says, as paths below the prefix.
    pub directories: Vec<DirPrefix>,
}

/// The canned ACL sent with each object, or none.
///
/// S3 user guide, "Access control list overview": those that apply to objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are Amazon's words")]
pub enum Acl {
    /// No ACL is sent.
    None,
    BucketOwnerFullControl,
    BucketOwnerRead,
    Private,
    AuthenticatedRead,
    AwsExecRead,
    PublicRead,
    PublicReadWrite,
}

impl Acl {
    /// All of them, the default first.
    pub const ALL: [Self; 8] = [
        Self::BucketOwnerFullControl,
        Self::None,
        Self::BucketOwnerRead,
        Self::Private,
        Self::AuthenticatedRead,
        Self::AwsExecRead,
        Self::PublicRead,
        Self::PublicReadWrite,
    ];

    /// What a request carries; `None` where it carries no ACL.
    pub fn header(self) -> Option<&'static str> {
        (self != Self::None).then(|| self.as_str())
    }

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::Private => "private",
            Self::AuthenticatedRead => "authenticated-read",
            Self::AwsExecRead => "aws-exec-read",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
        }
    }
}

/// How S3 encrypts what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are Amazon's words")]
pub enum Sse {
    Aes256,
    Kms,
    KmsDsse,
}

impl Sse {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aes256, Self::Kms, Self::KmsDsse];

    /// As requests and people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
            Self::KmsDsse => "aws:kms:dsse",
        }
    }
}

/// Where modes, owners and times come from, which listings do not carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeSource {
    /// From the object itself, unless the first ones of a directory say nothing.
    Auto,
    /// Always from the object itself.
    Exact,
    /// Never: size and time as listed.
    Listing,
}

impl AttributeSource {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Exact, Self::Listing];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Exact => "exact",
            Self::Listing => "listing",
        }
    }
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// Also what a watchful administrator wants to know.
    Info,
    /// Also each operation.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All of them, quietest first.
    pub const ALL: [Self; 4] = [Self::Error, Self::Info, Self::Debug, Self::Trace];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// The terminal.
    Stderr,
    /// A file, which is appended to.
    File(PathBuf),
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct CommandLine {
    /// The mount point, as written.
    pub mount_point: Option<Written>,
    /// The configuration file, as written.
    pub config: Option<Written>,
    /// The flags and mount options.
    pub flags: Layer,
}

impl CommandLine {
    /// All sources in their order, this one on top.
    fn over<'a>(
        &'a self,
        variables: &'a Layer,
        table: Option<&'a file::MountTable>,
        file: &'a ConfigFile,
    ) -> Layers<'a> {
        let mount = table.map(|table| &table.layer);
        Layers { flags: &self.flags, variables, bucket: None, mount, defaults: &file.defaults }
    }
}

/// Brings all sources together.
///
/// # Errors
/// Whatever is wrong with what was written, at the place where it was written.
pub fn load(command_line: &CommandLine, around: &Surroundings) -> Result<Settings, Failure> {
    let variables = Layer::of_environment(around)?;
    let file = read_file(command_line, around)?;
    let wanted = command_line.mount_point.as_ref().ok_or_else(|| which_mount_point(&file))?;
    let mount_point = real_path(around.absolute(&wanted.text));
    let table = table_of(&file, &mount_point, around)?;
    let layers = command_line.over(&variables, table, &file);
    let origin = Origin::of(command_line, around, file.path.clone());
    let settings = settle::settle(mount_point, layers, &file, table, around)?;
    Ok(Settings { origin, ..settings })
}

/// Where the files of a mount wait while they are written, whether or not it could be mounted.
///
/// # Errors
/// Whatever is wrong with what was written about that.
pub fn staging_dir(command_line: &CommandLine, around: &Surroundings) -> Result<PathBuf, Failure> {
    let variables = Layer::of_environment(around)?;
    let file = read_file(command_line, around)?;
    let wanted = command_line.mount_point.as_ref().ok_or_else(|| which_mount_point(&file))?;
    let mount_point = real_path(around.absolute(&wanted.text));
    let table = table_of(&file, &mount_point, around)?;
    settle::staging_dir(&mount_point, command_line.over(&variables, table, &file), around)
}

/// Brings together what was said about whose right is used, whether or not there is anything to
/// mount. With a mount point, what the file says about it counts.
///
/// # Errors
/// Whatever is wrong with what was written, at the place where it was written.
pub fn load_identity(command_line: &CommandLine, around: &Surroundings) -> Result<Identity, Failure> {
    let variables = Layer::of_environment(around)?;
    let file = read_file(command_line, around)?;
    let mount_point = command_line.mount_point.as_ref().map(|path| real_path(around.absolute(&path.text)));
    let table = mount_point.map(|mount_point| table_of(&file, &mount_point, around)).transpose()?.flatten();
    let layers = command_line.over(&variables, table, &file);
    identity::settle(layers, around)
}

/// The file that is named, or else the first that exists of the usual ones.
fn read_file(command_line: &CommandLine, around: &Surroundings) -> Result<ConfigFile, Failure> {
    let variable = around.variable(CONFIG_VARIABLE);
    let variable = variable.map(|text| Written::new(text, Place::Variable(CONFIG_VARIABLE.to_owned())));
    if let Some(named) = command_line.config.clone().or(variable) {
        let path = around.absolute(&named.text);
        return if path.exists() {
            ConfigFile::read(&path)
        } else {
            let path = path.display();
            Err(Failure::new(format!("there is no configuration file {path}")).at(named.place))
        };
    }
    let usual = usual_files(around).into_iter().find(|path| path.exists());
    usual.map_or_else(|| Ok(ConfigFile::default()), |path| ConfigFile::read(&path))
}

/// Where a configuration file is looked for, the user's own before the machine's.
pub fn usual_files(around: &Surroundings) -> Vec<PathBuf> {
    let own = around.xdg_dir("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("s3xmount/config.toml"));
    own.into_iter().chain([PathBuf::from("/etc/s3xmount/config.toml")]).collect()
}

/// The table of the file that is about this mount point.
fn table_of<'f>(
    file: &'f ConfigFile,
    mount_point: &Path,
    around: &Surroundings,
) -> Result<Option<&'f file::MountTable>, Failure> {
    let mut tables = file.mounts.iter().filter(|table| {
        let path = around.absolute(&table.path.text);
        path == mount_point || real_path(path) == mount_point
    });
    let first = tables.next();
    match tables.next() {
        None => Ok(first),
        Some(second) => Err(Failure::new(format!("the mount point '{}' has two tables", second.path.text))
            .at(second.path.place.clone())
            .hint("put everything about it into one [[mount]] table")),
    }
}

/// The path without links, as far as it exists.
fn real_path(path: PathBuf) -> PathBuf {
    std::fs::canonicalize(&path).unwrap_or(path)
}

fn which_mount_point(file: &ConfigFile) -> Failure {
    let failure = Failure::new("which mount point?").at(Place::Argument("MOUNTPOINT"));
    match &file.path {
        Some(path) if !file.mounts.is_empty() => {
            failure.hint(format!("{} describes {}", path.display(), mount_points(file)))
        }
        _ => failure.hint(SHORTEST_COMMAND),
    }
}

/// The mount points of a file, as a list for people.
fn mount_points(file: &ConfigFile) -> String {
    file.mounts.iter().map(|mount| mount.path.text.as_str()).collect::<Vec<_>>().join(", ")
}

/// Names the configuration file.
pub const CONFIG_VARIABLE: &str = "S3XMOUNT_CONFIG";

/// What to type when there is no configuration at all.
const SHORTEST_COMMAND: &str = "the shortest command that works is\n\
    s3xmount --role-arn arn:aws:iam::111122223333:role/assumed-accountb-role --bucket SampleBucketA /mnt/accountb\n\
    and `s3xmount demo DIRECTORY` shows everything without an AWS account";

#[cfg(test)]
mod tests;
