//! Where the blocks of an object lie in the folder: a pure function of what they are blocks of.
//!
//! An object is kept in [segments](Layout), so that evicting one is never a large step. A segment has its
//! bytes at the offsets that they have in it, with holes where nothing was kept, and a *seal* for each block:
//!
//! ```text
//!   NAME.content   ▓▓▓▓▓▓▓▓ . . . . ▓▓▓▓ . . ▓▓▓▓▓▓▓▓ ▓▓     as long as the segment, and exactly that
//!   NAME.index     header  seal seal 0 0 seal 0 seal seal seal
//!
//!   NAME.packed    ▓▓▓▓▓▓▓▓ ▓▓ header seal seal               both in one, for what is small
//! ```
//!
//! A seal is the checksum of its block, and 0 where there is no block. It is written after the block and
//! neither of them is synchronised, so after a crash there may be any mixture of both; a block counts only
//! if it fits its seal.
//!
//! The name is a checksum of the header, and the header says in words what the bytes are of. Two objects
//! whose names collide have different headers, and whoever finds another header than his finds nothing.

use std::ops::Range;

use crc_fast::CrcAlgorithm;

use crate::s3::ByteRange;

/// One version of one object, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::read) struct Version {
    /// Which S3 it is in: bucket names are unique within one only.
    pub(in crate::read) origin: String,
    pub(in crate::read) bucket: String,
    pub(in crate::read) key: String,
    pub(in crate::read) etag: String,
    pub(in crate::read) size: u64,
}

/// A stretch of a version that has files of its own, and what they look like.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Which bytes of the object.
    pub(super) range: ByteRange,
    /// What the files are called, without their extension.
    pub(super) name: u64,
    /// What the index begins with.
    pub(super) header: Vec<u8>,
}

impl Layout {
    /// The layout of the segment of `version` that has the byte `offset`.
    pub(super) fn of(version: &Version, offset: u64, segment_bytes: u64) -> Self {
        debug_assert!(offset < version.size && segment_bytes.is_multiple_of(BLOCK_BYTES));
        let start = offset / segment_bytes * segment_bytes;
        let range = ByteRange { start, end: (start + segment_bytes).min(version.size) };
        let Version { origin, bucket, key, etag, size } = version;
        // Quoted, so that no two versions read the same.
        let text = format!(
            "s3xmount blocks, form 1\norigin {origin:?}\nbucket {bucket:?}\nkey {key:?}\netag {etag:?}\nsize {size}\nbytes {start} to {}\n",
            range.end
        );
        let name = checksum(text.as_bytes());
        let mut header = text.into_bytes();
        header.resize(header.len().next_multiple_of(SEAL_BYTES_USIZE), b'\n');
        Self { range, name, header }
    }

    /// The number of bytes.
    pub(super) fn len(&self) -> u64 {
        self.range.len()
    }

    /// Whether content and index are in one file.
    pub(super) fn is_packed(&self) -> bool {
        self.len() <= PACKED_BYTES_MAX
    }

    /// Where the header lies in the file that has the index.
    pub(super) fn header_at(&self) -> u64 {
        if self.is_packed() { self.len() } else { 0 }
    }

    /// Where the seal of a block lies in the file that has the index.
    pub(super) fn seal_at(&self, block: u64) -> u64 {
        self.header_at() + self.header.len() as u64 + block * SEAL_BYTES
    }

    /// How many blocks there are; the last one may be short.
    pub(super) fn blocks(&self) -> u64 {
        self.len().div_ceil(BLOCK_BYTES)
    }

    /// The blocks that have bytes of `range`, as far as it lies in this segment.
    pub(super) fn blocks_of(&self, range: ByteRange) -> Range<u64> {
        let end = range.end.min(self.range.end);
        (range.start - self.range.start) / BLOCK_BYTES..(end - self.range.start).div_ceil(BLOCK_BYTES)
    }

    /// The bytes of the object that are in `blocks`.
    pub(super) fn bytes_of(&self, blocks: Range<u64>) -> ByteRange {
        let at = |block: u64| (self.range.start + block * BLOCK_BYTES).min(self.range.end);
        ByteRange { start: at(blocks.start), end: at(blocks.end) }
    }
}

/// The seal of a block with this checksum. 0 is taken.
pub(super) fn seal(checksum: u64) -> u64 {
    checksum.max(1)
}

/// CRC-64/NVME, which takes 3 µs for a block.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// What is kept and checked as a whole.
///
/// 64 KiB, because a random read of 4 KiB has to fetch as much and to check as much. To fetch it takes 0.7 ms
/// at 90 MB/s, little beside the 20 ms to the first byte; to check and copy it takes 10 µs, little beside the
/// rest of a read through FUSE. Seals then take 128 KiB for a GiB.
pub(super) const BLOCK_BYTES: u64 = 64 << 10;

/// The length of a seal.
pub(super) const SEAL_BYTES: u64 = 8;
const SEAL_BYTES_USIZE: usize = SEAL_BYTES as usize;

/// Up to here a file of their own costs seals more (an inode, a page, an open) than it brings: such files are
/// fetched whole and read in a moment.
const PACKED_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(key: &str, etag: &str, size: u64) -> Version {
        let [origin, bucket] = ["aws", "b"].map(str::to_owned);
        Version { origin, bucket, key: key.to_owned(), etag: etag.to_owned(), size }
    }

    #[test]
    fn whatever_differs_has_other_files() {
        let layouts = [
            Layout::of(&version("k", "\"1\"", 10), 0, 1 << 20),
            Layout::of(&version("k", "\"2\"", 10), 0, 1 << 20),
            Layout::of(&version("k", "\"1\"", 11), 0, 1 << 20),
            Layout::of(&version("k\"\netag \"1\"", "", 10), 0, 1 << 20),
            Layout::of(&version("k", "\"1\"", 4 << 20), 0, 1 << 20),
            Layout::of(&version("k", "\"1\"", 4 << 20), 1 << 20, 1 << 20),
            Layout::of(&version("k", "\"1\"", 4 << 20), 0, 2 << 20),
        ];
        for (at, layout) in layouts.iter().enumerate() {
            assert!(layouts[..at].iter().all(|other| other.name != layout.name), "{layout:?}");
            assert!(layouts[..at].iter().all(|other| other.header != layout.header), "{layout:?}");
        }
    }

    proptest! {
        #[test]
        fn each_byte_is_in_one_block_and_each_seal_has_a_place(
            size in 1_u64..8 << 20, offset in 0_u64..8 << 20, segment in 1_u64..40
        ) {
            let offset = offset % size;
            let layout = Layout::of(&version("k", "e", size), offset, segment * BLOCK_BYTES);
            prop_assert!(layout.range.start <= offset && offset < layout.range.end);
            let blocks = layout.blocks_of(ByteRange { start: offset, end: offset + 1 });
            prop_assert_eq!(blocks.end - blocks.start, 1);
            prop_assert!(blocks.end <= layout.blocks());
            let bytes = layout.bytes_of(blocks.clone());
            prop_assert!(bytes.start <= offset && offset < bytes.end && bytes.len() <= BLOCK_BYTES);
            prop_assert_eq!(layout.bytes_of(0..layout.blocks()), layout.range);
            let index_start = layout.header_at() + layout.header.len() as u64;
            prop_assert_eq!(layout.seal_at(blocks.start) - index_start, blocks.start * SEAL_BYTES);
        }
    }
}
