//! What is done to names, as the kernel would: it walks a path and asks for its last name.

use s3xmount::error::{Error, Kind, Result};
use s3xmount::fs::{AttributeChange, Attributes, FileKind, Found, Replace};
use s3xmount::name::FileName;
use s3xmount::namespace::Ino;

use super::{Mount, OWNER};

impl Mount {
    /// What `stat` shows of a path.
    pub(crate) async fn stat(&self, path: &str) -> Result<Attributes> {
        let mut at = self.filesystem.attributes(Ino::ROOT).await?.attributes;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = match self.filesystem.lookup(at.ino, &FileName::parse(name)?).await? {
                Found::Present(shown) => shown.attributes,
                Found::Absent(_) => return Err(Error::new(Kind::NotFound, format!("no {path}"))),
            };
        }
        Ok(at)
    }

    /// Whether there is something at a path.
    pub(crate) async fn exists(&self, path: &str) -> bool {
        match self.stat(path).await {
            Ok(_) => true,
            Err(error) if error.kind() == Kind::NotFound => false,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// The directory of a path, and the last name in it.
    pub(crate) async fn parent(&self, path: &str) -> Result<(Ino, FileName)> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.stat(directory).await?.ino, FileName::parse(name)?))
    }

    /// The names in a directory, those of directories with a slash, sorted.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<String>> {
        let ino = self.stat(path).await?.ino;
        let handle = self.filesystem.open_directory(ino)?;
        let (mut names, mut from) = (Vec::new(), 0);
        loop {
            let entries = self.filesystem.read_directory(handle, from).await;
            let entries = entries.inspect_err(|_| self.filesystem.close_directory(handle))?;
            let Some(last) = entries.last() else { break };
            from = last.next;
            names.extend(entries.into_iter().map(|entry| match entry.kind {
                FileKind::Directory => format!("{}/", entry.name),
                _ => entry.name,
            }));
        }
        self.filesystem.close_directory(handle);
        names.retain(|name| name != "./" && name != "../");
        names.sort();
        Ok(names)
    }

    /// `mkdir`.
    pub(crate) async fn make_directory(&self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path).await?;
        self.filesystem.make_directory(parent, &name, 0o755, OWNER).await.map(drop)
    }

    /// `rmdir`.
    pub(crate) async fn remove_directory(&self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path).await?;
        self.filesystem.remove_directory(parent, &name).await
    }

    /// `unlink`.
    pub(crate) async fn remove(&self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path).await?;
        self.filesystem.remove_file(parent, &name).await
    }

    /// `rename`.
    pub(crate) async fn rename(&self, from: &str, onto: &str) -> Result<()> {
        self.rename_as(from, onto, Replace::Allowed).await
    }

    /// `renameat2`.
    pub(crate) async fn rename_as(&self, from: &str, onto: &str, replace: Replace) -> Result<()> {
        let ((from, old), (onto, new)) = (self.parent(from).await?, self.parent(onto).await?);
        self.filesystem.rename((from, &old), (onto, &new), replace).await
    }

    /// `chmod`, `chown`, `touch`.
    pub(crate) async fn change(&self, path: &str, change: AttributeChange) -> Result<Attributes> {
        let ino = self.stat(path).await?.ino;
        Ok(self.filesystem.change_attributes(ino, change).await?.attributes)
    }

    /// `truncate`.
    pub(crate) async fn truncate(&self, path: &str, size: u64) -> Result<Attributes> {
        let ino = self.stat(path).await?.ino;
        Ok(self.filesystem.truncate(ino, size).await?.attributes)
    }
}
