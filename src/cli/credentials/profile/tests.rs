//! Files before and after, on a real disk.
#![expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]

use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

fn session(id: &str) -> Session {
    Session {
        access_key_id: id.to_owned(),
        secret_access_key: Secret::from("new/secret+=".to_owned()),
        session_token: Some(Secret::from("new-token".to_owned())),
        expiration: Some("2026-01-31T08:00:00Z".to_owned()),
        arn: None,
        region: None,
    }
}

fn name(text: &str) -> ProfileName {
    ProfileName::parse(text).unwrap()
}

/// The lines that stand for `session("ASIANEW")`.
const NEW: &str = "aws_access_key_id = ASIANEW\n\
    aws_secret_access_key = new/secret+=\n\
    aws_session_token = new-token\n\
    x_security_token_expires = 2026-01-31T08:00:00Z\n";

fn after(before: &[u8]) -> Result<Vec<u8>, Lost> {
    let session = session("ASIANEW");
    edit::with_profile(before, "role", &entries(&session).unwrap()).map(|text| text.bytes().to_vec())
}

/// Each text, and what becomes of it; `<NEW>` stands for the new lines.
const TABLE: &[(&str, &str, &str)] = &[
    ("an empty file", "", "[role]\n<NEW>"),
    ("no section", "[default]\na = b\n", "[default]\na = b\n\n[role]\n<NEW>"),
    ("an end without a line break", "[default]\na = b", "[default]\na = b\n\n[role]\n<NEW>"),
    ("a blank end", "[default]\na = b\n\n", "[default]\na = b\n\n[role]\n<NEW>"),
    (
        "an older session between others",
        "# mine\n[a]\nx = 1\n\n[role]\naws_access_key_id = OLD\naws_secret_access_key = s\naws_session_token = t\nx_security_token_expires = then\n\n# of b\n[b]\ny = 2\n",
        "# mine\n[a]\nx = 1\n\n[role]\n<NEW>\n# of b\n[b]\ny = 2\n",
    ),
    (
        "comments and other keys among it",
        "[role]\n# note\nregion = r\naws_access_key_id=OLD\n; more\naws_security_token:t\nAWS_Session_Token = t\noutput = json\n",
        "[role]\n# note\nregion = r\n<NEW>; more\noutput = json\n",
    ),
    (
        "a section without keys",
        "[role]\nregion = r\n\n[b]\naws_access_key_id = B\n",
        "[role]\n<NEW>region = r\n\n[b]\naws_access_key_id = B\n",
    ),
    ("a header at the very end", "[a]\n[role]", "[a]\n[role]\n<NEW>"),
    ("a header with spaces and a comment", "[ role ] # x\n", "[ role ] # x\n<NEW>"),
    (
        "names that are alike",
        "[role2]\n[Role]\n[profile role]\n",
        "[role2]\n[Role]\n[profile role]\n\n[role]\n<NEW>",
    ),
    (
        "a value of several lines",
        "[role]\naws_session_token = t\n  more\n\taws_access_key_id = of the token\ns3 =\n  x = y\n",
        "[role]\n<NEW>s3 =\n  x = y\n",
    ),
    ("keys of another section's value", "[a]\ns =\n  [role]\n", "[a]\ns =\n  [role]\n\n[role]\n<NEW>"),
    (
        "a section that comes twice",
        "[role]\nx=1\n[b]\n[role]\naws_session_token=t\n",
        "[role]\nx=1\n[b]\n[role]\n<NEW>",
    ),
    ("an indented section", "[role]\n  region = r\n", "[role]\n<INDENTED>  region = r\n"),
];

#[test]
fn all_stays_but_what_a_session_says() {
    let indented: String = NEW.split_inclusive('\n').map(|line| format!("  {line}")).collect();
    for (what, before, expected) in TABLE {
        for ending in ["\n", "\r\n"] {
            let expected =
                expected.replace("<NEW>", NEW).replace("<INDENTED>", &indented).replace('\n', ending);
            let before = before.replace('\n', ending);
            let found = String::from_utf8(after(before.as_bytes()).unwrap()).unwrap();
            // Without a line break there is nothing to tell its kind from.
            if before.contains('\n') || ending == "\n" {
                assert_eq!(found, expected, "{what}");
            }
            let again = String::from_utf8(after(found.as_bytes()).unwrap()).unwrap();
            assert_eq!(again, found, "{what}, once more");
        }
    }
}

#[test]
fn bytes_that_are_no_text_stay() {
    let before = b"# \xff\xfe\n[role]\nx = \x80\n";
    assert_eq!(after(before).unwrap(), [b"# \xff\xfe\n[role]\n", NEW.as_bytes(), b"x = \x80\n"].concat());
}

#[test]
fn keys_that_do_not_end_are_not_overwritten() {
    let table = [
        ("[role]\naws_access_key_id = AKIA\naws_secret_access_key = s\n", Err(Lost)),
        ("[role]\naws_access_key_id = AKIA\naws_session_token =\n", Err(Lost)),
        ("[role]\naws_access_key_id = ASIANEW\n", Ok(())),
        ("[role]\naws_access_key_id = OLD\naws_security_token = t\n", Ok(())),
        ("[other]\naws_access_key_id = AKIA\n", Ok(())),
    ];
    for (before, expected) in table {
        assert_eq!(after(before.as_bytes()).map(drop), expected, "{before}");
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// What is left in a directory beside the file.
fn names_in(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn a_missing_file_is_made_for_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".aws/credentials");
    write(&path, &name("role"), &session("ASIANEW")).unwrap();
    assert_eq!(read(&path), format!("[role]\n{NEW}"));
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(names_in(path.parent().unwrap()), ["credentials"]);
}

#[test]
fn a_file_that_others_could_read_is_closed_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    std::fs::write(&path, "[a]\n").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    write(&path, &name("role"), &session("ASIANEW")).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_link_stays_and_its_target_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("dotfiles")).unwrap();
    symlink("dotfiles/second", at("credentials")).unwrap();
    symlink("target", at("dotfiles/second")).unwrap();
    for _ in 0..2 {
        write(&at("credentials"), &name("role"), &session("ASIANEW")).unwrap();
        assert_eq!(read(&at("dotfiles/target")), format!("[role]\n{NEW}"));
        assert!(at("credentials").is_symlink() && at("dotfiles/second").is_symlink());
    }
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    assert!(write(dir.path(), &name("role"), &session("ASIANEW")).is_err());
    let message = write(Path::new("/dev/null"), &name("role"), &session("ASIANEW")).unwrap_err().message;
    assert!(message.contains("not a regular file"), "{message}");
}

#[test]
fn a_refusal_changes_nothing_and_tells_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    let before = "[role]\naws_access_key_id = AKIA\naws_secret_access_key = precious\n";
    std::fs::write(&path, before).unwrap();
    let failure = write(&path, &name("role"), &session("ASIANEW")).unwrap_err().to_string();
    assert!(failure.contains("would be lost") && !failure.contains("precious"), "{failure}");
    let session = Session { session_token: Some(Secret::from("t\n[x]".to_owned())), ..session("ASIANEW") };
    let failure = write(&path, &name("other"), &session).unwrap_err().to_string();
    assert!(failure.contains("aws_session_token cannot stand") && !failure.contains("[x]"), "{failure}");
    assert_eq!((read(&path).as_str(), names_in(dir.path())), (before, vec!["credentials".to_owned()]));
}

#[test]
fn writers_at_the_same_time_do_not_lose_each_others_profiles() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/credentials");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let path = &path;
            scope.spawn(move || {
                for round in 0..10 {
                    let (name, id) = (format!("p{writer}-{round}"), format!("ASIA{writer}{round}"));
                    write(path, &ProfileName(name), &session(&id)).unwrap();
                }
            });
        }
    });
    let text = read(&path);
    let headers = text.lines().filter(|line| line.starts_with("[p")).count();
    assert_eq!((headers, text.matches("aws_session_token").count()), (80, 80));
    assert_eq!(names_in(path.parent().unwrap()), ["credentials"]);
}

#[test]
fn names_that_tools_read_differently_are_refused() {
    for text in ["", " a", "a ", "a]", "[a", "a\nb", "a\u{7}", "a#b", "a;b"] {
        assert!(ProfileName::parse(text).is_err(), "{text:?}");
    }
    for text in ["default", "assumed-role", "a.b/c@d:e+f", "two words", "ü"] {
        assert_eq!(name(text).as_str(), text);
    }
}

#[test]
fn the_file_is_where_the_aws_tools_look() {
    let with = |variables: &[(&str, &str)]| Surroundings {
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        working_dir: "/srv".into(),
        ..Surroundings::default()
    };
    let home = ("HOME", "/home/alice");
    let table = [
        (with(&[home]), "/home/alice/.aws/credentials"),
        (with(&[home, (FILE_VARIABLE, "/x/y")]), "/x/y"),
        (with(&[home, (FILE_VARIABLE, "~/y")]), "/home/alice/y"),
        (with(&[home, (FILE_VARIABLE, "y")]), "/srv/y"),
        (with(&[home, (FILE_VARIABLE, "")]), "/home/alice/.aws/credentials"),
    ];
    for (around, expected) in table {
        assert_eq!(file(&around).unwrap(), Path::new(expected));
    }
    assert!(file(&with(&[])).is_err());
}

/// What the AWS CLI itself reads from the file, where it is installed.
#[test]
fn the_aws_cli_reads_the_profile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    std::fs::write(&path, "[default]\naws_access_key_id = AKIA\naws_secret_access_key = s\n").unwrap();
    write(&path, &name("role"), &session("ASIANEW")).unwrap();
    let read = |profile: &str, key: &str| {
        let mut aws = Command::new("aws");
        aws.args(["configure", "get", key, "--profile", profile]).env(FILE_VARIABLE, &path);
        let output = aws.env("AWS_CONFIG_FILE", "/dev/null").output().ok()?;
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    let table = [
        ("role", "aws_access_key_id", "ASIANEW"),
        ("role", "aws_secret_access_key", "new/secret+="),
        ("role", "aws_session_token", "new-token"),
        ("default", "aws_access_key_id", "AKIA"),
    ];
    for (profile, key, expected) in table {
        if let Some(found) = read(profile, key) {
            assert_eq!(found, expected, "{profile} {key}");
        }
    }
}
