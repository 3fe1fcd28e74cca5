//! Previews of URLs, with a web that says what a test wants.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{StreamExt as _, future::join_all, stream};
use image::{DynamicImage, ImageFormat};
use media::{
    Error,
    ports::{RemoteContent, RemoteError},
};
use serde_json::Value;

use crate::world::{Elsewhere, World, ada, read};

fn content(content_type: &str, body: impl Into<Bytes>) -> Result<RemoteContent, RemoteError> {
    let body = body.into();
    Ok(RemoteContent {
        content_type: Some(content_type.to_owned()),
        filename: None,
        body: stream::once(async move { Ok(body) }).boxed(),
    })
}

fn picture() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = DynamicImage::new_rgb8(30, 20);
    image.write_to(&mut bytes, ImageFormat::Png).expect("it is written");
    bytes.into_inner()
}

fn web(url: &str) -> Result<RemoteContent, RemoteError> {
    match url {
        "https://a.test/dir/page" => content(
            "text/html; charset=utf-8",
            "<title>no</title><meta property='og:title' content='Tea'>\
             <meta property='og:image' content='../p.png'>\
             <meta property='og:image:width' content='9999'>",
        ),
        "https://a.test/p.png" => content("image/png", picture()),
        "https://a.test/lost" => content(
            "text/html",
            "<title>T</title><meta property='og:image' content='https://b.test/'>",
        ),
        "https://a.test/fake" => content("image/png", "no image at all"),
        "https://a.test/zip" => content("application/zip", "<title>no</title>"),
        "https://a.test/endless" => Ok(RemoteContent {
            body: stream::repeat_with(|| Ok(Bytes::from_static(&[b' '; 65536]))).boxed(),
            ..content("text/html", "")?
        }),
        _ => Err(RemoteError::NotFound),
    }
}

async fn preview(world: &World, url: &str) -> Result<Value, Error> {
    let text = world.media.preview(ada(), url).await?;
    Ok(serde_json::from_str(&text).expect("an object"))
}

#[tokio::test]
async fn a_page_is_fetched_once_an_hour_and_its_image_is_kept_here() {
    let world = World::new().await;
    let elsewhere = Elsewhere::saying(web);
    world.media.set_remote(elsewhere.clone());
    let url = "http://a.test/dir/page#part";
    let all = join_all((0..20).map(|_| preview(&world, url))).await;
    let found = all[0].as_ref().expect("a preview").clone();
    assert!(all.iter().all(|one| one.as_ref().is_ok_and(|one| *one == found)));
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 2, "the page and its image");
    assert_eq!(found["og:title"], "Tea");
    assert_eq!(found["og:image:width"], 30);
    assert_eq!(found["og:image:height"], 20);
    assert_eq!(found["og:image:type"], "image/png");
    assert_eq!(found["matrix:image:size"], picture().len());
    let uri = found["og:image"].as_str().expect("a URI");
    let media_id = uri.strip_prefix("mxc://x.test/").expect("ours");
    assert_eq!(read(world.get(media_id).await.expect("it is kept")).await, picture());

    world.clock.advance(3_601_000);
    preview(&world, url).await.expect("a preview");
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 4, "an hour later it is looked at again");
}

#[tokio::test]
async fn what_cannot_be_shown_is_left_out() {
    let world = World::new().await;
    world.media.set_remote(Elsewhere::saying(web));
    let lost = preview(&world, "https://a.test/lost").await.expect("a preview");
    assert_eq!(lost.as_object().map(|all| all.len()), Some(1), "no image: {lost}");
    let picture = preview(&world, "https://a.test/p.png").await.expect("a preview");
    assert_eq!(picture["og:image:width"], 30);
    let zip = preview(&world, "https://a.test/zip").await.expect("a preview");
    assert_eq!(zip.as_object().map(|all| all.len()), Some(0));
    let endless = preview(&world, "https://a.test/endless").await.expect("it is cut");
    assert_eq!(endless.as_object().map(|all| all.len()), Some(0));
    let before = world.files().len();
    for (url, is_it) in [
        ("https://a.test/none", (|e| matches!(e, Error::Remote(_))) as fn(&Error) -> bool),
        ("https://a.test/fake", |e| matches!(e, Error::NoThumbnail(_))),
        ("file:///etc/passwd", |e| matches!(e, Error::BadUrl)),
    ] {
        let refused = preview(&world, url).await.expect_err(url);
        assert!(is_it(&refused), "{url}: {refused:?}");
    }
    assert_eq!(world.files().len(), before, "nothing is left behind");
}
