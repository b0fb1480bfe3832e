//! Every setting of a mount, declared once.
//!
//! One row here makes the flag `--some-name`, the variable `S3XMOUNT_SOME_NAME`, the mount option
//! `some-name=` and the key `some_name` of the configuration file, with one help text for all of
//! them. What the values mean is said in [`settle`](super::settle), which asks for them by [`Key`].
//! There is no row for a secret: secrets come from where the AWS tools keep them.

/// Names a setting within this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described by its row in the table below")]
pub enum Key {
    Bucket,
    Directories,
    RoleArn,
    RoleSessionName,
    Duration,
    ExternalId,
    SourceIdentity,
    SessionTag,
    TransitiveTag,
    SessionPolicy,
    PolicyArn,
    MfaSerial,
    MfaCommand,
    Profile,
    OnRevoked,
    Wait,
    Region,
    EndpointUrl,
    StsEndpointUrl,
    ForcePathStyle,
    Dualstack,
    Fips,
    Accelerate,
    Acl,
    ExpectedBucketOwner,
    StorageClass,
    Sse,
    SseKmsKeyId,
    SseCustomerKeyFile,
    RequesterPays,
    ReadOnly,
    AllowOther,
    NoExec,
    Uid,
    Gid,
    FileMode,
    DirMode,
    Attributes,
    MetadataTtl,
    NegativeTtl,
    Commit,
    OnConflict,
    ExclusiveCreate,
    Memory,
    Cache,
    CacheSize,
    StagingDir,
    StagingSize,
    Foreground,
    LogLevel,
    LogFile,
}

/// How often a setting may be given, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Yes or no; the bare flag means yes.
    Switch,
    /// One value.
    One,
    /// Any number of values, whose order counts.
    Many,
}

/// The narrowest thing a setting can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A whole mount.
    Mount,
    /// One bucket: it may also stand in a `[[mount.bucket]]` table.
    Bucket,
}

/// The heading in `--help` under which a setting is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the titles say it")]
pub enum Group {
    Buckets,
    Credentials,
    Service,
    Objects,
    Files,
    Writing,
    Resources,
    Process,
}

impl Group {
    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Buckets => "What is mounted",
            Self::Credentials => "Whose right is used",
            Self::Service => "Where S3 is",
            Self::Objects => "What every written object carries",
            Self::Files => "How files look and who may use them",
            Self::Writing => "When what is written is in S3",
            Self::Resources => "Caches, memory and disk",
            Self::Process => "The process",
        }
    }
}

/// A setting as the outside knows it.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name within this program.
    pub key: Key,
    /// Its long flag without the dashes.
    pub name: &'static str,
    /// How often it may be given.
    pub shape: Shape,
    /// The narrowest thing it can be about.
    pub scope: Scope,
    /// What stands for its value in help texts.
    pub value: &'static str,
    /// Where help shows it.
    pub group: Group,
    /// What holds when nobody says anything; empty where there is nothing to say.
    pub default: &'static str,
    /// What it does, in a sentence or two.
    pub help: &'static str,
}

impl Spec {
    /// The flag: `--role-arn`.
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// The environment variable: `S3XMOUNT_ROLE_ARN`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The key in the configuration file: `role_arn`; lists have a plural name where one reads better.
    pub fn file_key(&self) -> String {
        match self.key {
            Key::Bucket => "buckets".to_owned(),
            _ => self.name.replace('-', "_"),
        }
    }
}

impl Key {
    /// The row of this setting.
    pub fn spec(self) -> &'static Spec {
        OPTIONS.iter().find(|spec| spec.key == self).expect("each key has a row, as a test shows")
    }
}

/// Finds a setting by its flag's name, with dashes or underscores.
pub fn by_name(name: &str) -> Option<&'static Spec> {
    let name = name.replace('_', "-");
    OPTIONS.iter().find(|spec| spec.name == name)
}

/// What all our variables begin with.
pub const VARIABLE_PREFIX: &str = "S3XMOUNT_";

use Group::{Buckets, Credentials, Files, Objects, Process, Resources, Service, Writing};
use Scope::{Bucket, Mount};
use Shape::{Many, One, Switch};

macro_rules! table {
    ($($key:ident $name:literal $shape:ident $value:literal $scope:ident $group:ident $default:literal $help:literal)*) => {
        &[$(Spec {
            key: Key::$key, name: $name, shape: $shape, scope: $scope, value: $value, group: $group,
            default: $default, help: $help,
        }),*]
    };
}

/// All settings, in the order in which help shows them.
#[rustfmt::skip]
pub const OPTIONS: &[Spec] = table! {
    Bucket "bucket" Many "DIRECTORY=BUCKET[/PREFIX]" Mount Buckets ""
        "Shows BUCKET, or what lies below PREFIX in it, as DIRECTORY under the mount point. Repeatable. `--bucket BUCKET` gives the directory the bucket's name"
    Directories "directories" Many "PATH" Bucket Buckets ""
        "Directories that are there whatever S3 says, as paths below what is shown of the bucket, for buckets that may not be listed: there a directory without a marker object cannot be seen. Those that lead to one are there too. Repeatable"
    RoleArn "role-arn" Many "ARN" Bucket Credentials "the base identity itself is used"
        "The role to assume. Repeatable: each role is assumed with the session of the one before it"
    RoleSessionName "role-session-name" One "NAME" Bucket Credentials "s3xmount-{user}-{host}"
        "The name of the role session, which the other account's audit log shows; {user}, {host} and {date} are filled in"
    Duration "duration" One "TIME" Bucket Credentials "1h"
        "How long a role session lives before it is renewed, 15m to 12h; less only with --sts-endpoint-url"
    ExternalId "external-id" One "ID" Bucket Credentials ""
        "The external id that the last role's trust policy asks for"
    SourceIdentity "source-identity" One "NAME" Bucket Credentials ""
        "The source identity, which is set with the first role and stays with every session of the chain"
    SessionTag "session-tag" Many "KEY=VALUE" Bucket Credentials ""
        "A tag of the last role's session. Repeatable"
    TransitiveTag "transitive-tag" Many "KEY=VALUE" Bucket Credentials ""
        "A tag of the first role's session that stays with every session of the chain. Repeatable"
    SessionPolicy "session-policy" One "POLICY" Bucket Credentials "auto; none with --policy-arn"
        "What bounds the last role's session further: `auto` allows just what this mount does in its buckets and prefixes, reading only where it is mounted read-only; `none`; or a FILE with a policy document"
    PolicyArn "policy-arn" Many "ARN" Bucket Credentials ""
        "A managed policy that bounds the last role's session. Repeatable"
    MfaSerial "mfa-serial" One "SERIAL" Bucket Credentials ""
        "The MFA device whose code the first role's trust policy asks for. The code is asked for on the terminal; later ones are handed over with `s3xmount login`"
    MfaCommand "mfa-command" One "COMMAND" Bucket Credentials ""
        "A command of the shell that prints the device's present code, so that nobody is asked for it"
    Profile "profile" One "NAME" Bucket Credentials "as the AWS tools choose it"
        "The profile in ~/.aws that the base identity comes from; if it names a role itself, that is assumed first"
    OnRevoked "on-revoked" One "WHAT" Mount Credentials "reassume"
        "What follows when a session that worked is denied what it could do, as after its revocation: `reassume` the role once, or `fail`"
    Wait "wait" Switch "" Mount Credentials ""
        "Waits at the start until STS answers, instead of giving up after a few attempts"
    Region "region" One "REGION" Bucket Service "that of the profile or of AWS_REGION"
        "The region of STS, and where the search for a bucket's own region begins. For a single bucket in the configuration file: its region, which then is not searched for"
    EndpointUrl "endpoint-url" One "URL" Mount Service "that of AWS"
        "Where S3 answers, for servers other than AWS"
    StsEndpointUrl "sts-endpoint-url" One "URL" Mount Service "that of AWS in the region"
        "Where STS answers"
    ForcePathStyle "force-path-style" Switch "" Mount Service ""
        "Puts the bucket's name into the path of a request and not into the host name"
    Dualstack "dualstack" Switch "" Mount Service "as AWS_USE_DUALSTACK_ENDPOINT says"
        "Uses the endpoints of S3 and STS that also answer over IPv6"
    Fips "fips" Switch "" Mount Service "as AWS_USE_FIPS_ENDPOINT says"
        "Uses the endpoints of S3 and STS whose cryptography is validated under FIPS 140"
    Accelerate "accelerate" Switch "" Bucket Service ""
        "Sends through the nearest entrance to AWS's own network (S3 Transfer Acceleration), for buckets that have it enabled"
    Acl "acl" One "ACL" Bucket Objects "bucket-owner-full-control"
        "The canned ACL sent with every object, or `none`"
    ExpectedBucketOwner "expected-bucket-owner" One "ACCOUNT" Bucket Objects ""
        "Refuses the bucket unless it belongs to this account of 12 digits"
    StorageClass "storage-class" One "CLASS" Bucket Objects "that of S3: STANDARD"
        "The storage class of written objects, such as STANDARD_IA"
    Sse "sse" One "ALGORITHM" Bucket Objects "that of the bucket"
        "Encryption by the server: AES256, aws:kms or aws:kms:dsse"
    SseKmsKeyId "sse-kms-key-id" One "ARN" Bucket Objects "that of the bucket"
        "The key for aws:kms and aws:kms:dsse; across accounts this must be a full ARN"
    SseCustomerKeyFile "sse-customer-key-file" One "FILE" Bucket Objects ""
        "A file with an encryption key of your own, 32 bytes as they are or in base64, which S3 uses and does not keep (SSE-C). Without that key nobody can read the objects again"
    RequesterPays "requester-pays" Switch "" Bucket Objects ""
        "Agrees to pay for requests, for buckets that demand it"
    ReadOnly "read-only" Switch "" Bucket Files ""
        "Refuses every change"
    AllowOther "allow-other" Switch "" Mount Files ""
        "Lets other users of this machine in; file modes decide what each may do"
    NoExec "no-exec" Switch "" Mount Files ""
        "Refuses to run programs that lie in the mount"
    Uid "uid" One "NUMBER" Mount Files "yours"
        "The owner of files that do not name one themselves"
    Gid "gid" One "NUMBER" Mount Files "yours"
        "The group of files that do not name one themselves"
    FileMode "file-mode" One "OCTAL" Mount Files "0644"
        "The mode of files that do not name one themselves"
    DirMode "dir-mode" One "OCTAL" Mount Files "0755"
        "The mode of directories that do not name one themselves"
    Attributes "attributes" One "SOURCE" Mount Files "auto"
        "Where modes, owners and times come from: `exact` asks S3 for each file's own, `listing` never does and shows what a listing tells, `auto` asks where the first files of a directory have any"
    MetadataTtl "metadata-ttl" One "TIME" Mount Resources "1m"
        "How long names, sizes and times may be out of date after someone else changed the bucket; what `open` sees is no older than half a second"
    NegativeTtl "negative-ttl" One "TIME" Mount Resources "5s"
        "How long a name that was not there may be taken as still absent"
    Commit "commit" One "WHEN" Mount Writing "close"
        "What closing a written file waits for: `close` until S3 has it; `background` until this machine's disk has it, and the upload follows, also after a crash. fsync waits for S3 either way"
    OnConflict "on-conflict" One "WHAT" Mount Writing "fail"
        "What becomes of a file that builds on a version which somebody else has replaced meanwhile: closing it may `fail` (ESTALE) and its bytes are set aside; it may `overwrite` the other; or `keep-both`, ours as NAME.conflict-HOST-TIME beside it"
    ExclusiveCreate "exclusive-create" One "WHEN" Mount Writing "close"
        "When a file created with O_EXCL takes its name in S3: with its content, so that the second of two hears EEXIST as it `close`s, or by an empty object at `open`, as lock files want it"
    Memory "memory" One "BYTES" Mount Resources "512MiB, or a quarter of the cgroup's limit if that is less"
        "What all buffers may take together"
    Cache "cache" One "DIRECTORY" Mount Resources ""
        "Keeps what was read in this directory, for this mount, later ones and others of this user; without it, nothing is kept beyond memory"
    CacheSize "cache-size" One "BYTES" Mount Resources "10GiB"
        "What the cache may take on the disk, of which a twentieth (16 GiB at most) stays free in any case"
    StagingDir "staging-dir" One "DIRECTORY" Mount Resources "$XDG_STATE_HOME/s3xmount, ~/.local/state/s3xmount, for root /var/lib/s3xmount"
        "Where files wait on this machine while they are written; each mount keeps a folder of its own in it"
    StagingSize "staging-size" One "BYTES" Mount Resources "16GiB"
        "What large files may take there while they stream; above it, parts that S3 has make room, all but the first of each file"
    Foreground "foreground" Switch "" Mount Process ""
        "Stays in the foreground and logs to the terminal"
    LogLevel "log-level" One "LEVEL" Mount Process "info"
        "What is logged: error, info, debug or trace. -q and -v are short for it"
    LogFile "log-file" One "FILE" Mount Process "the terminal in the foreground, else `log` in the mount's staging folder"
        "Where log lines go"
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_setting_has_one_row_and_one_spelling() {
        let keys: BTreeSet<Key> = OPTIONS.iter().map(|spec| spec.key).collect();
        let names: BTreeSet<&str> = OPTIONS.iter().map(|spec| spec.name).collect();
        assert_eq!((keys.len(), names.len()), (OPTIONS.len(), OPTIONS.len()));
        assert_eq!(OPTIONS.len(), Key::LogFile as usize + 1, "LogFile is the last key");
    }

    #[test]
    fn a_name_leads_to_all_spellings() {
        let spec = by_name("role_arn").map(|spec| (spec.flag(), spec.variable(), spec.file_key()));
        let expected = ("--role-arn".into(), "S3XMOUNT_ROLE_ARN".into(), "role_arn".into());
        assert_eq!(spec, Some(expected));
    }
}
