//! What the process finds around itself: variables, user, host, limits.
//!
//! Read once at the start and passed on as a value. Nothing else looks at the environment, so
//! settings are a pure function of what was written and where this program runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::sys;

/// The outside world at the time of the start.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The environment, as far as it is UTF-8.
    pub variables: BTreeMap<String, String>,
    /// Where relative paths begin.
    pub working_dir: PathBuf,
    /// The name of the user, if it is known.
    pub user: Option<String>,
    /// The name of the machine, if it is known.
    pub host: Option<String>,
    /// Today in UTC, as `2026-01-31`.
    pub date: Option<String>,
    /// The user this process acts as.
    pub uid: u32,
    /// The group this process acts as.
    pub gid: u32,
    /// The most memory that our control groups let us have.
    pub memory_limit_bytes: Option<u64>,
}

impl Surroundings {
    /// Looks around.
    pub fn look() -> Self {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let (uid, gid) = sys::effective_ids();
        Self {
            user: variables
                .get("USER")
                .or_else(|| variables.get("LOGNAME"))
                .cloned()
                .or_else(|| user_name(uid)),
            host: read_trimmed(Path::new("/proc/sys/kernel/hostname")),
            date: Some(crate::clock::date(crate::clock::now())),
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            memory_limit_bytes: memory_limit(),
            variables,
            uid,
            gid,
        }
    }

    /// A variable that is set to something.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The folder of a kind that the XDG base directory specification names, or its default below the home directory.
    pub fn xdg_dir(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.variable(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| Some(Path::new(self.variable("HOME")?).join(below_home)))
    }

    /// The absolute form of a path as people write it: relative to where they are, `~/` is their home.
    pub fn absolute(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), self.variable("HOME")) {
            (Some(rest), Some(home)) => Path::new(home).join(rest),
            // `components` drops `.` and double slashes. `..` stays: before it may stand a link.
            _ => self.working_dir.join(text).components().collect(),
        }
    }
}

/// The name of a user by number, as the local table has it.
///
/// Directory services are not asked: the name only decorates the role session.
fn user_name(uid: u32) -> Option<String> {
    let table = std::fs::read_to_string("/etc/passwd").ok()?;
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The smallest limit on our way up the tree of control groups, of either version.
fn memory_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().filter_map(limit_of_group);
    limits.min()
}

/// The limit that one line of `/proc/self/cgroup` (`ID:CONTROLLERS:PATH`, cgroups(7)) leads to.
fn limit_of_group(line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (root, file) = match fields.next()? {
        "" => ("/sys/fs/cgroup", "memory.max"),
        controllers if controllers.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let group = Path::new(root).join(fields.next()?.trim_start_matches('/'));
    let above = group.ancestors().take_while(|path| path.starts_with(root));
    // "max", or a number near 2^63 in version 1, means that there is no limit; neither is the least.
    above.filter_map(|path| read_trimmed(&path.join(file))?.parse().ok()).min()
}

fn read_trimmed(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somewhere() -> Surroundings {
        Surroundings {
            variables: [("HOME".to_owned(), "/home/alice".to_owned())].into(),
            working_dir: "/srv/data".into(),
            ..Surroundings::default()
        }
    }

    #[test]
    fn written_paths_become_absolute() {
        let table = [
            ("/mnt/x", "/mnt/x"),
            ("x", "/srv/data/x"),
            ("./x/", "/srv/data/x"),
            ("../x", "/srv/data/../x"),
            ("/mnt//x/.", "/mnt/x"),
            ("~/x", "/home/alice/x"),
            ("~bob/x", "/srv/data/~bob/x"),
        ];
        for (text, expected) in table {
            assert_eq!(somewhere().absolute(text), Path::new(expected), "{text}");
        }
    }

    #[test]
    fn a_relative_xdg_folder_is_ignored_as_the_specification_demands() {
        let mut around = somewhere();
        assert_eq!(around.xdg_dir("XDG_CONFIG_HOME", ".config"), Some("/home/alice/.config".into()));
        around.variables.insert("XDG_CONFIG_HOME".into(), "relative".into());
        assert_eq!(around.xdg_dir("XDG_CONFIG_HOME", ".config"), Some("/home/alice/.config".into()));
        around.variables.insert("XDG_CONFIG_HOME".into(), "/cfg".into());
        assert_eq!(around.xdg_dir("XDG_CONFIG_HOME", ".config"), Some("/cfg".into()));
    }
}
