//! What the command says to people: help, refusals, failures, and its exit codes.
#![expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]

use std::path::Path;
use std::process::{Command, Output};

use s3xmount::config::options::{OPTIONS, Scope, Spec};
use s3xmount::config::{CommandLine, Place, Surroundings, Written};

/// The command in an environment where nobody has configured anything.
fn s3xmount(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3xmount"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").current_dir(home);
    command
}

fn run(home: &Path, line: &str) -> Output {
    s3xmount(home).args(line.split_whitespace()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_and_version_are_no_failures() {
    let home = tempfile::tempdir().unwrap();
    for (line, expected) in [
        ("--help", "Where settings come from:"),
        ("-h", "Usage: s3xmount"),
        ("mount --help", "--role-arn <ARN>"),
        ("--version", concat!("s3xmount ", env!("CARGO_PKG_VERSION"))),
    ] {
        let output = run(home.path(), line);
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert!(text(&output.stdout).contains(expected), "{line}: {}", text(&output.stdout));
        assert!(output.stderr.is_empty(), "{line}");
    }
}

/// A line that is refused, and what the refusal contains.
const REFUSED: &[(&str, &[&str])] = &[
    ("", &["which mount point?", "at: the argument MOUNTPOINT", "--bucket SampleBucketA"]),
    ("empty", &["there is no bucket to mount at", "hint: the shortest command that works"]),
    (
        "missing --bucket aaa",
        &["does not exist", "at: the argument MOUNTPOINT", "hint: make it first: mkdir -p"],
    ),
    ("file --bucket aaa", &["is not a directory"]),
    ("full --bucket aaa", &["is not empty", "hint: a mount would hide"]),
    ("/proc --bucket aaa", &["something is mounted at /proc already", "hint: end it first: umount /proc"]),
    ("empty --bucket aaa --bucket aaa", &["the bucket 'aaa' is named twice", "at: --bucket"]),
    ("empty --bucket x=aaa --bucket x=bbb", &["the directory 'x' is named twice", "at: --bucket"]),
    (
        "empty --bucket aaa --role-arn arn:aws:iam::1:role/x",
        &["12 digits", "at: --role-arn", "hint: it looks like"],
    ),
    ("empty --bucket aaa -o role_arn=x", &["not the ARN of a role", "at: -o role_arn"]),
    ("empty --bucket aaa -o xyzzy", &["no mount option 'xyzzy'", "at: -o xyzzy"]),
    ("empty --bucket aaa --rol-arn x", &["there is no flag --rol-arn", "hint: did you mean --role-arn?"]),
    ("empty --bucket aaa -v -q", &["log-level is given twice"]),
    ("empty --config none.toml", &["there is no configuration file", "at: --config"]),
    (
        "empty --config bad.toml",
        &["unknown key 'rol_arn' in [[mount]]", "bad.toml:3", "hint: did you mean 'role_arn'?"],
    ),
    ("empty --config broken.toml", &["is not TOML", "broken.toml:2"]),
    (
        "empty --config nobuckets.toml",
        &["there is no bucket to mount", "nobuckets.toml:2", "hint: add: buckets"],
    ),
    ("empty --bucket aaa --log-file missing/log", &["the log file", "cannot be written", "--log-file"]),
];

#[test]
fn what_cannot_be_mounted_is_refused_with_place_hint_and_code_2() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    std::fs::create_dir(at("empty")).unwrap();
    std::fs::create_dir_all(at("full/inside")).unwrap();
    std::fs::write(at("file"), "").unwrap();
    let mount = format!("[[mount]]\npath = '{}'\n", at("empty").display());
    std::fs::write(at("bad.toml"), format!("{mount}rol_arn = 'x'\n")).unwrap();
    std::fs::write(at("broken.toml"), "\nregion = \n").unwrap();
    std::fs::write(at("nobuckets.toml"), &mount).unwrap();
    for (line, expected) in REFUSED {
        let output = run(home.path(), line);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {said}");
        assert!(said.starts_with("s3xmount: ") && output.stdout.is_empty(), "{line}: {said}");
        for part in *expected {
            assert!(said.contains(part), "'{line}' does not say '{part}': {said}");
        }
    }
}

#[test]
fn a_variable_is_named_where_it_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let run = |name: &str, value: &str| {
        let output = s3xmount(home.path()).args(["--bucket", "aaa", "."]).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    assert!(run("S3XMOUNT_DURATION", "8x").contains("at: S3XMOUNT_DURATION"));
    assert!(run("S3XMOUNT_READONLY", "1").contains("hint: did you mean S3XMOUNT_READ_ONLY?"));
}

#[test]
fn the_users_own_file_is_found() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join(".config/s3xmount/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(&config, "[[mount]]\npath = '/mnt/elsewhere'\nbuckets = ['aaa']\n").unwrap();
    let said = text(&run(home.path(), "").stderr);
    assert!(said.contains("config.toml describes /mnt/elsewhere"), "{said}");
}

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

#[test]
fn the_readme_lists_every_setting() {
    let row = |spec: &Spec| {
        let value = if spec.value.is_empty() { String::new() } else { format!(" {}", spec.value) };
        let mark = if spec.scope == Scope::Bucket { " ●" } else { "" };
        format!("| `--{}{value}`{mark} | {} | {} |\n", spec.name, spec.default, spec.help)
    };
    let table: String = OPTIONS.iter().map(row).collect();
    let expected = format!("| flag | default | what it does |\n| --- | --- | --- |\n{table}");
    let readme = readme();
    let begin = readme.find("in the code -->\n").unwrap() + "in the code -->\n".len();
    let end = readme.find("<!-- end of settings").unwrap();
    assert!(readme[begin..end] == expected, "the README's table should read:\n{expected}");
}

#[test]
fn the_readmes_configuration_is_one() {
    let readme = readme();
    let begin = readme.find("```toml\n").unwrap() + "```toml\n".len();
    let text = &readme[begin..begin + readme[begin..].find("```").unwrap()];
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config.toml");
    std::fs::write(&config, text).unwrap();
    for mount_point in ["/mnt/accountb", "/mnt/partner"] {
        let written = |text: &str| Some(Written::new(text, Place::Argument("test")));
        let line = CommandLine {
            mount_point: written(mount_point),
            config: written(config.to_str().unwrap()),
            ..CommandLine::default()
        };
        let settings = s3xmount::config::load(&line, &Surroundings::default());
        assert!(settings.is_ok(), "{settings:?}");
    }
}
