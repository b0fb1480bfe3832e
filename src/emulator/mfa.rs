//! Devices that show six digits: time-based one-time passwords (RFC 6238, SHA-1, 30 seconds).
//!
//! A device accepts the code of the present window and of the one before and after, each of them
//! once; after a code of one window, none of an earlier one is taken. Any authenticator application
//! that is given the same seed shows the same codes.

use std::time::{Duration, SystemTime};

use s3s::crypto::Sha1;

use super::clock::unix_seconds;
use super::hmac::hmac;

/// A virtual MFA device.
#[derive(Debug, Clone)]
pub struct MfaDevice {
    serial: String,
    secret: Vec<u8>,
    /// The windows before this one are used up.
    next_window: u64,
}

impl MfaDevice {
    /// Returns a device with this serial number (for a virtual one: its ARN) and seed in base 32.
    ///
    /// # Panics
    ///
    /// If the seed is not base 32; it is part of the program, not of its input.
    pub fn new(serial: impl Into<String>, seed: &str) -> Self {
        let secret = from_base32(seed).expect("the seed is base 32");
        Self { serial: serial.into(), secret, next_window: 0 }
    }

    /// Returns the number that requests name the device by.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Returns what the device shows at this time.
    pub fn code(&self, now: SystemTime) -> String {
        self.code_of(window(now))
    }

    /// Takes a code, which from then on is worth nothing; returns whether it was good.
    pub(super) fn take(&mut self, code: &str, now: SystemTime) -> bool {
        let present = window(now);
        let acceptable = present.saturating_sub(1).max(self.next_window)..=present + 1;
        let taken = acceptable.into_iter().find(|window| self.code_of(*window) == code);
        if let Some(taken) = taken {
            self.next_window = taken + 1;
        }
        taken.is_some()
    }

    /// How long it takes until the device shows a code that was not used.
    pub(super) fn until_fresh(&self, now: SystemTime) -> Duration {
        let fresh_from = Duration::from_secs(self.next_window * WINDOW_SECONDS);
        fresh_from.saturating_sub(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    /// RFC 4226: the low half of the last byte says which four bytes of the digest count.
    fn code_of(&self, window: u64) -> String {
        let digest = hmac::<Sha1>(&self.secret, &window.to_be_bytes());
        let at = usize::from(digest[digest.len() - 1] & 0xf);
        let four: [u8; 4] = digest[at..at + 4].try_into().expect("a digest has twenty bytes");
        format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
    }
}

fn window(now: SystemTime) -> u64 {
    unix_seconds(now) / WINDOW_SECONDS
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut held_bits) = (Vec::new(), 0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = BASE32.iter().position(|known| *known == letter.to_ascii_uppercase())?;
        held = (held << 5) | u32::try_from(value).ok()?;
        held_bits += 5;
        if held_bits >= 8 {
            held_bits -= 8;
            bytes.push((held >> held_bits).to_be_bytes()[3]);
            held &= (1 << held_bits) - 1;
        }
    }
    Some(bytes)
}

const WINDOW_SECONDS: u64 = 30;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[cfg(test)]
mod tests {
    use super::*;

    /// The seed of RFC 6238's examples, `12345678901234567890`.
    fn device() -> MfaDevice {
        MfaDevice::new("GAHT12345678", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_examples_of_rfc_6238_hold() {
        let rows = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ];
        for (seconds, code) in rows {
            assert_eq!(device().code(at(seconds)), code, "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_once_and_for_one_window_around_its_own() {
        let now = 1_700_000_010;
        for (shown_at, is_good) in
            [(now - 60, false), (now - 30, true), (now, true), (now + 30, true), (now + 60, false)]
        {
            let mut device = device();
            let code = device.code(at(shown_at));
            assert_eq!(device.take(&code, at(now)), is_good, "{shown_at}");
            assert!(!device.take(&code, at(now)), "{shown_at}: twice");
        }
        assert!(!device().take("", at(now)));
    }

    #[test]
    fn the_next_fresh_code_is_as_far_as_the_end_of_the_window() {
        let mut device = device();
        let now = at(1_700_000_010);
        assert_eq!(device.until_fresh(now), Duration::ZERO);
        let code = device.code(now);
        assert!(device.take(&code, now));
        assert_eq!(device.until_fresh(now), Duration::from_secs(30));
    }
}
