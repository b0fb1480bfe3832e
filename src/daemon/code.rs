//! The code of this program that has not run yet.
//!
//! A program is read from the disk as it runs, a few pages at a time, and whoever is the first to do something waits for
//! its code. Of a machine that has just started, or has forgotten the program since, that costs the first command in a
//! mount more time than S3 takes. So all of the code, about 30 MB, is read while the mount is built.

use std::fs::File;
use std::io;

use crate::sys;

/// Has the kernel read what it does not have of this program's code, and does not wait for it. Where that cannot be had,
/// the code is read when it runs.
pub(super) fn read_ahead() {
    if let Err(error) = try_read_ahead() {
        tracing::debug!(%error, "the program is read as it runs");
    }
}

fn try_read_ahead() -> io::Result<()> {
    let (program, maps) = (File::open(PROGRAM)?, std::fs::read_to_string("/proc/self/maps")?);
    let path = std::fs::read_link(PROGRAM)?;
    for (offset, length) in code_of(&path.to_string_lossy(), &maps) {
        sys::will_need(&program, offset, length)?;
    }
    Ok(())
}

/// Which stretches of a file are mapped as code, as proc_pid_maps(5) shows them: offset and length.
fn code_of(path: &str, maps: &str) -> Vec<(u64, u64)> {
    let stretch = |line: &str| {
        let mut words = line.splitn(6, ' ');
        let (addresses, rights, offset) = (words.next()?, words.next()?, words.next()?);
        let is_code = rights.contains('x') && words.nth(2)?.trim_start() == path;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        let (start, end) = addresses.split_once('-')?;
        is_code.then_some((number(offset)?, number(end)?.checked_sub(number(start)?)?))
    };
    maps.lines().filter_map(stretch).collect()
}

const PROGRAM: &str = "/proc/self/exe";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_is_mapped_to_be_run_of_this_very_file() {
        let maps = "\
5566a0000000-5566a0800000 r--p 00000000 fe:00 1234                       /usr/bin/s3xmount of ours
5566a0800000-5566a2400000 r-xp 007ff000 fe:00 1234                       /usr/bin/s3xmount of ours
5566a2400000-5566a2500000 rw-p 023fe000 fe:00 1234                       /usr/bin/s3xmount of ours
7f0000000000-7f0000100000 r-xp 00026000 fe:00 99                         /usr/lib/libc.so.6
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
";
        assert_eq!(code_of("/usr/bin/s3xmount of ours", maps), [(0x7f_f000, 0x1c0_0000)]);
    }

    #[test]
    fn the_code_of_a_running_program_is_found() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let path = std::fs::read_link(PROGRAM).unwrap_or_default();
        let mapped: u64 = code_of(&path.to_string_lossy(), &maps).iter().map(|(_, length)| length).sum();
        assert!(mapped > 1 << 20, "{mapped} bytes of {}", path.display());
        assert!(try_read_ahead().is_ok());
    }
}
