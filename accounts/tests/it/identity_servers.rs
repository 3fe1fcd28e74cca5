//! What identity servers are asked, and what is believed of their answers.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use accounts::{
    IdentityAnswer, IdentityAuth, IdentityError, IdentityFuture, IdentityRequest, IdentityServer,
    IdentityServers, NewThreepidInvite,
};
use ruma::owned_room_id;
use serde_json::{Map, Value, json};

use crate::{Server, user_id};

const THERE: IdentityServer<'static> = IdentityServer { name: "id.test", access_token: "theirs" };

/// Gives the answers that it was told, and keeps what it was asked.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<(u16, Value)>>,
    asked: Mutex<Vec<(String, String, Value)>>,
}

impl Script {
    fn answer(&self, status: u16, body: Value) {
        self.answers.lock().expect("no panic").push_back((status, body));
    }

    /// Who was asked in whose name, what, and with which body.
    fn asked(&self) -> Vec<(String, String, Value)> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

impl IdentityServers for Script {
    fn ask<'a>(&'a self, request: IdentityRequest<'a>) -> IdentityFuture<'a> {
        let who = match request.auth {
            IdentityAuth::Token(token) => format!("{token}@{}", request.server),
            IdentityAuth::Signed => format!("us@{}", request.server),
        };
        let path = request.path.replace("/_matrix/identity/v2", "");
        let body = request.body.map(|body| serde_json::from_slice(&body).expect("JSON"));
        let asked = (who, path, body.unwrap_or_default());
        self.asked.lock().expect("no panic").push(asked);
        let answer = match self.answers.lock().expect("no panic").pop_front() {
            Some((status, body)) => Ok(IdentityAnswer { status, body: body.to_string().into() }),
            None => Err("out of reach".to_owned()),
        };
        Box::pin(std::future::ready(answer))
    }
}

async fn server() -> (Server, Arc<Script>) {
    with_script(Server::new().await)
}

fn with_script(server: Server) -> (Server, Arc<Script>) {
    let script = Arc::new(Script::default());
    server.accounts.set_identity_servers(script.clone());
    (server, script)
}

fn asked(who: &str, path: &str, body: Value) -> (String, String, Value) {
    (who.to_owned(), path.to_owned(), body)
}

fn unbind(user: &str, address: &str) -> Value {
    json!({ "mxid": user, "threepid": { "medium": "email", "address": address } })
}

#[tokio::test]
async fn what_was_bound_through_here_is_let_go_of_where_it_was_bound() {
    let (mut server, script) = server().await;
    let ada = server.user("ada").await.user_id;
    for address in ["Ada@mail.test", "second@mail.test"] {
        script.answer(200, json!({ "medium": "email", "address": address, "mxid": ada }));
        server.accounts.bind_threepid(&ada, THERE, "sid", "secret").await.expect("binds");
    }
    let body = json!({ "sid": "sid", "client_secret": "secret", "mxid": ada });
    let expected = asked("theirs@id.test", "/3pid/bind", body);
    assert_eq!(script.asked(), [expected.clone(), expected]);
    server.reopen().await;
    let (server, script) = with_script(server);
    let accounts = &server.accounts;
    let unknown = accounts.unbind_threepid(&ada, None, "email", "other@mail.test").await;
    assert!(!unknown.expect("works") && script.asked().is_empty());
    let silent = accounts.unbind_threepid(&ada, None, "email", "ada@mail.test").await;
    assert!(!silent.expect("works"), "nobody let go of it");
    script.asked();
    script.answer(200, json!({}));
    let unbound = accounts.unbind_threepid(&ada, None, "email", "ADA@mail.test").await;
    assert!(unbound.expect("works"));
    let of_ada = |address| asked("us@id.test", "/3pid/unbind", unbind(ada.as_str(), address));
    assert_eq!(script.asked(), [of_ada("ada@mail.test")]);
    script.answer(200, json!({}));
    assert!(accounts.unbind_all_threepids(&ada).await.expect("works"));
    assert_eq!(script.asked(), [of_ada("second@mail.test")]);
    assert!(accounts.unbind_all_threepids(&ada).await.expect("works"));
    assert_eq!(script.asked(), []);
}

#[tokio::test]
async fn an_identity_server_is_named_by_its_host_and_its_refusals_are_passed_on() {
    let (server, script) = server().await;
    let ada = server.user("ada").await.user_id;
    for name in ["", "https://id.test", "id.test/path", "id.test?x", "a@id.test", "id test"] {
        let there = IdentityServer { name, ..THERE };
        let bound = server.accounts.bind_threepid(&ada, there, "sid", "secret").await;
        assert!(matches!(bound, Err(IdentityError::InvalidServer(_))), "{name:?}: {bound:?}");
    }
    assert_eq!(script.asked(), []);
    script.answer(403, json!({ "errcode": "M_TERMS_NOT_SIGNED", "error": "sign them" }));
    let bound = server.accounts.bind_threepid(&ada, THERE, "sid", "secret").await;
    let Err(IdentityError::Refused { status: 403, errcode, error }) = bound else {
        panic!("{bound:?}")
    };
    assert_eq!((errcode.as_str(), error.as_str()), ("M_TERMS_NOT_SIGNED", "sign them"));
    script.answer(200, json!("bound"));
    let bound = server.accounts.bind_threepid(&ada, THERE, "sid", "secret").await;
    assert!(matches!(bound, Err(IdentityError::Malformed(_))), "{bound:?}");
    let silent = Server::new().await;
    let bound = silent.accounts.bind_threepid(&ada, THERE, "sid", "secret").await;
    assert!(matches!(bound, Err(IdentityError::NotOffered)), "{bound:?}");
}

/// The example of the specification ("Example: SHA-256").
#[tokio::test]
async fn of_an_address_only_a_hash_is_sent() {
    const HASH: &str = "4kenr7N9drpCJ4AfalmlGQVsOn3o2RHjkADUpXJWZUc";
    let (server, script) = server().await;
    let look = async || server.accounts.look_up_threepid(THERE, "email", "Alice@Example.com").await;
    let details = json!({ "algorithms": ["none", "sha256"], "lookup_pepper": "matrixrocks" });
    script.answer(200, details.clone());
    script.answer(200, json!({ "mappings": { HASH: "@alice:example.com" } }));
    let found = look().await.expect("finds");
    assert_eq!(found.expect("somebody"), "@alice:example.com");
    let body = json!({ "addresses": [HASH], "algorithm": "sha256", "pepper": "matrixrocks" });
    let details_asked = asked("theirs@id.test", "/hash_details", Value::Null);
    assert_eq!(script.asked(), [details_asked, asked("theirs@id.test", "/lookup", body)]);
    for mappings in [json!({}), json!({ HASH: null }), json!({ "other": "@eve:example.com" })] {
        script.answer(200, details.clone());
        script.answer(200, json!({ "mappings": mappings }));
        assert_eq!(look().await.expect("finds nobody"), None);
    }
    script.answer(200, details);
    script.answer(200, json!({ "mappings": { HASH: "alice" } }));
    assert!(matches!(look().await, Err(IdentityError::Malformed(_))));
    script.asked();
    script.answer(200, json!({ "algorithms": ["none"], "lookup_pepper": "x" }));
    assert!(matches!(look().await, Err(IdentityError::Malformed(_))));
    assert_eq!(script.asked().len(), 1, "the address itself is not sent");
}

#[tokio::test]
async fn an_invite_is_made_of_what_is_known_in_the_answer() {
    let (server, script) = server().await;
    let (sender, room_id) = (user_id("ada"), owned_room_id!("!r:example.org"));
    let room = Map::from_iter([("room_name".to_owned(), json!("Tea"))]);
    let invite = NewThreepidInvite {
        medium: "email",
        address: "bob@mail.test",
        room_id: &room_id,
        sender: &sender,
        sender_display_name: Some("Ada"),
        sender_avatar_url: None,
        room,
    };
    let keep = async || server.accounts.keep_threepid_invite(THERE, &invite).await;
    let url = "https://id.test/isvalid";
    let good = json!({ "token": "T", "display_name": "b...", "extra": 1, "public_keys": [
        { "public_key": "K", "key_validity_url": url, "extra": 1 }, { "public_key": "L" } ] });
    script.answer(200, good.clone());
    let kept = keep().await.expect("it is kept");
    let body = json!({ "medium": "email", "address": "bob@mail.test", "room_id": room_id,
        "sender": sender, "sender_display_name": "Ada", "room_name": "Tea" });
    assert_eq!(script.asked(), [asked("theirs@id.test", "/store-invite", body)]);
    assert_eq!(kept.token, "T");
    let expected = json!({ "display_name": "b...", "public_key": "K", "key_validity_url": url,
        "public_keys": [{ "public_key": "K", "key_validity_url": url }, { "public_key": "L" }] });
    assert_eq!(kept.content, expected);
    for (key, value) in [
        ("token", json!("")),
        ("token", json!("x".repeat(256))),
        ("token", Value::Null),
        ("display_name", json!("x".repeat(513))),
        ("public_keys", json!([])),
        ("public_keys", json!([{ "public_key": "x".repeat(513) }])),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        script.answer(200, bad);
        let kept = keep().await;
        assert!(matches!(kept, Err(IdentityError::Malformed(_))), "{key}: {kept:?}");
    }
}
