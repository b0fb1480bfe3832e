//! The cross-account story on real mounts, against an S3 and STS that we did not write.
//!
//! The emulator shares our beliefs about AWS; ministack has its own. It is one process for all tests,
//! with the accounts, roles and buckets that `foreign/accounts.py` makes. `foreign/server.py` says
//! what had to be repaired in it. The second pair of eyes is the AWS CLI in the hands of bob, who
//! owns the buckets. Where a test meets a departure from AWS, it says so. Two are everywhere: bucket
//! names are in lower case, since ministack takes no others, and role sessions may last seconds.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails here has found its fault, and one that is skipped says so"
)]

mod doctor;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use s3xmount::config::mount_point::is_mounted;
use serde_json::Value;

use crate::support::real::umount;

#[test]
fn with_every_grant_both_accounts_see_the_same_files() {
    let Some(foreign) = foreign() else { return };
    for (role, extra) in [("visitor", &[][..]), ("guarded", &["--external-id", "open-sesame"])] {
        let mount = Mount::new(foreign, role, &["admitting"], extra);
        let bucket = mount.bucket("admitting");
        assert_eq!(fs::read_to_string(bucket.join("letter.txt")).unwrap(), "from bob\n");

        let answer = format!("from {role}");
        fs::write(bucket.join(role), &answer).unwrap();
        assert_eq!(foreign.seen_by_bob("admitting", role), answer.as_bytes());
        fs::remove_file(bucket.join(role)).unwrap();
        let names: Vec<_> = fs::read_dir(bucket).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["letter.txt"]);
        mount.end();
    }
}

#[test]
fn without_trust_or_with_a_wrong_external_id_nothing_is_mounted() {
    let Some(foreign) = foreign() else { return };
    for (role, extra) in [
        ("distrustful", &[][..]),
        ("guarded", &[]),
        ("guarded", &["--external-id", "open-barley"]),
        ("nonexistent", &[]),
    ] {
        let home = Home::new();
        let output = home.s3xmount(foreign, role, &["admitting"], extra);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{role} {extra:?}: {said}");
        assert!(said.starts_with("s3xmount: ") && said.contains(&arn(role)), "{role} {extra:?}: {said}");
        assert!(said.contains("AccessDenied") && said.contains("hint: "), "{role} {extra:?}: {said}");
        assert!(!is_mounted(&home.mount_point()));
    }
}

#[test]
fn a_role_without_rights_of_its_own_is_refused_at_every_use() {
    let Some(foreign) = foreign() else { return };
    let mount = Mount::new(foreign, "powerless", &["admitting"], &[]);
    assert_every_use_is_refused(&mount.bucket("admitting"));
    mount.end();
}

#[test]
fn a_bucket_that_does_not_admit_the_role_is_refused_at_every_use_and_its_neighbour_is_not() {
    let Some(foreign) = foreign() else { return };
    let mount = Mount::new(foreign, "visitor", &["closed", "elsewhere", "admitting"], &[]);
    assert_every_use_is_refused(&mount.bucket("closed"));
    assert_every_use_is_refused(&mount.bucket("elsewhere"));
    assert_eq!(fs::read_to_string(mount.bucket("admitting").join("letter.txt")).unwrap(), "from bob\n");
    mount.end();
}

/// In no order that would matter: the directory, a file that exists, and one that is to be made.
fn assert_every_use_is_refused(bucket: &Path) {
    let listed = fs::read_dir(bucket).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    assert_eq!(listed.unwrap_err().kind(), ErrorKind::PermissionDenied);
    // S3 does not tell a stranger whether a key exists, and so neither do we: to him it is absent.
    let read = fs::read(bucket.join("letter.txt")).unwrap_err();
    assert!(matches!(read.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound), "{read}");
    let written = File::create_new(bucket.join("reply.txt")).and_then(|mut file| {
        file.write_all(b"from alice\n")?;
        file.sync_all()
    });
    assert_eq!(written.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[test]
fn a_bucket_that_demands_the_acl_takes_whatever_the_mount_writes() {
    let Some(foreign) = foreign() else { return };
    let large = noise(LARGE);
    let appended = [&large[..], b"and a little more"].concat();
    let mount = Mount::new(foreign, "visitor", &["demanding"], &[]);
    let bucket = mount.bucket("demanding");
    let at = |name: &str| bucket.join(name).into_os_string().into_string().unwrap();

    fs::write(at("small"), "a few bytes").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("large"), &large).unwrap();
    run("cp", &[&at("small"), &at("small-copied")]);
    run("cp", &[&at("large"), &at("large-copied")]);
    run("cp", &["-p", &at("small"), &at("small-moving")]);
    run("mv", &[&at("small-moving"), &at("small-moved")]);
    run("cp", &[&at("large"), &at("large-moving")]);
    run("mv", &[&at("large-moving"), &at("large-moved")]);
    run("cp", &[&at("large"), &at("large-appended")]);
    fs::OpenOptions::new()
        .append(true)
        .open(at("large-appended"))
        .unwrap()
        .write_all(b"and a little more")
        .unwrap();
    // Longer than two parts, so that it streams, behind what is copied; and an edit of the middle.
    run("cp", &[&at("large"), &at("large-extended")]);
    let mut file = fs::OpenOptions::new().append(true).open(at("large-extended")).unwrap();
    file.write_all(&large).unwrap();
    file.write_all(&large).unwrap();
    drop(file);
    let file = fs::OpenOptions::new().write(true).open(at("large-extended")).unwrap();
    file.write_all_at(b"edited", LARGE as u64).unwrap();
    drop(file);
    fs::write(at("overwritten"), "before").unwrap();
    fs::write(at("overwritten"), "after").unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/inner"), "in a folder").unwrap();
    fs::rename(at("folder"), at("folder-moved")).unwrap();
    fs::write(at("marked"), "executable").unwrap();
    fs::set_permissions(at("marked"), fs::Permissions::from_mode(0o755)).unwrap();
    mount.end();

    let extended = [&large[..], b"edited", &large[6..], &large[..]].concat();
    let expected: [(&str, &[u8]); 13] = [
        ("small", b"a few bytes"),
        ("empty", b""),
        ("large", &large),
        ("small-copied", b"a few bytes"),
        ("large-copied", &large),
        ("small-moved", b"a few bytes"),
        ("large-moved", &large),
        ("large-appended", &appended),
        ("large-extended", &extended),
        ("overwritten", b"after"),
        ("folder-moved/inner", b"in a folder"),
        ("marked", b"executable"),
        ("letter.txt", b"from bob\n"),
    ];
    let owned = foreign.all_seen_by_bob("demanding");
    for (key, content) in expected {
        let seen = fs::read(owned.path().join(key)).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert!(seen == content, "{key} has {} bytes, and other ones than were written", seen.len());
    }
    // ministack counts every object as the bucket owner's, whoever wrote it: on AWS the next lines
    // would tell an object with the ACL from one without, here they show that bob may ask.
    for key in ["small", "large", "small-copied", "large-moved"] {
        let acl = foreign.bob_json(&["s3api", "get-object-acl", "--bucket", "demanding", "--key", key]);
        assert_eq!(acl["Grants"][0]["Permission"], "FULL_CONTROL", "{key}: {acl}");
        assert_eq!(acl["Grants"][0]["Grantee"]["ID"], acl["Owner"]["ID"], "{key}: {acl}");
    }
    let marked = foreign.bob_json(&["s3api", "head-object", "--bucket", "demanding", "--key", "marked"]);
    assert_eq!(marked["Metadata"]["mode"], "33261", "{marked}");
}

#[test]
fn a_bucket_that_demands_the_acl_refuses_a_mount_that_sends_none() {
    let Some(foreign) = foreign() else { return };
    let mount = Mount::new(foreign, "visitor", &["demanding"], &["--acl", "none"]);
    for (name, content) in [("without-acl-small", &b"a few bytes"[..]), ("without-acl-large", &noise(LARGE))]
    {
        let written = File::create_new(mount.bucket("demanding").join(name)).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
        assert_eq!(written.unwrap_err().kind(), ErrorKind::PermissionDenied, "{name}");
    }
    mount.end();
}

/// ministack is the reason that this can be shown in seconds: AWS knows no role session under a quarter of an hour.
#[test]
fn a_job_outlives_the_sessions_it_works_under() {
    let Some(foreign) = foreign() else { return };
    let unrenewed = foreign.session_of_alice("visitor", 2 * SESSION);
    let look = ["s3api", "list-objects-v2", "--bucket", "working"];
    assert!(foreign.aws(&unrenewed, &look).status.success());
    let lifetime = format!("{}s", SESSION.as_secs());
    let mount = Mount::new(foreign, "visitor", &["working"], &["--duration", &lifetime, "-v"]);
    let folder = mount.bucket("working").join("job");
    fs::create_dir(&folder).unwrap();
    // Begun in the first session and finished in the last: an upload does not belong to one.
    let mut long = File::create_new(folder.join("long")).unwrap();
    let mut written = Vec::new();

    let deadline = Instant::now() + Duration::from_secs(60);
    let mut rounds = 0_usize;
    while mount.sessions() < SESSIONS {
        assert!(Instant::now() < deadline, "{} sessions only, in {rounds} rounds", mount.sessions());
        let (path, content) = (folder.join(format!("{}", rounds % 8)), noise(ROUND + rounds));
        fs::write(&path, &content).unwrap();
        assert!(read_past_the_page_cache(&path) == content, "round {rounds}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1 + 8.min(rounds + 1));
        if rounds.is_multiple_of(4) && written.len() < 3 * LARGE {
            long.write_all(&content).unwrap();
            written.extend_from_slice(&content);
        }
        rounds += 1;
    }
    long.sync_all().unwrap();
    drop(long);
    assert_eq!(mount.failures(), "", "after {rounds} rounds");
    mount.end();

    let seen = foreign.seen_by_bob("working", "job/long");
    assert!(seen == written, "{} bytes were written, bob sees {}", written.len(), seen.len());
    // Sessions did end meanwhile: twice as long a one that nobody renewed is good for nothing by now.
    let refusal = foreign.aws(&unrenewed, &look);
    let said = text(&refusal.stderr);
    // A session that ended long ago is one that ministack has never heard of.
    let is_over = said.contains("ExpiredToken") || said.contains("InvalidAccessKeyId");
    assert!(!refusal.status.success() && is_over, "{said}");
}

/// Alice assumes `relay`, and with its session `far`, which asks for an external id.
#[test]
fn a_chain_of_two_roles_is_walked_to_its_end() {
    let Some(foreign) = foreign() else { return };
    let (relay, far) = (arn("relay"), arn("far"));
    let through = ["--role-arn", &relay, "--role-arn", &far, "--external-id", "open-sesame"];
    let mount = Mount(Home::new());
    let output = mount.0.mount(foreign, &["admitting"], &through);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    fs::write(mount.bucket("admitting").join("from-afar"), "far").unwrap();
    assert_eq!(foreign.seen_by_bob("admitting", "from-afar"), b"far");
    fs::remove_file(mount.bucket("admitting").join("from-afar")).unwrap();
    mount.end();
    for flags in [&through[..4], &through[2..]] {
        let home = Home::new();
        let output = home.mount(foreign, &["admitting"], flags);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(&far), "{flags:?}: {said}");
    }
}

/// The shortest session that the AWS CLI may ask for, as the one that a mount exports and other tools use.
#[test]
fn other_tools_work_with_the_session_of_a_mount() {
    let Some(foreign) = foreign() else { return };
    let mount = Mount::new(foreign, "visitor", &["working"], &["--duration", "15m"]);
    let program = env!("CARGO_BIN_EXE_s3xmount");
    let process = format!("{program} credentials {} --format process", mount.0.mount_point().display());
    let listed = foreign.aws_with_process(&process, &["s3", "ls", "s3://working/"]);
    assert!(
        listed.status.success() && text(&listed.stdout).contains("letter.txt"),
        "{}",
        text(&listed.stderr)
    );
    let who = foreign.aws_with_process(&process, &["sts", "get-caller-identity"]);
    assert!(text(&who.stdout).contains("assumed-role/visitor/s3xmount-"), "{}", text(&who.stderr));
    let copied = foreign.aws_with_process(
        &process,
        &["s3", "cp", "--acl", "bucket-owner-full-control", "/etc/hostname", "s3://working/by-another-tool"],
    );
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    assert!(mount.bucket("working").join("by-another-tool").exists());
    fs::remove_file(mount.bucket("working").join("by-another-tool")).unwrap();
    // The session is that of this mount: what the role may do in other buckets, it may not.
    let beside = foreign.aws_with_process(&process, &["s3", "ls", "s3://admitting/"]);
    assert!(!beside.status.success(), "{}", text(&beside.stdout));
    mount.end();
}

/// The server refuses it, not the mount.
#[test]
fn the_session_of_a_mount_that_only_reads_is_refused_a_write_by_the_server() {
    let Some(foreign) = foreign() else { return };
    let mount = Mount::new(foreign, "visitor", &["working"], &["--read-only"]);
    let program = env!("CARGO_BIN_EXE_s3xmount");
    let process = format!("{program} credentials {} --format process", mount.0.mount_point().display());
    let read = foreign.aws_with_process(&process, &["s3", "cp", "s3://working/letter.txt", "-"]);
    assert_eq!(text(&read.stdout), "from bob\n", "{}", text(&read.stderr));
    for write in [
        &[
            "s3api",
            "put-object",
            "--bucket",
            "working",
            "--key",
            "x",
            "--body",
            "/etc/hostname",
            "--acl",
            "bucket-owner-full-control",
        ][..],
        &["s3api", "delete-object", "--bucket", "working", "--key", "letter.txt"],
    ] {
        let refused = foreign.aws_with_process(&process, write);
        assert!(
            !refused.status.success() && text(&refused.stderr).contains("AccessDenied"),
            "{write:?}: {}",
            text(&refused.stderr)
        );
    }
    mount.end();
}

/// The server, the accounts on it, and the tools to look at it with.
pub(crate) struct Foreign {
    venv: PathBuf,
    url: String,
    alice: Keys,
    bob: Keys,
    /// The server lives as long as this stays open, which is as long as this process lives.
    _server: (Child, ChildStdin),
}

struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Foreign {
    fn start(venv: PathBuf) -> Self {
        let mut server = Command::new(venv.join("bin/python"))
            .arg(source("server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = server.stdin.take().unwrap();
        let mut url = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "the server did not start: {url}");

        let accounts =
            Command::new(venv.join("bin/python")).arg(source("accounts.py")).arg(&url).output().unwrap();
        assert!(accounts.status.success(), "{}", text(&accounts.stderr));
        let keys: Value = serde_json::from_slice(&accounts.stdout).unwrap();
        let (alice, bob) = (Keys::of(&keys["alice"]), Keys::of(&keys["bob"]));
        Self { venv, url, alice, bob, _server: (server, stdin) }
    }

    /// One of the scripts beside this file, with a document on its standard input.
    fn python(&self, script: &str, args: &[&str], document: &Value) -> Vec<u8> {
        let mut command = Command::new(self.venv.join("bin/python"));
        command.arg(source(script)).arg(&self.url).args(args);
        let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // What it is handed fits into a pipe, and it reads all before it prints.
        running.stdin.take().unwrap().write_all(document.to_string().as_bytes()).unwrap();
        let output = running.wait_with_output().unwrap();
        assert!(output.status.success(), "{script} failed");
        output.stdout
    }

    /// The AWS CLI.
    fn aws(&self, keys: &Keys, args: &[&str]) -> Output {
        // The CLI would refuse a role session of a few seconds before it asked anybody.
        self.aws_configured("[default]\nparameter_validation = false\n", Some(keys), args)
    }

    /// The AWS CLI, with the keys that a command prints.
    fn aws_with_process(&self, process: &str, args: &[&str]) -> Output {
        self.aws_configured(&format!("[default]\ncredential_process = {process}\n"), None, args)
    }

    fn aws_configured(&self, config: &str, keys: Option<&Keys>, args: &[&str]) -> Output {
        let settings = tempfile::NamedTempFile::new().unwrap();
        fs::write(settings.path(), config).unwrap();
        let mut command = Command::new(self.venv.join("bin/aws"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("AWS_CONFIG_FILE", settings.path())
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION);
        if let Some(keys) = keys {
            command
                .env("AWS_ACCESS_KEY_ID", &keys.id)
                .env("AWS_SECRET_ACCESS_KEY", &keys.secret)
                .envs(keys.token.as_ref().map(|token| ("AWS_SESSION_TOKEN", token)));
        }
        command.args(["--output", "json"]).args(args).output().unwrap()
    }

    pub(crate) fn bob(&self, args: &[&str]) -> Vec<u8> {
        let output = self.aws(&self.bob, args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        output.stdout
    }

    fn bob_json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.bob(args)).unwrap()
    }

    pub(crate) fn seen_by_bob(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.bob(&["s3", "cp", "--quiet", &format!("s3://{bucket}/{key}"), "-"])
    }

    fn all_seen_by_bob(&self, bucket: &str) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        let to = copy.path().to_str().unwrap();
        self.bob(&["s3", "cp", "--quiet", "--recursive", &format!("s3://{bucket}"), to]);
        copy
    }

    fn session_of_alice(&self, role: &str, lifetime: Duration) -> Keys {
        let (arn, seconds) = (arn(role), lifetime.as_secs().to_string());
        let args = ["--role-arn", &arn, "--role-session-name", "unrenewed", "--duration-seconds", &seconds];
        let output = self.aws(&self.alice, &[&["sts", "assume-role"], &args[..]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let word = |name: &str| answer["Credentials"][name].as_str().unwrap().to_owned();
        Keys { id: word("AccessKeyId"), secret: word("SecretAccessKey"), token: Some(word("SessionToken")) }
    }
}

impl Keys {
    fn of(user: &Value) -> Self {
        let word = |name: &str| user[name].as_str().unwrap().to_owned();
        Self { id: word("id"), secret: word("secret"), token: None }
    }
}

/// The server that all tests share, or nothing, after saying why.
pub(crate) fn foreign() -> Option<&'static Foreign> {
    static FOREIGN: LazyLock<Option<Foreign>> =
        LazyLock::new(|| std::env::var_os("S3XMOUNT_TEST_VENV").map(PathBuf::from).map(Foreign::start));
    if let Err(error) = File::open("/dev/fuse") {
        eprintln!("skipped: /dev/fuse cannot be opened: {error}");
        return None;
    }
    if FOREIGN.is_none() {
        eprintln!("skipped: S3XMOUNT_TEST_VENV does not name a Python environment; scripts/test makes one");
    }
    FOREIGN.as_ref()
}

/// The home of alice, with a mount point. A mount that a failing test left behind is ended.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.mount_point()).unwrap();
        home
    }

    fn mount_point(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap().join("mnt")
    }

    fn log_file(&self) -> PathBuf {
        self.0.path().join("log")
    }

    fn s3xmount(&self, foreign: &Foreign, role: &str, buckets: &[&str], extra: &[&str]) -> Output {
        self.mount(foreign, buckets, &[&["--role-arn", &arn(role)], extra].concat())
    }

    fn mount(&self, foreign: &Foreign, buckets: &[&str], extra: &[&str]) -> Output {
        let buckets: Vec<&str> = buckets.iter().flat_map(|bucket| ["--bucket", bucket]).collect();
        self.command(foreign, &[&buckets, extra].concat()).output().unwrap()
    }

    /// The program with these arguments, beside those that lead to the server.
    fn command(&self, foreign: &Foreign, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3xmount"));
        command
            .args(args)
            .args(["--endpoint-url", &foreign.url, "--sts-endpoint-url", &foreign.url])
            .args(["--force-path-style", "--region", REGION])
            .arg("--staging-dir")
            .arg(self.0.path().join("staging"))
            .arg("--log-file")
            .arg(self.log_file())
            .arg(self.mount_point())
            .env_clear()
            .env("HOME", self.0.path())
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("AWS_ACCESS_KEY_ID", &foreign.alice.id)
            .env("AWS_SECRET_ACCESS_KEY", &foreign.alice.secret)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if is_mounted(&self.mount_point()) {
            umount(&self.mount_point(), &["-l"]);
        }
    }
}

/// A mount in the background.
pub(crate) struct Mount(Home);

impl Mount {
    pub(crate) fn new(foreign: &Foreign, role: &str, buckets: &[&str], extra: &[&str]) -> Self {
        let home = Home::new();
        let output = home.s3xmount(foreign, role, buckets, extra);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        Self(home)
    }

    pub(crate) fn bucket(&self, name: &str) -> PathBuf {
        self.0.mount_point().join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.0.log_file()).unwrap()
    }

    /// How many role sessions it has had. It tells of renewals with `-v` only.
    fn sessions(&self) -> usize {
        let log = self.log();
        log.matches("credentials obtained").count() + log.matches("credentials renewed").count()
    }

    /// What its log complains about.
    fn failures(&self) -> String {
        let complaint = |line: &&str| line.contains(" ERROR ") || line.contains("failed operation");
        self.log().lines().filter(complaint).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn end(self) {
        let mount_point = self.0.mount_point();
        assert!(umount(&mount_point, &[]), "{} is busy", mount_point.display());
        assert!(!is_mounted(&mount_point));
    }
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", text(&output.stderr));
}

/// Reads a file in a way that the kernel has to ask the mount for.
fn read_past_the_page_cache(path: &Path) -> Vec<u8> {
    let mut file = fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    content
}

/// Bytes that no two sizes have in common, and that no compression or sparse file would hide.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(bytes as u64);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}

fn arn(role: &str) -> String {
    format!("arn:aws:iam::111111111111:role/{role}")
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const REGION: &str = "us-east-1";

/// Two whole parts of 8 MiB and a piece: more than goes up in one request.
const LARGE: usize = (17 << 20) + 4321;

/// A file of the job.
const ROUND: usize = 100_000;

const SESSION: Duration = Duration::from_secs(5);

/// A session of this length is renewed about halfway: when there have been seven, three have ended.
const SESSIONS: usize = 7;
