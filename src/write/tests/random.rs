//! Random stories of one file.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_what_was_written_to_it() {
    random_stories(&World::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_what_was_written_to_it_where_nothing_stays_staged() {
    random_stories(&World::with(|options| options.staging_bytes_max = 0, 256).await).await;
}

/// Random stories of one file, against a vector of bytes, with commits in between.
async fn random_stories(world: &World) {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let key = format!("k{seed}");
        let mut model = pattern(1, random.usize(0..3 * PART));
        let base = if random.bool() {
            world.existing(&key, &model).await
        } else {
            model.clear();
            Base::New
        };
        let session = world.begin(&key, base);
        for fill in 0..random.u8(5..25) {
            let beyond = random.usize(0..1000);
            let at = random.usize(0..=model.len() + beyond);
            match random.u8(0..11) {
                10 => {
                    let end = (at + random.usize(0..2 * PART)).min(model.len());
                    session.zero(ByteRange { start: at as u64, end: end as u64 }).unwrap();
                    model[at.min(end)..end].fill(0);
                }
                0..3 => {
                    let bytes = pattern(fill, random.usize(1..100_000));
                    model.resize(model.len().max(at + bytes.len()), 0);
                    model[at..at + bytes.len()].copy_from_slice(&bytes);
                    write(&session, at, &bytes).await;
                }
                3..6 => {
                    let bytes = pattern(fill, random.usize(1..2 * PART));
                    session_append(&session, &bytes).await;
                    model.extend_from_slice(&bytes);
                }
                6 => {
                    model.resize(at, 0);
                    session.truncate(at as u64).unwrap();
                }
                7 => {
                    session.commit(Occasion::Sync).await.unwrap();
                    assert!(world.object(&key).unwrap() == model, "seed {seed}, step {fill}: commit");
                }
                _ => {
                    let size = random.usize(1..300_000);
                    let expected = &model[at.min(model.len())..(at + size).min(model.len())];
                    assert!(read(&session, at, size).await == expected, "seed {seed}, step {fill}: read");
                }
            }
            assert_eq!(session.size(), model.len() as u64, "seed {seed}, step {fill}");
        }
        session.close().await.unwrap();
        assert!(world.object(&key).unwrap() == model, "seed {seed}: close");
    }
    assert_eq!((world.unfinished_uploads(), world.staged()), (0, vec![]));
}
