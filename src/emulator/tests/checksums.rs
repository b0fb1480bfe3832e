//! Checksums, and the ways in which bodies travel.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode};

use super::*;

#[tokio::test]
async fn every_algorithm_is_verified_and_remembered() {
    let (_emulator, client) = as_owner();
    let algorithms = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];
    for algorithm in algorithms {
        let put = client.put_object().bucket(BUCKET).key("k").checksum_algorithm(algorithm.clone());
        let put = put.body(body(&noise(100_000))).send().await;
        assert_eq!(outcome(&put), granted(), "{algorithm:?}");
        let get = client.get_object().bucket(BUCKET).key("k").checksum_mode(ChecksumMode::Enabled);
        let got = get.send().await.expect("it exists");
        let sums = [
            got.checksum_crc32(),
            got.checksum_crc32_c(),
            got.checksum_crc64_nvme(),
            got.checksum_sha1(),
            got.checksum_sha256(),
        ];
        assert_eq!(sums.iter().flatten().count(), 1, "{algorithm:?}");
        assert_eq!(got.body.collect().await.expect("the SDK verifies it too").to_vec(), noise(100_000));
    }
}

#[tokio::test]
async fn a_wrong_checksum_is_refused() {
    let (emulator, client) = as_owner();
    let put = || client.put_object().bucket(BUCKET).key("k").body(body(b"x"));
    assert_eq!(outcome(&put().checksum_crc32("AAAAAA==").send().await), refused(400, "BadDigest"));
    assert_eq!(
        outcome(&put().content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await),
        refused(400, "BadDigest")
    );
    assert!(emulator.world().object(BUCKET, "k").is_none());
}

#[tokio::test]
async fn a_body_of_unknown_bytes_travels_in_chunks_with_a_trailer() {
    let (emulator, client) = as_owner();
    let file = tempfile::NamedTempFile::new().expect("there is room");
    std::fs::write(file.path(), noise(1_000_000)).expect("there is room");
    // A body from a file is not hashed before it is sent, so its checksum follows it.
    let stream = ByteStream::from_path(file.path()).await.expect("the file exists");
    let put = client.put_object().bucket(BUCKET).key("k").body(stream).send().await;
    assert_eq!(outcome(&put), granted());
    let object = emulator.world().object(BUCKET, "k").expect("it is stored");
    assert_eq!(object.content.to_bytes(), noise(1_000_000));
    assert_eq!(object.attributes.content_encoding, None);
}

#[tokio::test]
async fn an_unsigned_payload_is_taken() {
    let (emulator, client) = as_owner();
    let put = client.put_object().bucket(BUCKET).key("k").body(body(b"unsigned")).customize();
    let put = put.disable_payload_signing().send().await;
    assert_eq!(outcome(&put), granted());
    assert_eq!(emulator.world().object(BUCKET, "k").expect("it is stored").content.size(), 8);
}
