//! Listings.

use super::*;

/// Keys that sort, escape and nest oddly.
const ODD: [&str; 12] =
    ["a b", "a%2Fb", "a+b", "a//b", "a/b", "a/c/d", "a&<>\"'", "plain", "ü/ö", "日本", "x", "x/y"];

async fn names(client: &aws_sdk_s3::Client, prefix: &str, delimiter: Option<&str>, page: i32) -> Vec<String> {
    let request = client.list_objects_v2().bucket(BUCKET).prefix(prefix).max_keys(page);
    let mut pages = request.set_delimiter(delimiter.map(str::to_owned)).into_paginator().send();
    let mut names = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.expect("the bucket can be listed");
        names.extend(page.contents().iter().filter_map(|object| object.key()).map(str::to_owned));
        names.extend(page.common_prefixes().iter().filter_map(|prefix| prefix.prefix()).map(str::to_owned));
    }
    names
}

fn emptied() -> (RunningEmulator, aws_sdk_s3::Client) {
    let (emulator, client) = as_owner();
    let bucket = emulator.world().bucket(BUCKET);
    for key in bucket.keys() {
        bucket.delete(&key, &Default::default()).expect("no condition fails");
    }
    (emulator, client)
}

#[tokio::test]
async fn pages_of_any_size_show_the_same_names() {
    let (emulator, client) = emptied();
    ODD.iter().for_each(|key| emulator.world().seed(BUCKET, key, *key));
    let mut all: Vec<_> = ODD.map(str::to_owned).into();
    all.sort();
    let top = ["a b", "a%2Fb", "a&<>\"'", "a+b", "a/", "plain", "x", "x/", "ü/", "日本"].map(str::to_owned);
    for page in [1, 2, 3, 5, 1000] {
        assert_eq!(names(&client, "", None, page).await, all);
        let mut level = names(&client, "", Some("/"), page).await;
        level.sort();
        assert_eq!(level, top);
        let mut below = names(&client, "a/", Some("/"), page).await;
        below.sort();
        assert_eq!(below, ["a//", "a/b", "a/c/"].map(str::to_owned));
    }
}

#[tokio::test]
async fn names_with_odd_letters_survive_writing_reading_and_copying() {
    let (_emulator, client) = emptied();
    for key in ODD {
        put(&client, key, key.as_bytes()).await;
        let source = format!("{BUCKET}/{}", crate::emulator::listing::url_encode(key).replace('+', "%20"));
        let copy = client.copy_object().bucket(BUCKET).key(format!("copy of {key}")).copy_source(source);
        copy.send().await.expect("the source exists");
        for key in [key.to_owned(), format!("copy of {key}")] {
            let got = client.get_object().bucket(BUCKET).key(&key).send().await.expect("it was written");
            let bytes = got.body.collect().await.expect("it arrives").into_bytes();
            assert!(key.ends_with(std::str::from_utf8(&bytes).expect("text")), "{key}");
        }
    }
}

#[tokio::test]
async fn url_encoding_makes_a_space_a_plus() {
    let (emulator, client) = emptied();
    emulator.world().seed(BUCKET, "a b/c+d/ü~.txt", "x");
    let request = client.list_objects_v2().bucket(BUCKET).prefix("a b/").fetch_owner(true);
    let page = request.encoding_type(aws_sdk_s3::types::EncodingType::Url).send().await.expect("it lists");
    assert_eq!(page.contents()[0].key(), Some("a+b/c%2Bd/%C3%BC%7E.txt"));
    assert_eq!(page.prefix(), Some("a+b/"));
    assert!(page.contents()[0].owner().is_some());
}

#[tokio::test]
async fn listing_goes_on_behind_a_key() {
    let (emulator, client) = emptied();
    ["a", "b/1", "b/2", "c"].iter().for_each(|key| emulator.world().seed(BUCKET, key, *key));
    let page = client.list_objects_v2().bucket(BUCKET).start_after("b/1").send().await.expect("it lists");
    let keys: Vec<_> = page.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(keys, ["b/2", "c"]);
    let page = client.list_objects_v2().bucket(BUCKET).continuation_token("nonsense").send().await;
    assert_eq!(outcome(&page), refused(400, "InvalidArgument"));
}

#[tokio::test]
async fn the_first_version_pages_by_marker() {
    let (emulator, client) = emptied();
    ["a", "b/1", "b/2", "c"].iter().for_each(|key| emulator.world().seed(BUCKET, key, *key));
    let request = || client.list_objects().bucket(BUCKET).delimiter("/").max_keys(2);
    let first = request().send().await.expect("it lists");
    assert_eq!((first.is_truncated(), first.next_marker()), (Some(true), Some("b/")));
    let second = request().marker("b/").send().await.expect("it lists");
    let keys: Vec<_> = second.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!((keys, second.is_truncated()), (vec!["c"], Some(false)));
}
