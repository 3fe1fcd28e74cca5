//! What a client of today asks in its first minute, and what there is no service for: the answers
//! are ones that it understands.

use http::Method;
use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, segment},
};

#[tokio::test]
async fn nothing_that_a_client_asks_at_first_ends_in_a_wrong_error() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let user = segment(&ada.id);
    let unstable = "/unstable/org.matrix";
    let cases = [
        ("/versions".to_owned(), 200, ""),
        ("/v3/capabilities".to_owned(), 200, ""),
        ("/v3/pushrules/".to_owned(), 200, ""),
        ("/v3/voip/turnServer".to_owned(), 200, ""),
        ("/v3/thirdparty/protocols".to_owned(), 200, ""),
        ("/v1/media/config".to_owned(), 200, ""),
        ("/v3/devices".to_owned(), 200, ""),
        ("/v3/login".to_owned(), 200, ""),
        ("/v3/account/3pid".to_owned(), 200, ""),
        (format!("/v3/profile/{user}"), 200, ""),
        ("/v3/room_keys/version".to_owned(), 404, "M_NOT_FOUND"),
        ("/v3/thirdparty/protocol/irc".to_owned(), 404, "M_NOT_FOUND"),
        (format!("/v3/user/{user}/account_data/m.secret_storage.default_key"), 404, "M_NOT_FOUND"),
        ("/v1/auth_metadata".to_owned(), 404, "M_UNRECOGNIZED"),
        (format!("{unstable}.msc2965/auth_metadata"), 404, "M_UNRECOGNIZED"),
        (format!("{unstable}.msc2965/auth_issuer"), 404, "M_UNRECOGNIZED"),
        (format!("{unstable}.msc4143/rtc/transports"), 404, "M_UNRECOGNIZED"),
        (format!("{unstable}.msc4108/rendezvous"), 404, "M_UNRECOGNIZED"),
    ];
    for (path, status, errcode) in cases {
        let answer = ada.get(&path).await;
        match status {
            200 => drop(answer.ok()),
            status => drop(answer.refused(&path, status, errcode)),
        }
    }
    let support = server.send(Method::GET, "/.well-known/matrix/client", None, "").await;
    support.refused("no address is advertised", 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn no_mail_is_sent_and_nothing_is_bound() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let session = json!({ "sid": "x", "client_secret": "y" });
    let which = json!({ "medium": "email", "address": "a@b.test" });
    let cases = [
        ("", json!({ "three_pid_creds": session }), 403, "M_THREEPID_AUTH_FAILED"),
        ("/add", session.clone(), 403, "M_FORBIDDEN"),
        ("/bind", session, 400, "M_MISSING_PARAM"),
        ("/delete", which.clone(), 200, ""),
        ("/unbind", which, 200, ""),
    ];
    for (change, body, status, errcode) in cases {
        let path = format!("/v3/account/3pid{change}");
        server.post(&path, body.clone()).await.refused(&path, 401, "M_MISSING_TOKEN");
        let answer = ada.post(&path, body).await;
        match status {
            200 => assert_eq!(answer.ok()["id_server_unbind_result"], "no-support"),
            status => drop(answer.refused(&path, status, errcode)),
        }
    }
    for subject in ["account/3pid", "account/password", "register"] {
        for medium in ["email", "msisdn"] {
            let path = format!("/v3/{subject}/{medium}/requestToken");
            let body = json!({ "client_secret": "s", "email": "a@b.test", "send_attempt": 1 });
            let answer = server.post(&path, body).await;
            answer.refused(&path, 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED");
        }
    }
    let changes = &ada.get("/v3/capabilities").await.ok()["capabilities"]["m.3pid_changes"];
    assert_eq!(changes["enabled"], false);
}

#[tokio::test]
async fn who_registers_has_a_name() {
    let server = Server::unlimited_with("[registration]\nguests = true\n").await;
    let ada = server.user("ada").await;
    let profile = format!("/v3/profile/{}", segment(&ada.id));
    assert_eq!(ada.get(&profile).await.ok(), json!({ "displayname": "ada" }));
    let room = ada.create_room(json!({})).await;
    let me = format!("/v3/rooms/{}/state/m.room.member/{}", segment(&room), segment(&ada.id));
    assert_eq!(ada.get(&me).await.ok()["displayname"], "ada");
    let guest = User::new(&server, &server.post("/v3/register?kind=guest", json!({})).await.ok());
    assert_eq!(ada.get(&format!("/v3/profile/{}", segment(&guest.id))).await.ok(), json!({}));
}

#[tokio::test]
async fn rooms_that_two_share_are_found() {
    let server = Server::start().await;
    let (ada, bob, eve) =
        (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let mut both = vec![ada.room_with(&[&bob]).await, bob.room_with(&[&ada, &eve]).await];
    both.sort();
    let left = ada.room_with(&[&bob]).await;
    bob.post(&format!("/v3/rooms/{}/leave", segment(&left)), json!({})).await.ok();
    let ask = |user: &str| format!("/v1/mutual_rooms?user_id={}", segment(user));
    let found = ada.get(&ask(&bob.id)).await.ok();
    assert_eq!(found, json!({ "joined": both, "count": 2 }));
    let next = format!("{}&from={}", ask(&bob.id), segment(&both[0]));
    assert_eq!(ada.get(&next).await.ok()["joined"], json!([both[1]]));
    let nobody = ada.get(&ask("@nobody:x.test")).await.ok();
    assert_eq!(nobody, json!({ "joined": [], "count": 0 }));
    for user in [&ada.id, "junk", ""] {
        ada.get(&ask(user)).await.refused(user, 400, "M_INVALID_PARAM");
    }
    ada.get("/v1/mutual_rooms").await.refused("nobody named", 400, "M_INVALID_PARAM");
    let junk = ada.get(&format!("{}&from=junk", ask(&bob.id))).await;
    junk.refused("a token", 400, "M_INVALID_PARAM");
}

/// What the operator would read.
async fn reports(server: &Server) -> Vec<accounts::Report> {
    let name = ruma::owned_server_name!("x.test");
    let parts = (server.store.clone(), server.clock.clone(), stdx::Rng::from_seed(99));
    let config = accounts::Config::default();
    let accounts = accounts::Accounts::open(config, parts.0, parts.1, parts.2, name).await;
    accounts.expect("accounts open").reports().await.expect("reports are read")
}

#[tokio::test]
async fn a_report_reaches_the_operator_and_tells_nobody_else_anything() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.create_room(json!({ "preset": "public_chat" })).await;
    let event = ada.say(&room, "1", "rude").await;
    let of_room = format!("/v3/rooms/{}/report", segment(&room));
    let of_event = format!("{of_room}/{}", segment(&event));
    let of_user = |user: &str| format!("/v3/users/{}/report", segment(user));
    let why = json!({ "reason": "rude" });
    bob.post(&of_event, why.clone()).await.refused("not in the room", 404, "M_NOT_FOUND");
    bob.join(&room).await.ok();
    bob.post(&of_event, json!({ "reason": "rude", "score": -100 })).await.ok();
    bob.post(&of_room, json!({ "reason": "" })).await.ok();
    bob.post(&of_user(&ada.id), why.clone()).await.ok();
    // Nobody learns who and what exists.
    bob.post(&of_user("@nobody:x.test"), why.clone()).await.ok();
    bob.post("/v3/rooms/!nothing:x.test/report", why.clone()).await.ok();
    let unknown = format!("{of_room}/{}", segment("$nothing:x.test"));
    bob.post(&unknown, why).await.refused("no such event", 404, "M_NOT_FOUND");
    let long = json!({ "reason": "x".repeat(5000) });
    bob.post(&of_room, long).await.refused("a long reason", 413, "M_TOO_LARGE");
    let mut found: Vec<_> = reports(&server)
        .await
        .into_iter()
        .map(|report| {
            assert_eq!(report.reporter, bob.id);
            (format!("{:?}", report.reported), report.reason)
        })
        .collect();
    found.sort();
    let reason = Some("rude".to_owned());
    assert_eq!(
        found,
        [
            (format!("Event({room:?}, {event:?})"), reason.clone()),
            (format!("Room({room:?})"), None),
            (format!("User({:?})", ada.id), reason),
        ]
    );
}

#[tokio::test]
async fn one_user_does_not_fill_the_operators_list() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let path = format!("/v3/users/{}/report", segment(&bob.id));
    let report: Value = json!({ "reason": "again" });
    for _ in 0..100 {
        ada.post(&path, report.clone()).await.ok();
    }
    ada.post(&path, report.clone()).await.refused("too many", 429, "M_LIMIT_EXCEEDED");
    let of_ada = format!("/v3/users/{}/report", segment(&ada.id));
    bob.post(&of_ada, report).await.ok();
    assert_eq!(reports(&server).await.len(), 101);
}
