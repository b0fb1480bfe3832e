//! What a mount was told, kept so that its settings can be made once more by another process.
//!
//! Settings are a function of the command line, the environment and the file. A running mount hands the first
//! two on, and names the third; none of them holds a secret.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::options::{OPTIONS, VARIABLE_PREFIX, by_name};
use super::{CommandLine, Place, Surroundings, Written};

/// The sources of a mount's settings. It travels between processes, so names stand for keys, and
/// fields that are added need a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The flags and mount options, by the names of the settings, in order.
    pub flags: Vec<(String, String)>,
    /// The variables with our prefix.
    pub variables: Vec<(String, String)>,
    /// The configuration file that was read.
    pub config: Option<PathBuf>,
    /// Where relative paths begin.
    pub working_dir: PathBuf,
}

impl Origin {
    /// Notes what a mount was told.
    pub(super) fn of(line: &CommandLine, around: &Surroundings, config: Option<PathBuf>) -> Self {
        let flags = OPTIONS.iter().flat_map(|spec| {
            let values = line.flags.all(spec.key).iter();
            values.map(|written| (spec.name.to_owned(), written.text.clone()))
        });
        let ours = around.variables.iter().filter(|(name, _)| name.starts_with(VARIABLE_PREFIX));
        Self {
            flags: flags.collect(),
            variables: ours.map(|(name, value)| (name.clone(), value.clone())).collect(),
            config,
            working_dir: around.working_dir.clone(),
        }
    }

    /// Returns the command line of this mount, with what another one says on top of it.
    pub fn under(&self, line: &CommandLine) -> CommandLine {
        let mut flags = line.flags.clone();
        let silent = |spec: &&super::options::Spec| line.flags.all(spec.key).is_empty();
        // A setting of another version is no setting of ours, and cannot be examined.
        for (name, text) in &self.flags {
            if let Some(spec) = by_name(name).filter(silent) {
                flags.add(spec.key, Written::new(text, Place::Flag(spec.flag())));
            }
        }
        // No file at all is said by one that is empty.
        let config = self.config.clone().unwrap_or_else(|| PathBuf::from("/dev/null"));
        let config = Written::new(config.to_string_lossy(), Place::File(config.clone()));
        CommandLine {
            mount_point: line.mount_point.clone(),
            config: line.config.clone().or(Some(config)),
            flags,
        }
    }

    /// Returns what this mount found around itself, as far as it matters to settings.
    pub fn around(&self, here: &Surroundings) -> Surroundings {
        let others = here.variables.iter().filter(|(name, _)| !name.starts_with(VARIABLE_PREFIX));
        let variables = others.map(|(name, value)| (name.clone(), value.clone()));
        Surroundings {
            variables: variables.chain(self.variables.iter().cloned()).collect(),
            working_dir: self.working_dir.clone(),
            ..here.clone()
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::super::options::Key;
    use super::*;
    use crate::config::{Acl, Layer, load};

    fn line(flags: &[(Key, &str)]) -> CommandLine {
        let mut layer = Layer::default();
        for (key, text) in flags {
            layer.add(*key, Written::new(*text, Place::Flag("test".to_owned())));
        }
        let mount_point = Some(Written::new("/mnt/x", Place::Argument("MOUNTPOINT")));
        CommandLine { mount_point, config: None, flags: layer }
    }

    #[test]
    fn settings_are_made_once_more_from_what_a_mount_was_told() {
        let around = Surroundings {
            variables: [("S3XMOUNT_ACL", "private"), ("S3XMOUNT_BUCKET", "one two"), ("HOME", "/h")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            working_dir: "/there".into(),
            ..Surroundings::default()
        };
        let told = [(Key::Region, "eu-west-1"), (Key::StagingDir, "stage"), (Key::ReadOnly, "true")];
        let settings = load(&line(&told), &around).unwrap();
        let sent = serde_json::to_string(&settings.origin).unwrap();
        let origin: Origin = serde_json::from_str(&sent).unwrap();
        let here = Surroundings {
            variables: [("S3XMOUNT_ACL", "none"), ("HOME", "/h")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            working_dir: "/here".into(),
            ..Surroundings::default()
        };
        let again = load(&origin.under(&line(&[])), &origin.around(&here)).unwrap();
        assert_eq!(again.region, settings.region);
        assert_eq!(again.staging_dir, settings.staging_dir);
        assert!(again.read_only && again.buckets.len() == 2);
        assert_eq!(again.buckets[0].acl, Acl::Private);
        let other = load(&origin.under(&line(&[(Key::Acl, "none")])), &origin.around(&here)).unwrap();
        assert_eq!((other.buckets[0].acl, other.buckets.len()), (Acl::None, 2), "what is said now wins");
    }
}
