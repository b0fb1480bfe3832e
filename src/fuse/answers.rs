//! What an operation came to, in the words of its reply.

use std::time::Duration;

use fuser::{
    Errno, FileHandle, FopenFlags, Generation, ReplyAttr, ReplyCreate, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyXattr,
};

use super::{convert, mount};
use crate::fs::{Attributes, Described, Filesystem, Found, Listed, Opened, Shown};

/// Adds entries with their attributes as far as there is room. The kernel counts one lookup for
/// every entry that goes into the reply and is not `.` or `..`; the others are taken back.
pub(super) fn add_described(fs: &Filesystem, entries: &[Described], reply: &mut ReplyDirectoryPlus) {
    let mut is_full = |entry: &Described| {
        let Listed { ino, next, name, .. } = &entry.listed;
        let (attributes, valid_for) = match &entry.shown {
            Some(shown) => (shown.attributes, shown.valid_for),
            // The kernel wants them in the list and takes nothing from them.
            None => (Attributes::of_dots(*ino), Duration::ZERO),
        };
        let attributes = convert::attributes(&attributes);
        reply.add(attributes.ino, *next, name, &valid_for, &attributes, GENERATION)
    };
    let added = entries.iter().position(&mut is_full).unwrap_or(entries.len());
    for shown in entries[added..].iter().filter_map(|entry| entry.shown.as_ref()) {
        fs.forget(shown.attributes.ino, 1);
    }
}

/// Answers with a value, or with how long it is where nobody offers room for it (getxattr(2)).
pub(super) fn xattr(reply: ReplyXattr, room: u32, value: &[u8]) {
    // Metadata is 2 KB in all, and an ACL has a hundred grants.
    let size = u32::try_from(value.len()).expect("shorter than four gigabytes");
    match room {
        0 => reply.size(size),
        room if room < size => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}

/// Answers what a lookup came to.
pub(super) fn entry(reply: ReplyEntry, found: Found) {
    match found {
        Found::Present(Shown { attributes, valid_for }) => {
            reply.entry(&valid_for, &convert::attributes(&attributes), GENERATION);
        }
        Found::Absent(valid_for) => mount::absent(reply, valid_for),
    }
}

/// Answers with a file that was made and opened.
pub(super) fn created(reply: ReplyCreate, (Shown { attributes, valid_for }, opened): (Shown, Opened)) {
    let (attributes, handle) = (convert::attributes(&attributes), FileHandle(opened.handle.0));
    reply.created(&valid_for, &attributes, GENERATION, handle, open_flags(&opened));
}

/// Answers with what `stat` shows.
pub(super) fn attributes(reply: ReplyAttr, shown: Shown) {
    reply.attr(&shown.valid_for, &convert::attributes(&shown.attributes));
}

/// Answers that it is done.
pub(super) fn done(reply: ReplyEmpty, (): ()) {
    reply.ok();
}

/// What the kernel is told of a handle beside its number.
pub(super) fn open_flags(opened: &Opened) -> FopenFlags {
    let mut flags = FopenFlags::empty();
    flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_pages);
    // Closing it makes nothing visible, and so need not be told; what the kernel has no such flag for, it
    // asks, and is answered at once.
    flags.set(FopenFlags::FOPEN_NOFLUSH, !opened.writes);
    flags
}

/// Numbers are not given to another file while the kernel remembers them.
pub(super) const GENERATION: Generation = Generation(0);
