//! Email addresses: what a mail proves, for what, how often, and what nobody learns on the way.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed},
};

use accounts::{
    AddThreepidError, Config, EmailPurpose, EmailTokenError, EmailTokenRequest, Mail, Mailer,
    NewUser, RegisterError, Stage, Uia, UiaDone, UiaError, UiaInfo, UiaOutcome, UiaRequest,
};
use ruma::UserId;
use serde_json::json;
use std::sync::Mutex;

use crate::{Server, at_once, raw, user_id};

const ADDRESS: &str = "ada@mail.test";
const SECRET: &str = "s3cret";
const HOUR: u64 = 60 * 60 * 1000;

/// Keeps what it is given, unless it is out of order.
#[derive(Default)]
struct Postbox {
    mails: Mutex<Vec<Mail>>,
    is_broken: AtomicBool,
}

impl Mailer for Postbox {
    fn send(&self, mail: Mail) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        let result = if self.is_broken.load(Relaxed) {
            Err("out of order".to_owned())
        } else {
            self.mails.lock().expect("no panic").push(mail);
            Ok(())
        };
        Box::pin(std::future::ready(result))
    }
}

impl Postbox {
    fn take(&self) -> Vec<Mail> {
        std::mem::take(&mut self.mails.lock().expect("no panic"))
    }
}

async fn server() -> (Server, Arc<Postbox>) {
    with_mail(Server::new().await)
}

fn with_mail(server: Server) -> (Server, Arc<Postbox>) {
    let postbox = Arc::new(Postbox::default());
    server.accounts.set_mailer(postbox.clone());
    (server, postbox)
}

fn request(purpose: EmailPurpose, email: &str, send_attempt: u64) -> EmailTokenRequest<'_> {
    EmailTokenRequest {
        purpose,
        email,
        client_secret: SECRET,
        send_attempt,
        next_link: None,
        link: "https://x.test/confirm",
    }
}

/// `sid` and `token` of the link in a mail.
fn link(mail: &Mail) -> Option<(String, String)> {
    let query = mail.text.split_once("https://x.test/confirm?sid=")?.1;
    let (sid, rest) = query.split_once("&token=")?;
    Some((sid.to_owned(), rest.split_whitespace().next()?.to_owned()))
}

impl Server {
    /// Asks, and follows the link: the session's id.
    async fn confirm(&self, postbox: &Postbox, purpose: EmailPurpose, email: &str) -> String {
        let sid = self.accounts.request_email_token(request(purpose, email, 1)).await;
        let sid = sid.expect("a session");
        let mails = postbox.take();
        let [mail] = mails.as_slice() else { panic!("one mail, not {mails:?}") };
        assert_eq!(mail.to, email.to_lowercase());
        let (linked, token) = link(mail).expect("a link");
        assert_eq!(linked, sid);
        self.accounts.confirm_email(&sid, &token).expect("the link is good");
        sid
    }

    async fn add(&self, postbox: &Postbox, user: &UserId, email: &str) {
        let sid = self.confirm(postbox, EmailPurpose::AddToAccount, email).await;
        self.accounts.add_threepid(user, &sid, SECRET).await.expect("it is added");
    }

    async fn owner(&self, email: &str) -> Option<String> {
        let owner = self.accounts.threepid_owner("email", email).await.expect("reads");
        owner.map(|owner| owner.localpart().to_owned())
    }

    async fn round(
        &self,
        purpose: EmailPurpose,
        auth: Option<serde_json::Value>,
    ) -> Result<UiaOutcome, UiaError> {
        let request = UiaRequest { method: "POST", path: "/x", user_id: None, target: "" };
        let flows: &[&[Stage]] = &[&[Stage::EmailIdentity(purpose)]];
        let offer = Uia { flows, params: BTreeMap::new() };
        let auth = auth.map(|auth| raw(&auth.to_string()));
        self.accounts.uia(request, offer, auth.as_deref()).await
    }
}

fn auth(sid: &str, secret: &str, session: Option<&str>) -> Option<serde_json::Value> {
    let creds = json!({ "sid": sid, "client_secret": secret });
    let mut auth = json!({ "type": "m.login.email.identity", "threepid_creds": creds });
    if let Some(session) = session {
        auth["session"] = json!(session);
    }
    Some(auth)
}

fn incomplete(outcome: Result<UiaOutcome, UiaError>) -> UiaInfo {
    match outcome {
        Ok(UiaOutcome::Incomplete(info)) => info,
        other => panic!("expected another round, got {other:?}"),
    }
}

fn done(outcome: Result<UiaOutcome, UiaError>) -> UiaDone {
    match outcome {
        Ok(UiaOutcome::Done(done)) => done,
        other => panic!("expected completion, got {other:?}"),
    }
}

#[tokio::test]
async fn a_mail_proves_one_thing_once() {
    let (mut server, postbox) = server().await;
    let sid = server.confirm(&postbox, EmailPurpose::Register, "Ada@Mail.test").await;
    let ada = server.user("ada").await.user_id;
    let other = server.accounts.add_threepid(&ada, &sid, SECRET).await;
    assert!(matches!(other, Err(AddThreepidError::NotValidated)), "{other:?}");
    incomplete(server.round(EmailPurpose::ResetPassword, auth(&sid, SECRET, None)).await);
    incomplete(server.round(EmailPurpose::Register, auth(&sid, "guess", None)).await);
    let proof = done(server.round(EmailPurpose::Register, auth(&sid, SECRET, None)).await);
    incomplete(server.round(EmailPurpose::Register, auth(&sid, SECRET, None)).await);
    let new = |localpart| NewUser {
        localpart: Some(localpart),
        email: proof.email.as_ref(),
        ..NewUser::default()
    };
    server.accounts.register(new("eve")).await.expect("the name is free");
    assert_eq!(server.owner("ADA@mail.test").await.as_deref(), Some("eve"));
    let again = server.accounts.register(new("bob")).await;
    assert!(matches!(again, Err(RegisterError::EmailInUse)), "{again:?}");
    assert!(server.accounts.user(&user_id("bob")).await.expect("reads").is_none());
    server.reopen().await;
    assert_eq!(server.owner(ADDRESS).await.as_deref(), Some("eve"));
}

#[tokio::test]
async fn a_password_is_reset_by_the_address_of_its_account_only() {
    let (server, postbox) = server().await;
    let ada = server.user("ada").await.user_id;
    server.add(&postbox, &ada, ADDRESS).await;
    let sid = server.confirm(&postbox, EmailPurpose::ResetPassword, ADDRESS).await;
    let proof = done(server.round(EmailPurpose::ResetPassword, auth(&sid, SECRET, None)).await);
    assert_eq!(proof.user_id, Some(ada.clone()));
    // Confirmed while it was ada's, used when it no longer is.
    let sid = server.confirm(&postbox, EmailPurpose::ResetPassword, ADDRESS).await;
    assert!(server.accounts.delete_threepid(&ada, "email", "ADA@mail.test").await.expect("works"));
    let info =
        incomplete(server.round(EmailPurpose::ResetPassword, auth(&sid, SECRET, None)).await);
    assert_eq!(info.errcode, Some("M_THREEPID_AUTH_FAILED"));
}

#[tokio::test]
async fn a_client_may_ask_as_long_as_it_likes_whether_the_mail_was_answered() {
    let (server, postbox) = server().await;
    let purpose = EmailPurpose::Register;
    let sid = server.accounts.request_email_token(request(purpose, ADDRESS, 1)).await;
    let sid = sid.expect("a session");
    let mut session = incomplete(server.round(purpose, None).await).session;
    for _ in 0..30 {
        let info = incomplete(server.round(purpose, auth(&sid, SECRET, Some(&session))).await);
        assert_eq!(info.errcode, Some("M_THREEPID_AUTH_FAILED"));
        session = info.session;
    }
    let (_, token) = link(&postbox.take()[0]).expect("a link");
    server.accounts.confirm_email(&sid, &token).expect("the link is good");
    done(server.round(purpose, auth(&sid, SECRET, Some(&session))).await);
}

#[tokio::test]
async fn guesses_end_a_session() {
    let (server, postbox) = server().await;
    let asked = request(EmailPurpose::Register, ADDRESS, 1);
    let sid = server.accounts.request_email_token(asked).await.expect("a session");
    let (_, token) = link(&postbox.take()[0]).expect("a link");
    assert_eq!(server.accounts.email_token_purpose(&sid, &token), Some(EmailPurpose::Register));
    for _ in 0..10 {
        assert_eq!(server.accounts.confirm_email(&sid, "guess"), None);
    }
    assert_eq!(server.accounts.confirm_email(&sid, &token), None);
}

#[tokio::test]
async fn a_link_lives_for_an_hour() {
    let (server, postbox) = server().await;
    let asked = request(EmailPurpose::Register, ADDRESS, 1);
    let sid = server.accounts.request_email_token(asked).await.expect("a session");
    let (_, token) = link(&postbox.take()[0]).expect("a link");
    server.clock.advance(HOUR - 1);
    assert!(server.accounts.confirm_email(&sid, &token).is_some());
    server.clock.advance(1);
    assert!(server.accounts.confirm_email(&sid, &token).is_none());
    incomplete(server.round(EmailPurpose::Register, auth(&sid, SECRET, None)).await);
}

#[tokio::test]
async fn a_mail_is_sent_again_only_if_the_client_counts_on() {
    let (server, postbox) = server().await;
    let ask = async |attempt| {
        server.accounts.request_email_token(request(EmailPurpose::Register, ADDRESS, attempt)).await
    };
    let sid = ask(1).await.expect("a session");
    let first = postbox.take();
    assert_eq!(ask(1).await.expect("the same"), sid);
    assert_eq!(postbox.take(), []);
    assert_eq!(ask(2).await.expect("the same"), sid);
    assert_eq!(postbox.take(), first, "the link of the first mail is still good");
    postbox.is_broken.store(true, Relaxed);
    assert!(matches!(ask(3).await, Err(EmailTokenError::NotSent)));
    postbox.is_broken.store(false, Relaxed);
    assert_eq!(ask(3).await.expect("the same"), sid);
    assert_eq!(postbox.take(), first);
}

#[tokio::test]
async fn one_reader_is_not_flooded() {
    let (server, postbox) = server().await;
    let ask = async |email, attempt| {
        server.accounts.request_email_token(request(EmailPurpose::Register, email, attempt)).await
    };
    for attempt in 1..=6 {
        ask(ADDRESS, attempt).await.expect("within the bound");
    }
    let refused = ask(ADDRESS, 7).await;
    assert!(matches!(refused, Err(EmailTokenError::TooMany(_))), "{refused:?}");
    let other_case = ask("ADA@MAIL.TEST", 8).await;
    assert!(matches!(other_case, Err(EmailTokenError::TooMany(_))), "{other_case:?}");
    assert_eq!(postbox.take().len(), 6);
    ask("bob@mail.test", 1).await.expect("another reader");
    server.clock.advance(HOUR);
    ask(ADDRESS, 9).await.expect("an hour later");
}

#[tokio::test]
async fn nobody_learns_which_addresses_have_accounts() {
    let (server, postbox) = server().await;
    let ada = server.user("ada").await.user_id;
    server.add(&postbox, &ada, ADDRESS).await;
    let cases =
        [(EmailPurpose::Register, ADDRESS), (EmailPurpose::ResetPassword, "nobody@mail.test")];
    for (purpose, email) in cases {
        let sid = server.accounts.request_email_token(request(purpose, email, 1)).await;
        let sid = sid.expect("a session like any other");
        let mails = postbox.take();
        assert_eq!(mails.len(), 1);
        assert_eq!(link(&mails[0]), None, "{mails:?}");
        assert_eq!(server.accounts.confirm_email(&sid, ""), None);
        let info = incomplete(server.round(purpose, auth(&sid, SECRET, None)).await);
        assert_eq!(info.error.as_deref(), Some("the mail has not been answered"));
    }
    // Whoever is logged in may know.
    let asked = request(EmailPurpose::AddToAccount, ADDRESS, 1);
    let added = server.accounts.request_email_token(asked).await;
    assert!(matches!(added, Err(EmailTokenError::InUse)), "{added:?}");
}

#[tokio::test]
async fn where_the_operator_allows_it_is_said() {
    let config = Config { hide_email_owners: false, ..Config::default() };
    let (server, postbox) = with_mail(Server::with(config).await);
    let ada = server.user("ada").await.user_id;
    server.add(&postbox, &ada, ADDRESS).await;
    let register = request(EmailPurpose::Register, ADDRESS, 1);
    let register = server.accounts.request_email_token(register).await;
    assert!(matches!(register, Err(EmailTokenError::InUse)), "{register:?}");
    let reset = request(EmailPurpose::ResetPassword, "nobody@mail.test", 1);
    let reset = server.accounts.request_email_token(reset).await;
    assert!(matches!(reset, Err(EmailTokenError::NotFound)), "{reset:?}");
    assert_eq!(postbox.take(), []);
}

#[tokio::test]
async fn of_many_accounts_one_gets_an_address() {
    let (server, postbox) = server().await;
    let mut users = Vec::new();
    for index in 0..64 {
        users.push(server.user(&format!("user{index}")).await.user_id);
    }
    let sid = server.confirm(&postbox, EmailPurpose::AddToAccount, ADDRESS).await;
    let outcomes = at_once(|index| {
        let (accounts, user, sid) = (server.accounts.clone(), users[index].clone(), sid.clone());
        async move { accounts.add_threepid(&user, &sid, SECRET).await.is_ok() }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|added| **added).count(), 1);
    let mut having = 0;
    for user in &users {
        having += server.accounts.threepids(user).await.expect("reads").len();
    }
    assert_eq!(having, 1);
}

#[tokio::test]
async fn an_account_that_ends_is_found_by_no_address() {
    let (mut server, postbox) = server().await;
    let (ada, bob) = (server.user("ada").await.user_id, server.user("bob").await.user_id);
    server.add(&postbox, &ada, ADDRESS).await;
    server.add(&postbox, &ada, "second@mail.test").await;
    let late = server.confirm(&postbox, EmailPurpose::AddToAccount, "late@mail.test").await;
    assert!(server.accounts.deactivate(&ada, false).await.expect("works"));
    let added = server.accounts.add_threepid(&ada, &late, SECRET).await;
    assert!(matches!(added, Err(AddThreepidError::NotValidated)), "{added:?}");
    server.reopen().await;
    assert_eq!(server.owner(ADDRESS).await, None);
    assert_eq!(server.owner("second@mail.test").await, None);
    assert_eq!(server.accounts.threepids(&ada).await.expect("reads"), []);
    let (server, postbox) = with_mail(server);
    server.add(&postbox, &bob, ADDRESS).await;
    assert_eq!(server.owner(ADDRESS).await.as_deref(), Some("bob"));
}

#[tokio::test]
async fn an_address_of_another_is_not_taken_away() {
    let (server, postbox) = server().await;
    let (ada, bob) = (server.user("ada").await.user_id, server.user("bob").await.user_id);
    server.add(&postbox, &ada, ADDRESS).await;
    assert!(!server.accounts.delete_threepid(&bob, "email", ADDRESS).await.expect("works"));
    assert!(!server.accounts.delete_threepid(&ada, "msisdn", ADDRESS).await.expect("works"));
    assert_eq!(server.owner(ADDRESS).await.as_deref(), Some("ada"));
}

#[tokio::test]
async fn what_is_refused_sends_nothing() {
    let (server, postbox) = server().await;
    let sent = request(EmailPurpose::Register, "ada@mail.test\r\nBcc: eve@mail.test", 1);
    let sent = server.accounts.request_email_token(sent).await;
    assert!(matches!(sent, Err(EmailTokenError::InvalidAddress(_))), "{sent:?}");
    let long = "x".repeat(256);
    for client_secret in ["", "a b", &long] {
        let request =
            EmailTokenRequest { client_secret, ..request(EmailPurpose::Register, ADDRESS, 1) };
        let sent = server.accounts.request_email_token(request).await;
        assert!(matches!(sent, Err(EmailTokenError::InvalidClientSecret)), "{sent:?}");
    }
    assert_eq!(postbox.take(), []);
    let silent = Server::new().await;
    let sent = silent.accounts.request_email_token(request(EmailPurpose::Register, ADDRESS, 1));
    assert!(matches!(sent.await, Err(EmailTokenError::NotOffered)));
}
