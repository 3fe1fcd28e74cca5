//! Uploads: what is kept, what is refused, and what a crash leaves.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use media::{Checked, Error, Upload};
use ruma::user_id;

use crate::world::{PATIENCE, World, ada, body, own, read};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[tokio::test]
async fn what_is_uploaded_is_there_after_a_restart() {
    let world = World::new().await;
    let content: Vec<u8> = (0..200_000_u32).map(|byte| (byte % 251) as u8).collect();
    let upload = Upload {
        content_type: Some("text/plain".to_owned()),
        filename: Some("notes\r\n.txt".to_owned()),
        bytes: None,
    };
    let id = world.media.upload(ada(), upload, body(content.clone())).await.expect("taken");
    let empty = world.upload("text/plain", "").await;
    let world = world.restart().await;
    let found = world.get(&id).await.expect("it is there");
    assert_eq!(found.content_type.as_deref(), Some("text/plain"));
    assert_eq!(found.filename.as_deref(), Some("notes.txt"));
    assert_eq!(read(found).await, content);
    assert_eq!(read(world.get(&empty).await.expect("it is there")).await, b"");
    assert_eq!(world.files().len(), 2, "one file each, and nothing under tmp");
}

#[tokio::test]
async fn what_is_too_large_or_breaks_off_leaves_nothing() {
    let world = World::with(|config| config.upload_bytes_max = 5000).await;
    let whole = world.media.upload(ada(), Upload::default(), body(vec![1; 5000])).await;
    whole.expect("as large as allowed");
    let kept = world.files();
    let refused = world.media.upload(ada(), Upload::default(), body(vec![1; 5001])).await;
    assert!(matches!(refused, Err(Error::TooLarge(5000))), "{refused:?}");
    let said = Upload { bytes: Some(5001), ..Upload::default() };
    let refused = world.media.upload(ada(), said, body("")).await;
    assert!(matches!(refused, Err(Error::TooLarge(5000))), "{refused:?}");
    let pieces = [Ok(Bytes::from_static(b"half")), Err("gone")];
    let refused = world.media.upload(ada(), Upload::default(), stream::iter(pieces)).await;
    assert!(matches!(refused, Err(Error::Broken(_))), "{refused:?}");
    assert_eq!(world.files(), kept);
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_nothing_is_not_waited_for() {
    let world = World::new().await;
    let never = stream::pending::<Result<Bytes, &str>>();
    let refused = world.media.upload(ada(), Upload::default(), never).await;
    assert!(matches!(refused, Err(Error::Broken(_))), "{refused:?}");
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn files_without_a_row_are_gone_after_a_restart() {
    let world = World::new().await;
    let id = world.upload("text/plain", "kept").await;
    let directory = world.directory.path().join("media");
    // Killed while it was written, killed before the row was on disk, killed right after.
    std::fs::write(directory.join("tmp/aa01"), "half").expect("a file");
    std::fs::create_dir_all(directory.join("bb")).expect("a directory");
    std::fs::write(directory.join("tmp/bb01"), "whole").expect("a file");
    std::fs::hard_link(directory.join("tmp/bb01"), directory.join("bb/bb01")).expect("a link");
    let kept = world.files().into_iter().find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.len() == 32
    });
    let kept = kept.expect("the file of the upload");
    let name = kept.file_name().expect("a name");
    std::fs::hard_link(&kept, directory.join("tmp").join(name)).expect("a link");
    let world = world.restart().await;
    assert_eq!(world.files(), [kept]);
    assert_eq!(read(world.get(&id).await.expect("it is there")).await, b"kept");
}

#[tokio::test]
async fn damage_is_found() {
    let world = World::new().await;
    world.upload("text/plain", "one").await;
    world.upload("text/plain", "four").await;
    let checked = world.media.verify(&mut |_| ()).expect("whole");
    assert_eq!(checked, Checked { files: 2, bytes: 7 });
    assert_eq!(world.media.files().expect("a list").len(), 2);
    let file = &world.files()[0];
    std::fs::write(file, "fou").expect("written over");
    let found = world.media.verify(&mut |_| ()).expect_err("damaged");
    assert!(found.contains("is damaged"), "{found}");
    std::fs::remove_file(file).expect("removed");
    let found = world.media.verify(&mut |_| ()).expect_err("missing");
    assert!(found.contains("is missing"), "{found}");
}

#[tokio::test]
async fn an_id_takes_the_content_of_its_creator_once() {
    let world = World::new().await;
    let id = world.media.create(ada()).await.expect("an id").media_id;
    let put = |user, id| {
        let (media, content) = (world.media.clone(), body("late"));
        async move { media.upload_to(user, own(id), Upload::default(), content).await }
    };
    let refused = put(user_id!("@bob:x.test"), &id).await;
    assert!(matches!(refused, Err(Error::NotYours)), "{refused:?}");
    let nothing = world.get(&id).await;
    assert!(matches!(nothing, Err(Error::NotYetUploaded)), "{nothing:?}");
    let waiting = world.media.download(own(&id), PATIENCE);
    let (waited, put_it) = tokio::join!(waiting, put(ada(), &id));
    put_it.expect("taken");
    assert_eq!(read(waited.expect("it came")).await, b"late");
    let again = put(ada(), &id).await;
    assert!(matches!(again, Err(Error::CannotOverwrite)), "{again:?}");
    let strange = put(ada(), "neverseen").await;
    assert!(matches!(strange, Err(Error::NotFound)), "{strange:?}");
}

#[tokio::test]
async fn a_user_has_only_so_many_ids_and_gets_them_back() {
    let world = World::with(|config| config.pending_max = 2).await;
    let first = world.media.create(ada()).await.expect("an id");
    world.media.create(ada()).await.expect("an id");
    let refused = world.media.create(ada()).await;
    let wait = Duration::from_millis(DAY_MS);
    assert!(
        matches!(refused, Err(Error::Busy { retry_after }) if retry_after == wait),
        "{refused:?}"
    );
    world.media.create(user_id!("@bob:x.test")).await.expect("others are not concerned");
    let world = world.restart().await;
    let of_first = own(&first.media_id);
    let taken = world.media.upload_to(ada(), of_first, Upload::default(), body("x")).await;
    taken.expect("an id outlives a restart");
    let second = world.media.create(ada()).await.expect("there is room again").media_id;
    world.clock.advance(DAY_MS);
    let late = world.media.upload_to(ada(), own(&second), Upload::default(), body("x")).await;
    assert!(matches!(late, Err(Error::NotFound)), "{late:?}");
    let gone = world.media.download(own(&second), PATIENCE).await;
    assert!(matches!(gone, Err(Error::NotFound)), "an expired id is not waited for: {gone:?}");
}

#[tokio::test]
async fn ids_that_are_none_lead_nowhere() {
    let world = World::new().await;
    world.upload("text/plain", "x").await;
    let long = "a".repeat(4096);
    for id in ["", "..", "../../store", "%2e%2e", "a\\b", "a\0b", "/etc/passwd", "a/b", &long] {
        let found = world.get(id).await;
        assert!(matches!(found, Err(Error::NotFound)), "{id:?}: {found:?}");
    }
}
