//! Numbers as people write them: `8MiB`, `15m`, `0755`, `yes`.
//!
//! Every parser names the forms it takes when it refuses one.

use std::time::Duration;

use super::failure::Failure;

/// Parses an amount of bytes: a plain number, or one with a unit (`512MiB`, `2 GB`, `1.5G`).
///
/// Units with an `i`, and the bare letters that most tools use, count in 1,024; `kB`, `MB`, `GB` in 1,000.
///
/// # Errors
/// When it is no number, has an unknown unit, or does not fit.
pub fn bytes(text: &str) -> Result<u64, Failure> {
    scaled(text, |unit| {
        Some(match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return None,
        })
    })
    .ok_or_else(|| {
        Failure::new(format!("'{text}' is not an amount of bytes"))
            .hint("write it like 512MiB, 2GB or 1048576")
    })
}

/// Parses a length of time: plain seconds, or numbers with units (`20s`, `15m`, `8h`, `1h30m`, `250ms`).
///
/// # Errors
/// When it is none of these.
pub fn duration(text: &str) -> Result<Duration, Failure> {
    let milliseconds = match text.trim().parse::<u64>() {
        Ok(seconds) => seconds.checked_mul(1000),
        Err(_) => terms(text.trim()).and_then(|terms| {
            terms.iter().try_fold(0_u64, |sum, term| sum.checked_add(scaled(term, milliseconds_of)?))
        }),
    };
    milliseconds.map(Duration::from_millis).ok_or_else(|| {
        Failure::new(format!("'{text}' is not a length of time"))
            .hint("write it like 20s, 15m, 8h, 1h30m or 28800 (seconds)")
    })
}

/// The shortest way to write a length of time that [`duration`] understands.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        _ if duration.subsec_millis() != 0 => format!("{}ms", duration.as_millis()),
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// Parses permission bits, which are octal whatever is in front of them: `644`, `0644`, `0o644`.
///
/// # Errors
/// When it is not octal or above `7777`.
pub fn mode(text: &str) -> Result<u32, Failure> {
    let digits = text.trim().trim_start_matches("0o");
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        Failure::new(format!("'{text}' is not a file mode")).hint("write it in octal, like 0644 or 0750")
    })
}

/// Parses the number of a user or group.
///
/// # Errors
/// When it is no number that Linux could give to one.
pub fn id(text: &str) -> Result<u32, Failure> {
    // The last number means "leave as it is" to chown(2), so nobody has it.
    text.trim().parse().ok().filter(|id| *id != u32::MAX).ok_or_else(|| {
        Failure::new(format!("'{text}' is not the number of a user or group")).hint("ask `id NAME` for it")
    })
}

/// Parses a switch: `true`, `yes`, `on`, `1` and their opposites.
///
/// # Errors
/// When it is none of these.
pub fn switch(text: &str) -> Result<bool, Failure> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(Failure::new(format!("'{text}' is neither yes nor no")).hint("write true or false")),
    }
}

/// A number, possibly with a fraction, times what `scale` knows of its unit.
fn scaled(text: &str, scale: impl FnOnce(&str) -> Option<u64>) -> Option<u64> {
    let text = text.trim();
    let unit_start = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let scale = scale(unit.trim())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Nine digits are more than enough to say, and keep the product within 128 bits.
    let tenths = u32::try_from(fraction.len()).ok().filter(|digits| (1..=9).contains(digits))?;
    let part = u128::from(scale) * fraction.parse::<u128>().ok()? / 10_u128.pow(tenths);
    whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(u64::try_from(part).ok()?)
}

/// `1h30m` in two pieces, each a number with its unit; `None` where a unit stands alone.
fn terms(text: &str) -> Option<Vec<&str>> {
    let mut terms = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let unit_start = rest.find(|c: char| c.is_ascii_alphabetic()).filter(|start| *start > 0)?;
        let unit = &rest[unit_start..];
        let unit_end = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        let (term, after) = rest.split_at(unit_start + unit_end);
        terms.push(term);
        rest = after.trim_start();
    }
    (!terms.is_empty()).then_some(terms)
}

fn milliseconds_of(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" | "sec" => 1000,
        "m" | "min" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_the_units_people_use() {
        let table = [
            ("0", 0),
            ("4096", 4096),
            ("8MiB", 8 << 20),
            ("8 mib", 8 << 20),
            ("8M", 8 << 20),
            ("1.5G", 3 << 29),
            ("2GB", 2_000_000_000),
            ("16k", 16 << 10),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in
            ["", "MiB", "-1", "1.", ".5M", "8 MiBs", "1e9", "99999999999999999999", "18446744073709551615k"]
        {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_units_or_as_seconds() {
        let table = [
            ("28800", 28_800_000),
            ("8h", 28_800_000),
            ("15m", 900_000),
            ("20s", 20_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("0.5s", 500),
            ("1d", 86_400_000),
        ];
        for (text, milliseconds) in table {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "h", "8x", "8h5", "-5s", "five", "1h m", "8H", "99999999999999999999"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_shown_duration_is_read_as_itself() {
        for milliseconds in [0, 1, 250, 1000, 60_000, 90_000, 3_600_000, 28_800_000] {
            let value = Duration::from_millis(milliseconds);
            assert_eq!(duration(&show_duration(value)), Ok(value));
        }
    }

    #[test]
    fn modes_are_octal_in_every_spelling() {
        for text in ["644", "0644", "0o644", " 644 "] {
            assert_eq!(mode(text), Ok(0o644), "{text}");
        }
        for text in ["", "rw-r--r--", "0899", "10000", "-1"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn switches_and_ids_refuse_what_they_do_not_know() {
        assert_eq!((switch("Yes"), switch("0")), (Ok(true), Ok(false)));
        assert!(switch("maybe").is_err());
        assert_eq!(id("1000"), Ok(1000));
        assert!(id("4294967295").is_err() && id("alice").is_err());
    }
}
