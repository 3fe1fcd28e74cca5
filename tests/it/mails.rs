//! Email addresses from the client's side, with a mail server that keeps what it is handed.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use stdx::Tasks;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::server::{Answer, PATIENCE, Server};

const ADDRESS: &str = "ada@mail.test";
const SECRET: &str = "s3cret";
const PASSWORD: &str = "correct horse";

/// A mail as it went over the wire.
struct Sent {
    to: String,
    data: String,
}

/// An SMTP server.
struct Postbox {
    port: u16,
    sent: mpsc::UnboundedReceiver<Sent>,
    tasks: Tasks,
}

impl Postbox {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let port = listener.local_addr().expect("it has an address").port();
        let (sender, sent) = mpsc::unbounded_channel();
        let tasks = Tasks::new();
        let accepting = async move {
            while let Ok((stream, _)) = listener.accept().await {
                take_mails(stream, &sender).await;
            }
        };
        tasks.spawn_until_stopped("postbox", accepting);
        Self { port, sent, tasks }
    }

    async fn next(&mut self) -> Sent {
        let sent = tokio::time::timeout(PATIENCE, self.sent.recv()).await;
        sent.expect("a mail in time").expect("the server runs")
    }

    /// Path and query of the link in the next mail, which is for ada.
    async fn link(&mut self) -> String {
        let Sent { to, data } = self.next().await;
        assert_eq!(to, ADDRESS);
        // Quoted-printable, of which a text of ours needs two cases.
        let data = data.replace("=\n", "").replace("=3D", "=");
        let at = data.find("https://x.test/").unwrap_or_else(|| panic!("no link: {data}"));
        let link = data[at..].split_whitespace().next().expect("a link");
        link["https://x.test".len()..].to_owned()
    }
}

async fn take_mails(mut stream: TcpStream, sender: &mpsc::UnboundedSender<Sent>) {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    let (mut to, mut data) = (String::new(), None::<String>);
    writer.write_all(b"220 mail.test\r\n").await.expect("writes");
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match (&mut data, line.as_str()) {
            (Some(text), ".") => {
                let sent = Sent { to: std::mem::take(&mut to), data: std::mem::take(text) };
                data = None;
                // A test that has ended reads no more.
                let _unread = sender.send(sent);
                "250 taken"
            }
            (Some(text), line) => {
                text.push_str(line);
                text.push('\n');
                continue;
            }
            (None, "DATA") => {
                data = Some(String::new());
                "354 go on"
            }
            (None, line) => {
                if let Some(address) = line.strip_prefix("RCPT TO:<") {
                    to = address.trim_end_matches('>').to_owned();
                }
                "250 good"
            }
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await.expect("writes");
    }
}

async fn start(more: &str) -> (Server, Postbox) {
    let postbox = Postbox::open().await;
    let sections = format!(
        "public_url = \"https://x.test/\"\n{more}\n[mail]\nhost = \"127.0.0.1\"\nport = {}\n\
         security = \"none\"\nfrom = \"Meridian <noreply@x.test>\"\n\
         next_link_hosts = [\"app.test\"]\nnotification_delay_minutes = 0\n",
        postbox.port
    );
    (Server::with(&sections).await, postbox)
}

const UNLIMITED: &str = "[rate_limits]\nenabled = false";

fn ask(email: &str) -> Value {
    json!({ "email": email, "client_secret": SECRET, "send_attempt": 1 })
}

fn sid(answer: Answer) -> String {
    answer.ok()["sid"].as_str().expect("a session").to_owned()
}

fn creds(sid: &str) -> Value {
    json!({ "sid": sid, "client_secret": SECRET })
}

fn by_mail(session: &Value, sid: &str) -> Value {
    json!({ "type": "m.login.email.identity", "session": session, "threepid_creds": creds(sid) })
}

fn by_password(user: &str) -> Value {
    let identifier = json!({ "type": "m.id.user", "user": user });
    json!({ "type": "m.login.password", "identifier": identifier, "password": PASSWORD })
}

async fn log_in(server: &Server, email: &str, password: &str) -> Answer {
    let identifier = json!({ "type": "m.id.thirdparty", "medium": "email", "address": email });
    let body =
        json!({ "type": "m.login.password", "identifier": identifier, "password": password });
    server.post("/v3/login", body).await
}

async fn follow(server: &Server, link: &str) -> (StatusCode, String) {
    let (status, headers, body) = server.bytes(Method::GET, link, None).await;
    assert_eq!(headers["referrer-policy"], "no-referrer");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

impl Server {
    /// A user with ada's address, and the server's answer to the registration.
    async fn register_by_mail(&self, postbox: &mut Postbox) -> Value {
        let sid = sid(self.post("/v3/register/email/requestToken", ask(ADDRESS)).await);
        let (status, _) = follow(self, &postbox.link().await).await;
        assert_eq!(status, 200);
        let body = json!({ "username": "ada", "password": PASSWORD });
        let session = self.post("/v3/register", body.clone()).await.body["session"].take();
        let mut body = body;
        body["auth"] = by_mail(&session, &sid);
        self.post("/v3/register", body).await.ok()
    }
}

#[tokio::test]
async fn one_registers_and_logs_in_with_an_address() {
    let (server, mut postbox) = start(UNLIMITED).await;
    let ways = server.post("/v3/register", json!({})).await;
    assert_eq!(ways.status, 401);
    let expected =
        json!([{ "stages": ["m.login.dummy"] }, { "stages": ["m.login.email.identity"] }]);
    assert_eq!(ways.body["flows"], expected);
    let ada = crate::user::User::new(&server, &server.register_by_mail(&mut postbox).await);
    let threepids = &ada.get("/v3/account/3pid").await.ok()["threepids"];
    assert_eq!(threepids[0]["address"], ADDRESS);
    assert_eq!(threepids[0]["validated_at"], crate::server::START_MS);
    let changes = &ada.get("/v3/capabilities").await.ok()["capabilities"]["m.3pid_changes"];
    assert_eq!(changes["enabled"], true);
    assert_eq!(log_in(&server, "Ada@Mail.test", PASSWORD).await.ok()["user_id"], "@ada:x.test");
    let old = json!({ "type": "m.login.password", "medium": "email", "address": ADDRESS,
        "password": PASSWORD });
    server.post("/v3/login", old).await.ok();
    log_in(&server, ADDRESS, "wrong").await.refused("the password", 403, "M_FORBIDDEN");
    log_in(&server, "eve@mail.test", PASSWORD).await.refused("unknown", 403, "M_FORBIDDEN");
    // The account ends, and the address is free.
    ada.post("/v3/account/deactivate", json!({ "auth": by_password("ada") })).await.ok();
    log_in(&server, ADDRESS, PASSWORD).await.refused("deactivated", 403, "M_FORBIDDEN");
    postbox.tasks.stop();
}

#[tokio::test]
async fn an_address_is_added_with_the_password_and_taken_away() {
    let (server, mut postbox) = start(UNLIMITED).await;
    let ada = server.user_with_password("ada", PASSWORD).await;
    let bob = server.user_with_password("bob", PASSWORD).await;
    let path = "/v3/account/3pid/email/requestToken";
    let first = sid(server.post(path, ask(ADDRESS)).await);
    let link = postbox.link().await;
    let mut body = creds(&first);
    ada.post("/v3/account/3pid/add", body.clone()).await.refused("no password", 401, "");
    body["auth"] = by_password("ada");
    let early = ada.post("/v3/account/3pid/add", body.clone()).await;
    early.refused("before the link is followed", 403, "M_THREEPID_AUTH_FAILED");
    assert_eq!(follow(&server, &link).await.0, 200);
    let mut stolen = json!({ "sid": first, "client_secret": "guess" });
    stolen["auth"] = by_password("bob");
    let stolen = bob.post("/v3/account/3pid/add", stolen).await;
    stolen.refused("another secret", 403, "M_THREEPID_AUTH_FAILED");
    ada.post("/v3/account/3pid/add", body).await.ok();
    assert_eq!(log_in(&server, ADDRESS, PASSWORD).await.ok()["user_id"], ada.id);
    let which = json!({ "medium": "email", "address": "ADA@mail.test" });
    bob.post("/v3/account/3pid/delete", which.clone()).await.ok();
    log_in(&server, ADDRESS, PASSWORD).await.ok();
    let result = ada.post("/v3/account/3pid/delete", which).await.ok();
    assert_eq!(result, json!({ "id_server_unbind_result": "no-support" }));
    log_in(&server, ADDRESS, PASSWORD).await.refused("taken away", 403, "M_FORBIDDEN");
    postbox.tasks.stop();
}

#[tokio::test]
async fn a_password_is_reset_by_whoever_presses_the_button() {
    let (server, mut postbox) = start(UNLIMITED).await;
    let ada = crate::user::User::new(&server, &server.register_by_mail(&mut postbox).await);
    let path = "/v3/account/password/email/requestToken";
    let sid = sid(server.post(path, ask(ADDRESS)).await);
    let link = postbox.link().await;
    let change = json!({ "new_password": "battery staple" });
    let mut session = server.post("/v3/account/password", change.clone()).await.body;
    assert_eq!(session["flows"], json!([{ "stages": ["m.login.email.identity"] }]));
    let mut body = change;
    body["auth"] = by_mail(&session["session"].take(), &sid);
    // What looks into mails follows links.
    let (status, html) = follow(&server, &link).await;
    assert!(status == 200 && html.contains("<button>"), "{html}");
    server.post("/v3/account/password", body.clone()).await.refused(
        "not yet",
        401,
        "M_THREEPID_AUTH_FAILED",
    );
    log_in(&server, ADDRESS, PASSWORD).await.ok();
    let (path, query) = link.split_once('?').expect("a query");
    let pressed = server.send(Method::POST, path, None, query.to_owned()).await;
    assert_eq!(pressed.status, 200);
    server.post("/v3/account/password", body.clone()).await.ok();
    log_in(&server, ADDRESS, PASSWORD).await.refused("the old one", 403, "M_FORBIDDEN");
    log_in(&server, ADDRESS, "battery staple").await.ok();
    ada.get("/v3/account/whoami").await.refused("logged out", 401, "M_UNKNOWN_TOKEN");
    server.post("/v3/account/password", body).await.refused("used", 403, "M_FORBIDDEN");
    postbox.tasks.stop();
}

#[tokio::test]
async fn an_account_is_not_reset_by_the_address_of_another() {
    let (server, mut postbox) = start(UNLIMITED).await;
    server.register_by_mail(&mut postbox).await;
    let bob = server.user_with_password("bob", PASSWORD).await;
    let sid = sid(server.post("/v3/account/password/email/requestToken", ask(ADDRESS)).await);
    let link = postbox.link().await;
    let (path, query) = link.split_once('?').expect("a query");
    server.send(Method::POST, path, None, query.to_owned()).await;
    let change = json!({ "new_password": "battery staple" });
    let session = bob.post("/v3/account/password", change.clone()).await.body["session"].take();
    let mut body = change;
    body["auth"] = by_mail(&session, &sid);
    bob.post("/v3/account/password", body).await.refused("of ada", 403, "M_FORBIDDEN");
    log_in(&server, ADDRESS, PASSWORD).await.ok();
    server.log_in("bob", PASSWORD, "b2").await;
    postbox.tasks.stop();
}

#[tokio::test]
async fn a_link_leads_on_to_known_hosts_only_and_a_wrong_one_nowhere() {
    let (server, mut postbox) = start(UNLIMITED).await;
    let path = "/v3/register/email/requestToken";
    for (host, leads) in [("app.test", true), ("evil.test", false)] {
        let next_link = format!("https://{host}/#/done");
        let mut body = ask(ADDRESS);
        body["next_link"] = json!(next_link);
        body["client_secret"] = json!(host);
        sid(server.post(path, body).await);
        let (status, headers, _) = server.bytes(Method::GET, &postbox.link().await, None).await;
        let location = headers.get("location").and_then(|to| to.to_str().ok());
        let expected = if leads { (302, Some(next_link.as_str())) } else { (200, None) };
        assert_eq!((status.as_u16(), location), expected);
    }
    let page = "/_matrix/client/unstable/meridian/email/confirm";
    for query in
        ["", "?sid=x", "?sid=x&token=y", "?sid=%3Cscript%3E&token=%22", "?sid=x&token=\u{e4}"]
    {
        let query = query.replace('\u{e4}', "%C3%A4");
        let (status, html) = follow(&server, &format!("{page}{query}")).await;
        assert!(status == 404 && !html.contains("script"), "{query}: {html}");
    }
    postbox.tasks.stop();
}

#[tokio::test]
async fn where_an_address_is_required_there_is_no_way_around_it() {
    let sections = format!("[registration]\nrequire_email = true\n{UNLIMITED}");
    let (server, mut postbox) = start(&sections).await;
    let ways = server.post("/v3/register", json!({ "auth": { "type": "m.login.dummy" } })).await;
    assert_eq!(ways.status, 401);
    assert_eq!(ways.body["flows"], json!([{ "stages": ["m.login.email.identity"] }]));
    server.register_by_mail(&mut postbox).await;
    let again = sid(server.post("/v3/register/email/requestToken", ask("Ada@mail.test")).await);
    let Sent { data, .. } = postbox.next().await;
    assert!(!again.is_empty() && !data.contains("https://"), "{data}");
    postbox.tasks.stop();
}

#[tokio::test]
async fn one_client_does_not_have_the_world_written_to() {
    let (server, mut postbox) = start("").await;
    let path = "/v3/register/email/requestToken";
    for index in 0..10 {
        server.post(path, ask(&format!("user{index}@mail.test"))).await.ok();
        postbox.next().await;
    }
    let refused = server.post(path, ask("user10@mail.test")).await;
    refused.refused("too many", 429, "M_LIMIT_EXCEEDED");
    postbox.tasks.stop();
}

#[tokio::test]
async fn what_cannot_be_sent_is_said() {
    let (server, postbox) = start(UNLIMITED).await;
    let path = "/v3/register/email/requestToken";
    let junk = server.post(path, ask("ada@mail.test\r\nBcc: eve@mail.test")).await;
    junk.refused("two readers", 400, "M_INVALID_PARAM");
    server.post(path, json!({ "email": ADDRESS })).await.refused("no secret", 400, "M_BAD_JSON");
    postbox.tasks.shutdown().await;
    server.post(path, ask(ADDRESS)).await.refused("nobody takes it", 500, "M_UNKNOWN");
}

#[tokio::test]
async fn what_is_not_read_is_mailed_until_the_reader_ends_it() {
    let (server, mut postbox) = start(UNLIMITED).await;
    let ada = crate::user::User::new(&server, &server.register_by_mail(&mut postbox).await);
    let bob = server.user_with_password("bob", PASSWORD).await;
    let pusher = json!({
        "kind": "email", "app_id": "m.email", "pushkey": ADDRESS, "lang": "en", "append": true,
        "app_display_name": "Email Notifications", "device_display_name": ADDRESS,
        "data": { "brand": "Example" },
    });
    let foreign = bob.post("/v3/pushers/set", pusher.clone()).await;
    foreign.refused("of ada", 400, "M_THREEPID_NOT_FOUND");
    let mut other_app = pusher.clone();
    other_app["app_id"] = json!("org.example.app");
    let other_app = ada.post("/v3/pushers/set", other_app).await;
    other_app.refused("another app", 400, "M_INVALID_PARAM");
    ada.post("/v3/pushers/set", pusher).await.ok();
    let room = bob.room_with(&[&ada]).await;
    bob.say(&room, "t1", "<b>hello</b>").await;

    let Sent { to, data } = postbox.next().await;
    assert_eq!(to, ADDRESS);
    let data = data.replace("=\n", "").replace("=3D", "=");
    for part in [
        "Subject: [Example] New message from bob",
        "Auto-Submitted: auto-generated",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "multipart/alternative",
        "> <b>hello</b>",
        "&lt;b&gt;hello&lt;/b&gt;",
    ] {
        assert!(data.contains(part), "{part}: {data}");
    }
    let (_, link) = data.split_once("List-Unsubscribe: <https://x.test").expect("a link");
    let link = link.split('>').next().expect("a link").to_owned();
    let pushers = async || ada.get("/v3/pushers").await.ok()["pushers"].take();
    // What looks into mails follows links.
    let (status, html) = follow(&server, &link).await;
    assert!(status == 200 && html.contains("<button>"), "{html}");
    assert_eq!(pushers().await[0]["pushkey"], ADDRESS);
    let forged = follow(&server, &link.replace("ticket=", "ticket=A")).await;
    assert_eq!(forged.0, 404);
    let pressed = server.send(Method::POST, &link, None, "List-Unsubscribe=One-Click").await;
    assert_eq!(pressed.status, 200);
    assert_eq!(pushers().await, json!([]));
    postbox.tasks.stop();
}
