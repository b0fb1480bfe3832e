//! The rules of the house, held against the sources: who may import whom, and what every file owes its reader.
//!
//! The tables are those of the architecture document as the code has them. Changing a rule means
//! changing its table here, in the same commit, with the reason.
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a module may import of the others, beside itself.
const IMPORTS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("clock", &[]),
    ("budget", &[]),
    ("task", &[]),
    ("sys", &[]),
    ("secret", &[]),
    ("name", &["error"]),
    ("s3", BASE),
    ("credentials", BASE),
    ("config", BASE),
    ("policy", &["error", "name", "config"]),
    // `config` for the surroundings, the table of mounts and the failures that people read.
    ("control", &["task", "clock", "sys", "secret", "config"]),
    ("namespace", BASE_AND_S3),
    ("read", BASE_AND_S3),
    ("write", BASE_AND_S3),
    ("fs", &["error", "name", "budget", "task", "clock", "sys", "s3", "namespace", "read", "write"]),
    // `read` and `namespace` for the types in which `fs` answers: bytes, and inode numbers.
    ("fuse", &["error", "name", "budget", "task", "clock", "sys", "fs", "read", "namespace"]),
    // The emulator is a second statement of how S3 behaves; nothing of ours may leak into it.
    ("emulator", &[]),
];

const BASE: &[&str] = &["error", "name", "budget", "task", "clock", "secret", "sys"];
const BASE_AND_S3: &[&str] = &["error", "name", "budget", "task", "clock", "secret", "sys", "s3"];

/// Modules above all others, which may import any of them, but for the emulator.
/// `doctor` builds credentials and gateways as the daemon does.
const ON_TOP: &[&str] = &["daemon", "doctor", "cli", "lib", "main"];

/// Where alone a package may be named.
const PACKAGES: &[(&str, &[&str])] = &[
    ("aws_sdk_s3", &["s3/"]),
    ("aws_sdk_sts", &["credentials/"]),
    ("aws_config", &["credentials/"]),
    ("fuser", &["fuse/"]),
    ("clap", &["cli/"]),
    ("moka", &["namespace/cache.rs", "fs/special.rs", "fs/written.rs"]),
    ("libc", &["sys.rs"]),
    ("s3s", &["emulator/"]),
    ("hyper", &["emulator/"]),
    ("toml", &["config/"]),
    ("zeroize", &["secret.rs"]),
];

/// A source file without its tests, and its code without comments and strings.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    /// The module at the top that it belongs to.
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }

    /// The names that follow `before` in the code, those of a group in braces included.
    fn names_after(&self, before: &str) -> BTreeSet<String> {
        let rests = self.code.match_indices(before).map(|(at, _)| (at, &self.code[at + before.len()..]));
        let begins =
            |at: usize| !self.code[..at].ends_with(|c: char| c.is_alphanumeric() || "_$:".contains(c));
        rests.filter(|(at, _)| begins(*at)).flat_map(|(_, rest)| first_names(rest)).collect()
    }
}

/// `a::b` begins with `a`, and `{a::b, c}` with `a` and `c`.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut names, mut depth) = (vec![name(group)], 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// All files below a folder, with their paths from there.
fn files_below(folder: &str) -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push((path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), path)),
            }
        }
    }
    files.retain(|(name, _)| name.ends_with(".rs"));
    files.sort();
    files
}

/// The product's sources. Tests may import what they like: they stand above all modules.
fn sources() -> Vec<Source> {
    let is_test = |path: &str| path.ends_with("tests.rs") || path.contains("/tests/");
    let files = files_below("src").into_iter().filter(|(path, _)| !is_test(path));
    files
        .map(|(path, at)| {
            let text = fs::read_to_string(at).unwrap();
            let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code =
                product.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
            Source { path, code, text }
        })
        .collect()
}

#[test]
fn modules_import_what_is_below_them() {
    let modules: BTreeSet<&str> =
        IMPORTS.iter().map(|(module, _)| *module).chain(ON_TOP.iter().copied()).collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let allowed =
            IMPORTS.iter().find(|(module, _)| *module == source.module()).map(|(_, allowed)| *allowed);
        assert!(modules.contains(source.module()), "{} is of no module in the table", source.path);
        for name in source.names_after("crate::") {
            let is_fine = match allowed {
                _ if name == source.module() || !modules.contains(name.as_str()) => true,
                Some(allowed) => allowed.contains(&name.as_str()),
                None => name != "emulator" || source.path.starts_with("cli/demo/"),
            };
            if !is_fine {
                wrong.push(format!("{} imports {name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_package_has_its_place() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (package, places) in PACKAGES {
            let is_named = source.code.match_indices(&format!("{package}::")).any(|(at, _)| {
                !source.code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c))
            });
            if is_named && !places.iter().any(|place| source.path.starts_with(place)) {
                wrong.push(format!("{} names {package}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    for folder in ["src", "tests"] {
        for (path, at) in files_below(folder) {
            assert!(fs::read_to_string(at).unwrap().starts_with("//! "), "{folder}/{path}");
        }
    }
}

#[test]
fn only_the_command_line_prints() {
    for source in sources().iter().filter(|source| !source.path.starts_with("cli/")) {
        for printer in ["println!", "print!", "dbg!"] {
            assert!(!source.code.contains(printer), "{} has {printer}", source.path);
        }
    }
}

#[test]
fn unsafe_code_is_in_one_place() {
    for source in sources().iter().filter(|source| source.path != "sys.rs") {
        assert!(!source.text.contains("unsafe {") && !source.text.contains("unsafe fn"), "{}", source.path);
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let main = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/main.rs")).unwrap();
    for (path, _) in files_below("tests").iter().filter(|(path, _)| path != "main.rs" && !path.contains('/'))
    {
        let line = format!("mod {};\n", path.trim_end_matches(".rs"));
        assert!(main.contains(&line), "tests/main.rs lacks: {line}");
    }
}

#[test]
fn the_rules_find_what_they_look_for() {
    let source = |path: &str, code: &str| Source { path: path.into(), text: code.into(), code: code.into() };
    let sample = source(
        "read/x.rs",
        "use crate::{a::{b, c}, d};\npub(in crate::e) crate::f::g();\n$crate::h; xcrate::i",
    );
    assert_eq!(sample.names_after("crate::"), ["a", "d", "e", "f"].map(str::to_owned).into());
    assert!(sources().len() > 50);
}
