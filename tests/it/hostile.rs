//! What clients see of a server that keeps to no rules: two whole regions that find each other by
//! their addresses, over TLS, a user of each, and a server of which every byte is up to the test.

mod evil;
mod kept_out;
mod outlets;
mod rules;
mod visibility;

use std::{collections::BTreeMap, sync::Arc};

use meridian::Limits;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use self::evil::Evil;
use crate::{
    server::{PATIENCE, Server},
    user::{User, segment},
};

/// Who vouches for the servers of a test.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// With the certificate in it, for the regions' configuration.
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("it is written");
        Self { issuer, folder }
    }

    /// For a server on 127.0.0.1.
    fn acceptor(&self) -> TlsAcceptor {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = vec![leaf.der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("they are known")
            .with_no_client_auth()
            .with_single_cert(chain, key.into())
            .expect("they fit together");
        TlsAcceptor::from(Arc::new(config))
    }

    async fn region(&self) -> Server {
        let (listener, name) = listener().await;
        let authority = self.folder.path().join("ca.pem");
        let sections = format!(
            "[rate_limits]\nenabled = false\n[federation]\nallowed_addresses = [\"127.0.0.0/8\"]\n\
             certificate_authorities = [{authority:?}]\n"
        );
        let server = Server::named(&name, &sections).await;
        let (app, tasks) = (server.region.router(), server.region.tasks().clone());
        let served = meridian::serve(listener, Some(self.acceptor()), app, limits(), tasks);
        server.region.tasks().spawn("TLS listener", served);
        server
    }
}

/// And the server name that leads to it.
async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let name = listener.local_addr().expect("it has an address").to_string();
    (listener, name)
}

fn limits() -> Limits {
    Limits { header_timeout: PATIENCE, connections_max: 100, drain: PATIENCE }
}

/// A room of ada's, in which carl of the third server and mallory of the hostile one are.
struct Scene {
    us: Server,
    third: Server,
    evil: Evil,
    room: String,
    version: &'static str,
    ada: Value,
    carl: Value,
}

impl Scene {
    async fn new(version: &'static str) -> Self {
        let authority = Authority::new();
        let (us, third) = (authority.region().await, authority.region().await);
        let evil = Evil::start(&authority).await;
        let (ada, carl) = (account(&us.user("ada").await), account(&third.user("carl").await));
        let mut scene = Self { us, third, evil, room: String::new(), version, ada, carl };
        let body = json!({ "preset": "public_chat", "room_version": version });
        scene.room = scene.ada().create_room(body).await;
        let path = format!("/v3/join/{}?via={}", segment(&scene.room), scene.us_name());
        scene.carl().post(&path, json!({})).await.ok();
        scene.evil.join(&scene, "mallory").await;
        let since = scene.carl().token_now().await;
        let said = scene.ada().say(&scene.room, "begin", "let us begin").await;
        scene.until_told(&scene.carl(), &since, &said).await;
        scene
    }

    fn ada(&self) -> User<'_> {
        User::new(&self.us, &self.ada)
    }

    fn carl(&self) -> User<'_> {
        User::new(&self.third, &self.carl)
    }

    fn us_name(&self) -> &str {
        server_of(&self.ada)
    }

    fn third_name(&self) -> &str {
        server_of(&self.carl)
    }

    /// Both sides, by their servers' names.
    fn sides(&self) -> [(&Server, &str, User<'_>); 2] {
        [(&self.us, self.us_name(), self.ada()), (&self.third, self.third_name(), self.carl())]
    }

    /// What the two users see of the room.
    async fn seen(&self) -> [Seen; 2] {
        [Seen::by(&self.ada(), &self.room).await, Seen::by(&self.carl(), &self.room).await]
    }

    /// All the events of the room that the user is told of from then on, until this one is among
    /// them.
    async fn until_told(&self, user: &User<'_>, since: &str, event: &str) -> Vec<String> {
        let (mut since, mut told) = (since.to_owned(), Vec::new());
        let waited = async {
            while !told.iter().any(|id| id == event) {
                let news = user.sync(&since, 5000).await;
                let timeline = &news["rooms"]["join"][&self.room]["timeline"];
                assert_ne!(timeline["limited"], true, "all of it is told: {timeline}");
                told.extend(ids(&timeline["events"]));
                since = news["next_batch"].as_str().expect("a token").to_owned();
            }
        };
        tokio::time::timeout(PATIENCE, waited).await.expect("it is told in time");
        told
    }

    /// Until the server that has the room knows that the user is not in it any more.
    async fn until_gone(&self, user: &str) {
        let (ada, mut since) = (self.ada(), String::new());
        let members = format!("/v3/rooms/{}/joined_members", segment(&self.room));
        let waited = async {
            while ada.get(&members).await.ok()["joined"][user].is_object() {
                since = text(&ada.sync(&since, 200).await["next_batch"]);
            }
        };
        tokio::time::timeout(PATIENCE, waited).await.expect("they are gone in time");
    }

    /// Honest traffic flows both ways, and neither in `/sync` nor in `/messages` nor in `/state`
    /// there is anything else, here and on the third server.
    async fn assert_nothing_but_honest_traffic(&self, before: &Before, case: &str) {
        let (ada, carl) = (self.ada(), self.carl());
        let said = ada.say(&self.room, case, "still here").await;
        let mut told_carl = self.until_told(&carl, &before.since[1], &said).await;
        let since = carl.token_now().await;
        let answer = carl.say(&self.room, case, "me too").await;
        let told_ada = self.until_told(&ada, &before.since[0], &answer).await;
        told_carl.extend(self.until_told(&carl, &since, &answer).await);
        let honest = [said, answer];
        assert_eq!(told_ada, honest, "{case}: what /sync tells ada");
        assert_eq!(told_carl, honest, "{case}: what /sync tells carl");
        for (before, after) in before.seen.iter().zip(self.seen().await) {
            assert_eq!(before.state, after.state, "{case}");
            let expected: Vec<_> = before.timeline.iter().chain(&honest).cloned().collect();
            assert_eq!(after.timeline, expected, "{case}");
        }
    }

    async fn before(&self) -> Before {
        let since = [self.ada().token_now().await, self.carl().token_now().await];
        Before { since, seen: self.seen().await }
    }
}

struct Before {
    since: [String; 2],
    seen: [Seen; 2],
}

/// A room by `/state` and `/messages`.
#[derive(Debug, PartialEq)]
struct Seen {
    state: BTreeMap<String, String>,
    /// The oldest first.
    timeline: Vec<String>,
}

impl Seen {
    async fn by(user: &User<'_>, room: &str) -> Self {
        let room = segment(room);
        let state = user.get(&format!("/v3/rooms/{room}/state")).await.ok();
        let key = |event: &Value| format!("{} {}", event["type"], event["state_key"]);
        let state = state.as_array().into_iter().flatten();
        let state = state.map(|event| (key(event), text(&event["event_id"]))).collect();
        let (mut timeline, mut from) = (Vec::new(), String::new());
        loop {
            let page = format!("/v3/rooms/{room}/messages?dir=b&limit=100{from}");
            let page = user.get(&page).await.ok();
            timeline.extend(ids(&page["chunk"]));
            let Some(end) = page["end"].as_str() else { break };
            from = format!("&from={}", segment(end));
        }
        timeline.reverse();
        Self { state, timeline }
    }
}

/// What `User::new` reads.
fn account(user: &User<'_>) -> Value {
    json!({ "user_id": user.id, "device_id": user.device, "access_token": user.token })
}

fn server_of(account: &Value) -> &str {
    account["user_id"].as_str().and_then(|id| id.split_once(':')).expect("a user id").1
}

fn ids(events: &Value) -> Vec<String> {
    events.as_array().into_iter().flatten().map(|event| text(&event["event_id"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
