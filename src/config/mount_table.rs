//! What is mounted where, as the kernel has it.
//!
//! Read from `/proc/self/mountinfo` (proc(5)), because asking the paths themselves would mean to
//! look into mounts, and looking into one whose program has died fails, or never ends.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The number of the filesystem, `MAJOR:MINOR`. Rows that share it show the same one.
    pub device: String,
    /// What of the filesystem is shown: `/`, or the directory that was bound here.
    pub root: PathBuf,
    /// Where it is shown.
    pub path: PathBuf,
    /// The type: `ext4`, `fuse.s3xmount`.
    pub kind: String,
    /// What the filesystem says it comes from.
    pub source: String,
    /// For FUSE, the user who mounted it.
    pub user_id: Option<u32>,
}

/// The mounts that this process sees, in the kernel's order; none where that cannot be read.
pub fn read() -> Vec<Row> {
    parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
}

/// Takes the text of a table apart.
pub fn parse(text: &[u8]) -> Vec<Row> {
    text.split(|byte| *byte == b'\n').filter_map(row).collect()
}

/// `36 35 98:0 /root /path rw,noatime master:1 - ext3 /dev/source rw,errors=continue`: the fields
/// between the sixth and the dash may be many or none.
fn row(line: &[u8]) -> Option<Row> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = text(fields.nth(2)?);
    let (root, path) = (path(fields.next()?), path(fields.next()?));
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source) = (text(rest.next()?), text(rest.next()?));
    let options = text(rest.next().unwrap_or_default());
    let user_id = options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok());
    Some(Row { device, root, path, kind, source, user_id })
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

/// Undoes the octal escapes (`\040` for a space) of the kernel's tables.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| first == b'\\');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_understood() {
        let table =
            br"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue
42 27 0:39 / /mnt/a\040b rw,nosuid,nodev,relatime - fuse.s3xmount s3xmount:A+B rw,user_id=1000,group_id=100
nonsense
";
        let [disk, ours] = &parse(table)[..] else { panic!("two rows") };
        assert_eq!((disk.device.as_str(), disk.kind.as_str(), disk.user_id), ("98:0", "ext3", None));
        assert_eq!((disk.root.to_str(), disk.path.to_str()), (Some("/mnt1"), Some("/mnt2")));
        assert_eq!((ours.kind.as_str(), ours.source.as_str()), ("fuse.s3xmount", "s3xmount:A+B"));
        assert_eq!((ours.path.to_str(), ours.user_id), (Some("/mnt/a b"), Some(1000)));
    }

    #[test]
    fn octal_escapes_are_undone() {
        assert_eq!(unescape(br"/mnt/a\040b\134c\9"), br"/mnt/a b\c\9");
    }
}
