//! A session as a profile of the AWS tools.
//!
//! The credentials file belongs to a person: comments, order, other profiles, line breaks, bytes that are
//! not text, all of it comes out as it went in. Only the lines of one section that say what a session says are
//! replaced. The new file takes the place of the old one in a single step, and whoever of us comes second waits
//! and begins with what the first one wrote.

mod edit;

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use self::edit::Lost;
use crate::config::{Failure, Surroundings};
use crate::control::Session;
use crate::secret::{Secret, SecretBuffer};

/// The name of a section that every reader of the file understands alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProfileName(String);

impl ProfileName {
    /// Understands what a person wrote.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        // Brackets end a section's name, and to some readers `#` and `;` begin a comment.
        let is_misleading = |c: char| c.is_control() || "[]#;".contains(c);
        if text.is_empty() || text.trim() != text || text.contains(is_misleading) {
            return Err(Failure::new(format!("{text:?} cannot be the name of a profile"))
                .hint("letters, digits and any of - _ . / @ : + are understood by all tools"));
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where the AWS tools look for profiles with keys.
pub(super) fn file(around: &Surroundings) -> Result<PathBuf, Failure> {
    if let Some(named) = around.variable(FILE_VARIABLE) {
        return Ok(around.absolute(named));
    }
    let home = around.variable("HOME").map(Path::new);
    home.map(|home| around.working_dir.join(home).join(".aws/credentials")).ok_or_else(|| {
        Failure::new("the credentials file is not to be found without HOME")
            .hint(format!("set HOME, or name the file in {FILE_VARIABLE}"))
    })
}

/// Writes the session into the profile, and nothing else.
pub(super) fn write(path: &Path, name: &ProfileName, session: &Session) -> Result<(), Failure> {
    let entries = entries(session)?;
    // A link stays one: people keep this file among their dotfiles.
    let path = follow_links(path);
    replace(&path, |text| edit::with_profile(text, name.as_str(), &entries)).map_err(|error| match error {
        Stopped::Unwritable(error) => {
            Failure::new(format!("the credentials file {} cannot be written: {error}", path.display()))
        }
        Stopped::Lost => Failure::new(format!(
            "the profile {} in {} holds keys that do not end, and they would be lost",
            name.as_str(),
            path.display()
        ))
        .hint("choose another name, or remove the section first"),
    })
}

/// The lines of the section. `x_security_token_expires` is what saml2aws calls it, and others after it.
fn entries(session: &Session) -> Result<Vec<(&'static str, &str)>, Failure> {
    let entries = [
        ("aws_access_key_id", Some(session.access_key_id.as_str())),
        ("aws_secret_access_key", Some(session.secret_access_key.expose())),
        ("aws_session_token", session.session_token.as_ref().map(Secret::expose)),
        ("x_security_token_expires", session.expiration.as_deref()),
    ];
    let entries: Vec<_> = entries.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    // A line break would let the session add lines of its own.
    match entries.iter().find(|(_, value)| value.contains(char::is_control)) {
        Some((key, _)) => {
            Err(Failure::new(format!("the session's {key} cannot stand in a credentials file")))
        }
        None => Ok(entries),
    }
}

/// Why nothing was written.
enum Stopped {
    Unwritable(io::Error),
    Lost,
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Unwritable(error)
    }
}

impl From<Lost> for Stopped {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

/// Replaces a file by what `edit` makes of it, while nobody else does.
fn replace(path: &Path, edit: impl FnOnce(&[u8]) -> Result<SecretBuffer, Lost>) -> Result<(), Stopped> {
    let dir = path.parent().ok_or(ErrorKind::InvalidInput).map_err(io::Error::from)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let old = lock(path)?;
    let text = edit(SecretBuffer::read(&old, FILE_BYTES_MAX)?.bytes())?;
    let new = Unfinished::make(path)?;
    new.fill(&text, &old)?;
    new.finish(path)?;
    // The name is on the disk when the directory is (fsync(2)).
    File::open(dir)?.sync_all()?;
    Ok(())
}

/// Opens the file for whoever has it alone.
///
/// The lock is on the file itself, so that none is left lying about; and whoever comes second finds when
/// it has the lock that the file has been replaced, and takes the new one. The wait has no deadline, as a lock is
/// held for one small write.
fn lock(path: &Path) -> io::Result<File> {
    loop {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let ours = file.metadata()?;
        if !ours.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        file.lock()?;
        match std::fs::metadata(path) {
            Ok(present) if (present.dev(), present.ino()) == (ours.dev(), ours.ino()) => return Ok(file),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

/// A file that is not yet in its place; dropping it removes it.
struct Unfinished {
    file: File,
    path: PathBuf,
}

impl Unfinished {
    /// Makes an empty file beside the one it is to replace.
    fn make(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = path.with_file_name(format!(".{name}.s3xmount-{:016x}", fastrand::u64(..)));
        // Only a new one: another user could have laid a link there if the directory lets them.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path })
    }

    fn fill(&self, text: &SecretBuffer, old: &File) -> io::Result<()> {
        let (new, old) = (self.file.metadata()?, old.metadata()?);
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            // As root, with the home of a user: it stays theirs.
            fchown(&self.file, Some(old.uid()), Some(old.gid()))?;
        }
        self.file.set_permissions(Permissions::from_mode(0o600))?;
        (&self.file).write_all(text.bytes())?;
        self.file.sync_all()
    }

    /// Puts the file into its place.
    fn finish(self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name any more.
        std::fs::remove_file(&self.path).ok();
    }
}

/// The path that a chain of links ends at, whether or not there is a file.
fn follow_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(&path).join(target);
    }
    path
}

const FILE_VARIABLE: &str = "AWS_SHARED_CREDENTIALS_FILE";

/// Thousands of profiles.
const FILE_BYTES_MAX: usize = 16 << 20;

/// As many as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

#[cfg(test)]
mod tests;
