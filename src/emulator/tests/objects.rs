//! Reading, writing, copying and deleting.

use aws_sdk_s3::types::{Delete, MetadataDirective, ObjectIdentifier, StorageClass};

use super::*;
use crate::emulator::Content;
use crate::emulator::store::Attributes;

async fn get(client: &aws_sdk_s3::Client, key: &str, range: &str) -> Result<Vec<u8>, Outcome> {
    let result = client.get_object().bucket(BUCKET).key(key).range(range).send().await;
    let refusal = outcome(&result);
    let output = result.map_err(|_| refusal)?;
    Ok(output.body.collect().await.expect("the body arrives").to_vec())
}

#[tokio::test]
async fn ranges_are_those_of_http() {
    let (_emulator, client) = as_owner();
    put(&client, "k", b"0123456789").await;
    put(&client, "empty", b"").await;
    let unsatisfiable = || Err(refused(416, "InvalidRange"));
    assert_eq!(get(&client, "k", "bytes=2-4").await, Ok(b"234".to_vec()));
    assert_eq!(get(&client, "k", "bytes=7-").await, Ok(b"789".to_vec()));
    assert_eq!(get(&client, "k", "bytes=-3").await, Ok(b"789".to_vec()));
    assert_eq!(get(&client, "k", "bytes=5-500").await, Ok(b"56789".to_vec()));
    assert_eq!(get(&client, "k", "bytes=10-").await, unsatisfiable());
    assert_eq!(get(&client, "empty", "bytes=0-0").await, unsatisfiable());
    let part = client.get_object().bucket(BUCKET).key("k").range("bytes=2-4").send().await.expect("in range");
    assert_eq!((part.content_range(), part.content_length()), (Some("bytes 2-4/10"), Some(3)));
}

#[tokio::test]
async fn reads_can_be_pinned_to_a_version() {
    let (_emulator, client) = as_owner();
    put(&client, "k", b"one").await;
    let head = client.head_object().bucket(BUCKET).key("k").send().await.expect("it exists");
    let tag = head.e_tag().expect("it has an ETag").to_owned();
    let modified = *head.last_modified().expect("it has a time");
    let get = || client.get_object().bucket(BUCKET).key("k");
    assert_eq!(outcome(&get().if_match(&tag).send().await), granted());
    assert_eq!(outcome(&get().if_none_match(&tag).send().await).0, 304);
    assert_eq!(outcome(&get().if_modified_since(modified).send().await).0, 304);
    assert_eq!(outcome(&get().if_unmodified_since(modified).send().await), granted());
    put(&client, "k", b"two").await;
    assert_eq!(outcome(&get().if_match(&tag).send().await), refused(412, "PreconditionFailed"));
    assert_eq!(outcome(&get().if_none_match(&tag).send().await), granted());
}

#[tokio::test]
async fn writes_can_be_conditional() {
    let (_emulator, client) = as_owner();
    let put = |body: &[u8]| client.put_object().bucket(BUCKET).key("k").body(super::body(body));
    let failed = || refused(412, "PreconditionFailed");
    assert_eq!(outcome(&put(b"0").if_match("\"none\"").send().await), refused(404, "NoSuchKey"));
    let first = put(b"1").if_none_match("*").send().await.expect("there is nothing yet");
    let tag = first.e_tag().expect("it has an ETag");
    assert_eq!(outcome(&put(b"2").if_none_match("*").send().await), failed());
    assert_eq!(outcome(&put(b"2").if_match("\"other\"").send().await), failed());
    assert_eq!(outcome(&put(b"2").if_match(tag).send().await), granted());
    assert_eq!(outcome(&put(b"3").if_match(tag).send().await), failed());
    assert_eq!(outcome(&put(b"3").if_none_match(tag).send().await), refused(501, "NotImplemented"));
    let delete = client.delete_object().bucket(BUCKET).key("k").if_match(tag).send().await;
    assert_eq!(outcome(&delete), failed());
}

#[tokio::test]
async fn metadata_comes_back_as_it_was_sent() {
    let (emulator, client) = as_owner();
    let request = client.put_object().bucket(BUCKET).key("k").body(body(b"x")).content_type("text/x-test");
    let request =
        request.metadata("mtime", "1700000000.5").metadata("mode", "33188").cache_control("no-store");
    let put = request.storage_class(StorageClass::StandardIa).send().await.expect("it is stored");
    assert_eq!(put.server_side_encryption().map(|sse| sse.as_str()), Some("AES256"));
    let head = client.head_object().bucket(BUCKET).key("k").send().await.expect("it exists");
    assert_eq!(head.content_type(), Some("text/x-test"));
    assert_eq!(head.cache_control(), Some("no-store"));
    assert_eq!(head.storage_class(), Some(&StorageClass::StandardIa));
    assert_eq!(head.metadata().and_then(|all| all.get("mtime")).map(String::as_str), Some("1700000000.5"));
    let stored = emulator.world().object(BUCKET, "k").expect("it exists");
    assert_eq!(stored.attributes.content_encoding, None, "aws-chunked is no encoding of the object");
    let large = client.put_object().bucket(BUCKET).key("k").metadata("long", "x".repeat(2048)).send().await;
    assert_eq!(outcome(&large), refused(400, "MetadataTooLarge"));
}

#[tokio::test]
async fn a_copy_keeps_metadata_and_not_the_acl() {
    let (emulator, client) = as_owner();
    let acl = aws_sdk_s3::types::ObjectCannedAcl::BucketOwnerFullControl;
    let request = client.put_object().bucket(BUCKET).key("k").metadata("a", "1").acl(acl).body(body(b"x"));
    request.send().await.expect("it is stored");
    let copy = || client.copy_object().bucket(BUCKET).copy_source(format!("{BUCKET}/k"));
    copy().key("plain").send().await.expect("it copies");
    let replaced = copy().key("replaced").metadata_directive(MetadataDirective::Replace).metadata("b", "2");
    replaced.send().await.expect("it copies");
    let world = emulator.world();
    let plain = world.object(BUCKET, "plain").expect("it was copied");
    assert_eq!(
        (plain.attributes.metadata.get("a").map(String::as_str), plain.acl),
        (Some("1"), Default::default())
    );
    let replaced = world.object(BUCKET, "replaced").expect("it was copied");
    assert_eq!(replaced.attributes.metadata.keys().collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn a_copy_has_conditions_at_both_ends() {
    let (_emulator, client) = as_owner();
    put(&client, "k", b"x").await;
    let failed = || refused(412, "PreconditionFailed");
    let copy = || client.copy_object().bucket(BUCKET).copy_source(format!("{BUCKET}/k"));
    assert_eq!(outcome(&copy().key("new").copy_source_if_match("\"other\"").send().await), failed());
    assert_eq!(outcome(&copy().key("new").if_none_match("*").send().await), granted());
    assert_eq!(outcome(&copy().key("new").if_none_match("*").send().await), failed());
    assert_eq!(outcome(&copy().key("new").if_match("\"other\"").send().await), failed());
    assert_eq!(outcome(&copy().key("k").send().await), refused(400, "InvalidRequest"));
    let touched = copy().key("k").metadata_directive(MetadataDirective::Replace).send().await;
    assert_eq!(outcome(&touched), granted());
}

#[tokio::test]
async fn five_gigabytes_is_the_most_one_copy_takes() {
    let (emulator, client) = as_owner();
    let block = bytes::Bytes::from(vec![0; 1 << 20]);
    let content = Content::repeated(&block, (5 << 30) + 1);
    emulator.world().seed_content(BUCKET, "huge", content, Attributes::default());
    let copy =
        client.copy_object().bucket(BUCKET).key("new").copy_source(format!("{BUCKET}/huge")).send().await;
    assert_eq!(outcome(&copy), refused(400, "InvalidRequest"));
    assert_eq!(get(&client, "huge", "bytes=5368709118-").await, Ok(vec![0; 3]));
}

#[tokio::test]
async fn deleting_is_silent_about_what_was_there() {
    let (emulator, client) = as_owner();
    put(&client, "a", b"x").await;
    for key in ["a", "a", "never"] {
        assert_eq!(outcome(&client.delete_object().bucket(BUCKET).key(key).send().await), granted());
    }
    put(&client, "b", b"x").await;
    let identifier = |key: &str| ObjectIdentifier::builder().key(key).build().expect("it has a key");
    let delete = Delete::builder().objects(identifier("b")).objects(identifier("never")).build();
    let output = client.delete_objects().bucket(BUCKET).delete(delete.expect("it has keys")).send().await;
    assert_eq!(output.expect("bob may").deleted().len(), 2);
    assert!(emulator.world().object(BUCKET, "b").is_none());
}

#[tokio::test]
async fn a_batch_of_deletes_tells_which_were_denied() {
    let (_emulator, client) = as_role(Rights::Minimal).await;
    let identifier = ObjectIdentifier::builder().key("welcome.txt").build().expect("it has a key");
    let delete = Delete::builder().objects(identifier).build().expect("it has keys");
    let output =
        client.delete_objects().bucket(BUCKET).delete(delete).send().await.expect("the batch is answered");
    assert_eq!(output.errors()[0].code(), Some("AccessDenied"));
}

#[tokio::test]
async fn keys_have_a_longest_length() {
    let (_emulator, client) = as_owner();
    for (length, expected) in [(1024, granted()), (1025, refused(400, "KeyTooLongError"))] {
        let put = client.put_object().bucket(BUCKET).key("k".repeat(length)).send().await;
        assert_eq!(outcome(&put), expected);
    }
}

#[tokio::test]
async fn what_is_not_modelled_is_refused_and_not_ignored() {
    let (_emulator, client) = as_owner();
    let put = client.put_object().bucket(BUCKET).key("k").tagging("a=b").send().await;
    assert_eq!(outcome(&put), refused(501, "NotImplemented"));
    let payer = aws_sdk_s3::types::RequestPayer::Requester;
    let put = client.put_object().bucket(BUCKET).key("k").request_payer(payer).send().await;
    assert_eq!(outcome(&put), granted());
}

#[tokio::test]
async fn an_archived_object_is_seen_and_not_read() {
    let (_emulator, client) = as_owner();
    let put = client.put_object().bucket(BUCKET).key("k").storage_class(StorageClass::Glacier).send().await;
    assert_eq!(outcome(&put), granted());
    assert_eq!(outcome(&client.head_object().bucket(BUCKET).key("k").send().await), granted());
    let get = client.get_object().bucket(BUCKET).key("k").send().await;
    assert_eq!(outcome(&get), refused(403, "InvalidObjectState"));
}

#[tokio::test]
async fn a_presigned_url_needs_no_header() {
    let (_emulator, client) = as_owner();
    let lifetime = aws_sdk_s3::presigning::PresigningConfig::expires_in(std::time::Duration::from_secs(60));
    let request = client.get_object().bucket(BUCKET).key("welcome.txt");
    let url = request.presigned(lifetime.expect("a valid lifetime")).await.expect("it can be signed");
    let path = url.uri().splitn(4, '/').nth(3).expect("it has a path").to_owned();
    let address = _emulator.address();
    let answer = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut socket = std::net::TcpStream::connect(address).expect("the emulator listens");
        write!(socket, "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
            .expect("it is sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it is text");
        answer
    });
    let answer = answer.await.expect("the task ends");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("This file lies in"), "{answer}");
}
