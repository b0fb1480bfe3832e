//! Uploads in parts.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};

use super::*;
use crate::emulator::Content;
use crate::emulator::checksum::{Algorithm, Digests, Tagging};
use crate::emulator::store::PART_BYTES_MIN;

struct Upload<'a> {
    client: &'a aws_sdk_s3::Client,
    key: &'static str,
    id: String,
    parts: Vec<CompletedPart>,
}

impl<'a> Upload<'a> {
    async fn begin(client: &'a aws_sdk_s3::Client, key: &'static str) -> Self {
        let request = client.create_multipart_upload().bucket(BUCKET).key(key).metadata("kept", "yes");
        let request = request.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme);
        let output = request.checksum_type(ChecksumType::FullObject).send().await.expect("it begins");
        Self { client, key, id: output.upload_id().expect("it has an id").to_owned(), parts: Vec::new() }
    }

    async fn part(&mut self, number: i32, bytes: &[u8]) {
        let request = self.client.upload_part().bucket(BUCKET).key(self.key).upload_id(&self.id);
        let request = request.part_number(number).checksum_algorithm(ChecksumAlgorithm::Crc64Nvme);
        let output = request.body(body(bytes)).send().await.expect("the part is stored");
        self.parts.push(CompletedPart::builder().part_number(number).set_e_tag(output.e_tag).build());
    }

    fn complete(
        &self,
    ) -> aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder
    {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let request = self.client.complete_multipart_upload().bucket(BUCKET).key(self.key);
        request.upload_id(&self.id).multipart_upload(parts)
    }
}

fn least() -> usize {
    usize::try_from(PART_BYTES_MIN).expect("five mebibytes fit")
}

#[tokio::test]
async fn parts_become_one_object() {
    let (emulator, client) = as_owner();
    let bytes = noise(least() + 1000);
    let mut upload = Upload::begin(&client, "big").await;
    upload.part(3, &bytes[least()..]).await;
    upload.part(2, &bytes[..least()]).await;
    assert_eq!(outcome(&upload.complete().send().await), refused(400, "InvalidPartOrder"));
    upload.parts.reverse();
    let whole = Content::from(bytes::Bytes::from(bytes.clone()));
    let crc = Digests::of(&whole, Algorithm::Crc64Nvme, Tagging::Md5).checksum().value;
    let wrong = upload.complete().checksum_crc64_nvme("AAAAAAAAAAA=").send().await;
    assert_eq!(outcome(&wrong), refused(400, "BadDigest"));
    let done = upload.complete().checksum_crc64_nvme(&crc).send().await.expect("all parts are there");
    assert!(done.e_tag().expect("it has an ETag").ends_with("-2\""));
    assert_eq!(done.checksum_crc64_nvme(), Some(crc.as_str()));
    let object = emulator.world().object(BUCKET, "big").expect("it is visible");
    assert_eq!(object.content.to_bytes(), bytes);
    assert_eq!(object.attributes.metadata.get("kept").map(String::as_str), Some("yes"));
    assert!(emulator.world().uploads(BUCKET).is_empty());
    assert_eq!(outcome(&upload.complete().send().await), refused(404, "NoSuchUpload"));
    let part = client.get_object().bucket(BUCKET).key("big").part_number(2).send().await.expect("it has two");
    assert_eq!((part.content_length(), part.parts_count()), (Some(1000), Some(2)));
}

#[tokio::test]
async fn a_completion_can_be_conditional_and_tried_again() {
    let (_emulator, client) = as_owner();
    put(&client, "k", b"old").await;
    let mut upload = Upload::begin(&client, "k").await;
    upload.part(1, b"new").await;
    let failed = upload.complete().if_none_match("*").send().await;
    assert_eq!(outcome(&failed), refused(412, "PreconditionFailed"));
    let failed = upload.complete().if_match("\"other\"").send().await;
    assert_eq!(outcome(&failed), refused(412, "PreconditionFailed"));
    let head = client.head_object().bucket(BUCKET).key("k").send().await.expect("it exists");
    let done = upload.complete().if_match(head.e_tag().expect("it has an ETag")).send().await;
    assert_eq!(outcome(&done), granted());
}

#[tokio::test]
async fn parts_have_limits() {
    let (_emulator, client) = as_owner();
    let mut upload = Upload::begin(&client, "k").await;
    upload.part(1, b"too small to stand first").await;
    upload.part(2, b"x").await;
    assert_eq!(outcome(&upload.complete().send().await), refused(400, "EntityTooSmall"));
    upload.parts = vec![CompletedPart::builder().part_number(7).e_tag("\"none\"").build()];
    assert_eq!(outcome(&upload.complete().send().await), refused(400, "InvalidPart"));
    upload.parts.clear();
    assert_eq!(outcome(&upload.complete().send().await), refused(400, "MalformedXML"));
    for number in [0, 10_001] {
        let part = client.upload_part().bucket(BUCKET).key("k").upload_id(&upload.id).part_number(number);
        assert_eq!(outcome(&part.body(body(b"x")).send().await), refused(400, "InvalidArgument"));
    }
}

#[tokio::test]
async fn parts_can_be_copied_from_a_version() {
    let (emulator, client) = as_owner();
    let bytes = noise(least() * 2);
    put(&client, "source", &bytes).await;
    let tag = emulator.world().object(BUCKET, "source").expect("it exists").etag.clone();
    let mut upload = Upload::begin(&client, "target").await;
    let copy = || {
        let request =
            client.upload_part_copy().bucket(BUCKET).key("target").upload_id(&upload.id).part_number(1);
        request.copy_source(format!("{BUCKET}/source"))
    };
    let range = format!("bytes=10-{}", least() + 9);
    let other = copy().copy_source_if_match("\"other\"").send().await;
    assert_eq!(outcome(&other), refused(412, "PreconditionFailed"));
    let outside = copy().copy_source_range(format!("bytes=0-{}", bytes.len())).send().await;
    assert_eq!(outcome(&outside), refused(400, "InvalidArgument"));
    let copied = copy().copy_source_if_match(format!("\"{tag}\"")).copy_source_range(range).send().await;
    let result = copied.expect("the version is the one").copy_part_result.expect("there is a result");
    upload.parts.push(CompletedPart::builder().part_number(1).set_e_tag(result.e_tag).build());
    upload.part(2, b"tail").await;
    assert_eq!(outcome(&upload.complete().send().await), granted());
    let expected = [&bytes[10..least() + 10], b"tail"].concat();
    assert_eq!(
        emulator.world().object(BUCKET, "target").expect("it is visible").content.to_bytes(),
        expected
    );
}

#[tokio::test]
async fn unfinished_uploads_are_listed_until_they_are_aborted() {
    let (emulator, client) = as_owner();
    let mut upload = Upload::begin(&client, "k").await;
    upload.part(1, b"one").await;
    upload.part(5, b"five").await;
    let parts = client.list_parts().bucket(BUCKET).key("k").upload_id(&upload.id).max_parts(1);
    let parts = parts.send().await.expect("bob may");
    assert_eq!((parts.parts().len(), parts.is_truncated()), (1, Some(true)));
    let uploads = client.list_multipart_uploads().bucket(BUCKET).send().await.expect("bob may");
    assert_eq!(uploads.uploads()[0].upload_id(), Some(upload.id.as_str()));
    assert_eq!(emulator.world().uploads(BUCKET)[0].1.parts.len(), 2);
    let abort = || client.abort_multipart_upload().bucket(BUCKET).key("k").upload_id(&upload.id).send();
    assert_eq!(outcome(&abort().await), granted());
    assert_eq!(outcome(&abort().await), refused(404, "NoSuchUpload"));
    assert!(emulator.world().uploads(BUCKET).is_empty());
}

#[tokio::test]
async fn the_acl_of_an_upload_counts_for_all_of_its_requests() {
    let (emulator, client) = as_role(Rights::Minimal).await;
    let acl = aws_sdk_s3::types::ObjectCannedAcl::BucketOwnerFullControl;
    let created = client.create_multipart_upload().bucket(BUCKET).key("k").acl(acl).send().await;
    let id = created.expect("the ACL is right").upload_id.expect("it has an id");
    let mut upload = Upload { client: &client, key: "k", id, parts: Vec::new() };
    upload.part(1, b"x").await;
    assert_eq!(outcome(&upload.complete().send().await), granted());
    assert_eq!(emulator.world().object(BUCKET, "k").map(|object| object.owner), Some(demo::ACCOUNT_B));
    let abort = client.abort_multipart_upload().bucket(BUCKET).key("k").upload_id("none").send().await;
    assert_eq!(outcome(&abort), refused(403, "AccessDenied"), "aborting is another right");
}

#[tokio::test]
async fn an_upload_without_a_wish_gets_the_checksum_of_the_whole() {
    let (_emulator, client) = as_owner();
    let created = client.create_multipart_upload().bucket(BUCKET).key("k").send().await;
    let id = created.expect("bob may").upload_id.expect("it has an id");
    // The SDK sends a CRC-32 with every part unless told otherwise.
    let part = client.upload_part().bucket(BUCKET).key("k").upload_id(&id).part_number(1).body(body(b"x"));
    let part = part.send().await.expect("the part is stored");
    let claim =
        CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).set_checksum_crc32(part.checksum_crc32);
    let upload = Upload { client: &client, key: "k", id, parts: vec![claim.build()] };
    let done = upload.complete().send().await.expect("the part is there");
    let whole =
        Digests::of(&Content::from(bytes::Bytes::from_static(b"x")), Algorithm::Crc64Nvme, Tagging::Md5);
    assert_eq!(done.checksum_crc64_nvme(), Some(whole.checksum().value.as_str()));
}
