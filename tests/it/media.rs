//! Media as a client sees them: uploaded, downloaded, made smaller, and refused.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    server::{Answer, Server},
    user::User,
};

/// 2×1 pixels, one red and one blue.
const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52,
    0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x01, 0x08, 0x02, 0x00, 0x00, 0x00, 0x7b, 0x40, 0xe8,
    0xdd, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0x00, 0x04,
    0xff, 0x01, 0x07, 0x00, 0x01, 0xff, 0xe2, 0x23, 0x9e, 0x59, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45,
    0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];
const DOWNLOAD: &str = "/_matrix/client/v1/media/download";
const THUMBNAIL: &str = "/_matrix/client/v1/media/thumbnail";

async fn put(
    user: &User<'_>,
    (method, path): (Method, &str),
    content_type: &str,
    content: &[u8],
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", user.server.address))
        .header("Authorization", format!("Bearer {}", user.token))
        .header("Content-Type", content_type)
        .body(Full::new(Bytes::copy_from_slice(content)));
    user.server.send_request(request.expect("a request")).await
}

async fn upload(user: &User<'_>, query: &str, content_type: &str, content: &[u8]) -> String {
    let path = format!("/_matrix/media/v3/upload{query}");
    let answer = put(user, (Method::POST, &path), content_type, content).await.ok();
    id_of(&answer["content_uri"])
}

/// The id of an `mxc:` URI of the test's server.
fn id_of(uri: &Value) -> String {
    let uri = uri.as_str().expect("a URI");
    uri.strip_prefix("mxc://x.test/").unwrap_or_else(|| panic!("{uri}")).to_owned()
}

async fn fetch(user: &User<'_>, path: &str) -> (StatusCode, HeaderMap, Bytes) {
    let (server, token) = (user.server, Some(user.token.as_str()));
    server.bytes(Method::GET, path, token).await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test]
async fn what_is_uploaded_comes_back_and_runs_in_no_browser() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let page = b"<script>alert(1)</script>".as_slice();
    for (content_type, query, shown) in [
        ("text/html", "?filename=a.html", "attachment; filename=\"a.html\""),
        ("image/svg+xml", "", "attachment"),
        ("image/png", "?filename=%C3%BC.png", "inline; filename*=utf-8''%C3%BC.png"),
        ("text/plain; charset=utf-8", "", "inline"),
    ] {
        let id = upload(&ada, query, content_type, page).await;
        let (status, headers, body) = fetch(&bob, &format!("{DOWNLOAD}/x.test/{id}")).await;
        assert_eq!((status, &*body), (StatusCode::OK, page), "{content_type}");
        assert_eq!(header(&headers, "content-type"), content_type);
        assert_eq!(header(&headers, "content-disposition"), shown);
        assert_eq!(header(&headers, "content-length"), page.len().to_string());
        assert!(header(&headers, "content-security-policy").starts_with("sandbox; default-src"));
        assert_eq!(header(&headers, "cross-origin-resource-policy"), "cross-origin");
        assert_eq!(header(&headers, "x-content-type-options"), "nosniff");
        let renamed = format!("{DOWNLOAD}/x.test/{id}/new%22name%0A.txt");
        let (_, headers, _) = fetch(&bob, &renamed).await;
        let disposition = header(&headers, "content-disposition");
        assert!(disposition.ends_with("filename*=utf-8''new%22name%0A.txt"), "{disposition}");
    }
}

#[tokio::test]
async fn an_id_that_was_created_takes_content_once() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let create = "/_matrix/media/v1/create";
    let created = server.send(Method::POST, create, Some(&ada.token), "").await.ok();
    let expires = created["unused_expires_at"].as_u64().expect("a time");
    assert!(expires > crate::server::START_MS, "{created}");
    let id = id_of(&created["content_uri"]);
    let download = format!("{DOWNLOAD}/x.test/{id}?timeout_ms=0");
    let early = server.send(Method::GET, &download, Some(&bob.token), "").await;
    early.refused("before it is uploaded", 504, "M_NOT_YET_UPLOADED");
    let path = format!("/_matrix/media/v3/upload/x.test/{id}");
    let by = |user| put(user, (Method::PUT, &path), "text/plain", b"late");
    by(&bob).await.refused("another user", 403, "M_FORBIDDEN");
    let waiting = format!("{DOWNLOAD}/x.test/{id}");
    let ((status, _, body), taken) = tokio::join!(fetch(&bob, &waiting), by(&ada));
    taken.ok();
    assert_eq!((status, &*body), (StatusCode::OK, b"late".as_slice()));
    by(&ada).await.refused("again", 409, "M_CANNOT_OVERWRITE_MEDIA");
    let strange = "/_matrix/media/v3/upload/x.test/unknown";
    let answer = put(&ada, (Method::PUT, strange), "text/plain", b"x").await;
    answer.refused("an id that was not created", 404, "M_NOT_FOUND");
    for _created in 0..10 {
        server.send(Method::POST, create, Some(&ada.token), "").await.ok();
    }
    let refused = server.send(Method::POST, create, Some(&ada.token), "").await;
    refused.refused("too many that wait", 429, "M_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_limit_is_told() {
    let server = Server::unlimited_with("[media]\nupload_mib_max = 1\n").await;
    let ada = server.user("ada").await;
    for path in ["/_matrix/client/v1/media/config", "/_matrix/media/v3/config"] {
        let config = server.send(Method::GET, path, Some(&ada.token), "").await.ok();
        assert_eq!(config, json!({ "m.upload.size": 1 << 20 }), "{path}");
        let stranger = server.send(Method::GET, path, None, "").await;
        stranger.refused(path, 401, "M_MISSING_TOKEN");
    }
    let post = (Method::POST, "/_matrix/media/v3/upload");
    put(&ada, post.clone(), "a/b", &vec![7; 1 << 20]).await.ok();
    let answer = put(&ada, post, "a/b", &vec![7; (1 << 20) + 1]).await;
    answer.refused("one byte more", 413, "M_TOO_LARGE");
}

#[tokio::test]
async fn thumbnails_are_made_of_images_only() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let image = upload(&ada, "", "text/html", PNG).await;
    let path = format!("{THUMBNAIL}/x.test/{image}?width=32&height=32&method=crop&animated=true");
    let (status, headers, body) = fetch(&ada, &path).await;
    assert_eq!((status, &*body), (StatusCode::OK, PNG), "a small image is its own thumbnail");
    assert_eq!(header(&headers, "content-type"), "image/png", "whatever the uploader said");
    let text = upload(&ada, "", "image/png", b"not an image").await;
    for (row, query, errcode) in [
        ("no image", "?width=32&height=32", "M_UNKNOWN"),
        ("no size", "", "M_INVALID_PARAM"),
        ("no height", "?width=32&height=0", "M_INVALID_PARAM"),
        ("a negative width", "?width=-1&height=32", "M_INVALID_PARAM"),
        ("an unknown method", "?width=32&height=32&method=melt", "M_INVALID_PARAM"),
    ] {
        let path = format!("{THUMBNAIL}/x.test/{text}{query}");
        let answer = server.send(Method::GET, &path, Some(&ada.token), "").await;
        answer.refused(row, 400, errcode);
    }
}

#[tokio::test]
async fn nothing_is_found_by_strangers_or_outside() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let id = upload(&ada, "", "text/plain", b"mine").await;
    for base in [DOWNLOAD, THUMBNAIL] {
        let path = format!("{base}/x.test/{id}?width=1&height=1");
        server.send(Method::GET, &path, None, "").await.refused(base, 401, "M_MISSING_TOKEN");
    }
    for name in ["download", "thumbnail"] {
        let path = format!("/_matrix/media/v3/{name}/x.test/{id}");
        let answer = server.send(Method::GET, &path, Some(&ada.token), "").await;
        answer.refused("without authentication of old", 404, "M_UNRECOGNIZED");
    }
    let long = "a".repeat(4000);
    for of in [
        "x.test/unknown",
        "x.test/..%2F..%2Fstore",
        "x.test/%2e%2e",
        "x.test/%252e%252e",
        "x.test/a%5Cb",
        "x.test/a%00b",
        "x.test/%E2%88%95etc",
        "..%2F..%2Fx/a",
        "%2Fetc/passwd",
        &format!("x.test/{long}"),
    ] {
        let path = format!("{DOWNLOAD}/{of}");
        let answer = server.send(Method::GET, &path, Some(&ada.token), "").await;
        answer.refused(of, 404, "M_NOT_FOUND");
    }
    let guest = server.post("/v3/register?kind=guest", json!({})).await;
    assert_ne!(guest.status, 200, "there are no guests unless they are wanted");
}

#[tokio::test]
async fn guests_upload_nothing() {
    let server = Server::unlimited_with("[registration]\nguests = true\n").await;
    let guest = User::new(&server, &server.post("/v3/register?kind=guest", json!({})).await.ok());
    let post = (Method::POST, "/_matrix/media/v3/upload");
    put(&guest, post, "text/plain", b"x").await.refused("a guest", 403, "M_GUEST_ACCESS_FORBIDDEN");
    let create = "/_matrix/media/v1/create";
    let answer = server.send(Method::POST, create, Some(&guest.token), "").await;
    answer.refused("a guest", 403, "M_GUEST_ACCESS_FORBIDDEN");
}
