//! Content of other servers.

use std::{sync::atomic::Ordering, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::join_all, stream};
use media::{
    Error, MediaOf,
    ports::{RemoteContent, RemoteError},
};
use ruma::server_name;

use crate::world::{Elsewhere, PATIENCE, World, read};

fn of(media_id: &str) -> MediaOf<'_> {
    MediaOf { server: server_name!("a.test"), media_id }
}

fn content(text: &'static str) -> Result<RemoteContent, RemoteError> {
    Ok(RemoteContent {
        content_type: Some("text/plain".to_owned()),
        filename: Some("there.txt".to_owned()),
        body: stream::once(async move { Ok(text.into()) }).boxed(),
    })
}

#[tokio::test]
async fn it_is_fetched_once_and_kept() {
    let world = World::new().await;
    let elsewhere = Elsewhere::saying(|_| content("from afar"));
    world.media.set_remote(elsewhere.clone());
    let all = join_all((0..20).map(|_| world.media.download(of("one"), PATIENCE)));
    elsewhere.go.notify_one();
    for found in all.await {
        let found = found.expect("it came");
        assert_eq!(found.filename.as_deref(), Some("there.txt"));
        assert_eq!(read(found).await, b"from afar");
    }
    let world = world.restart().await;
    let found = world.media.download(of("one"), PATIENCE).await.expect("it is here");
    assert_eq!(read(found).await, b"from afar");
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_it_refuses_is_refused_and_asked_for_again() {
    type Check = fn(&Error) -> bool;
    let cases: [(&str, Check); 5] = [
        ("gone", |error| matches!(error, Error::NotFound)),
        ("later", |error| matches!(error, Error::NotYetUploaded)),
        ("huge", |error| matches!(error, Error::RemoteTooLarge)),
        ("broken", |error| matches!(error, Error::Remote(_))),
        ("endless", |error| matches!(error, Error::RemoteTooLarge)),
    ];
    let elsewhere = Elsewhere::saying(|id| match id {
        "gone" => Err(RemoteError::NotFound),
        "later" => Err(RemoteError::NotYetUploaded),
        "huge" => Err(RemoteError::TooLarge),
        "broken" => {
            let cut = [Ok("half".into()), Err(RemoteError::Malformed("cut".to_owned()))];
            Ok(RemoteContent { body: stream::iter(cut).boxed(), ..content("")? })
        }
        _ => {
            let endless = stream::repeat_with(|| Ok(vec![7; 1000].into()));
            Ok(RemoteContent { body: endless.boxed(), ..content("")? })
        }
    });
    let world = World::with(|config| config.remote_bytes_max = 100_000).await;
    world.media.set_remote(elsewhere.clone());
    for (id, check) in cases {
        for _again in 0..2 {
            elsewhere.go.notify_one();
            let refused = world.media.download(of(id), PATIENCE).await;
            assert!(refused.as_ref().is_err_and(check), "{id}: {refused:?}");
        }
    }
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 10);
    assert!(world.files().is_empty(), "nothing of it is kept");
}

#[tokio::test]
async fn nobody_waits_longer_than_they_want_and_the_rest_still_get_it() {
    let world = World::new().await;
    let elsewhere = Elsewhere::saying(|_| content("late"));
    world.media.set_remote(elsewhere.clone());
    let mut patient = Box::pin(world.media.download(of("one"), PATIENCE));
    assert!((&mut patient).now_or_never().is_none());
    let hasty = world.media.download(of("one"), Duration::from_millis(1)).await;
    assert!(matches!(hasty, Err(Error::NotYetUploaded)), "{hasty:?}");
    elsewhere.go.notify_one();
    assert_eq!(read(patient.await.expect("it came")).await, b"late");
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_up_its_own_content_only() {
    let world = World::new().await;
    let elsewhere = Elsewhere::saying(|_| content("at last"));
    world.media.set_remote(elsewhere.clone());
    let ids: Vec<String> = (0..20).map(|number| format!("slow{number}")).collect();
    let mut slow = Box::pin(join_all(ids.iter().map(|id| world.media.download(of(id), PATIENCE))));
    assert!((&mut slow).now_or_never().is_none());
    let other = MediaOf { server: server_name!("b.test"), media_id: "quick" };
    let mut quick = Box::pin(world.media.download(other, PATIENCE));
    while elsewhere.asked.load(Ordering::SeqCst) < 9 {
        assert!((&mut quick).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 9, "eight of the slow one, and the other");
    for _answer in 0..9 {
        elsewhere.go.notify_waiters();
        elsewhere.go.notify_one();
        tokio::task::yield_now().await;
    }
    quick.await.expect("it came");
    let let_go = async {
        loop {
            elsewhere.go.notify_one();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        all = slow => assert!(all.iter().all(Result::is_ok)),
        () = let_go => {}
    }
}

#[tokio::test]
async fn without_federation_there_is_nothing_elsewhere() {
    let world = World::new().await;
    let found = world.media.download(of("one"), PATIENCE).await;
    assert!(matches!(found, Err(Error::NotFound)), "{found:?}");
}
