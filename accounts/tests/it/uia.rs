//! User-interactive authentication: sequences of rounds and what they may not be used for.

use std::collections::BTreeMap;

use accounts::{
    NewRegistrationToken, Stage, Uia, UiaDone, UiaError, UiaInfo, UiaOutcome, UiaRequest,
};
use ruma::UserId;
use serde_json::json;

use crate::{Server, at_once, raw, user_id};

const REGISTER: UiaRequest<'static> =
    UiaRequest { method: "POST", path: "/register", user_id: None, target: "" };
const DUMMY: &[&[Stage]] = &[&[Stage::Dummy]];
const PASSWORD: &[&[Stage]] = &[&[Stage::Password]];

async fn round(
    server: &Server,
    request: UiaRequest<'_>,
    flows: &[&[Stage]],
    auth: Option<serde_json::Value>,
) -> Result<UiaOutcome, UiaError> {
    let offer = Uia { flows, params: BTreeMap::new() };
    let auth = auth.map(|auth| raw(&auth.to_string()));
    server.accounts.uia(request, offer, auth.as_deref()).await
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
async fn one_stage() {
    let server = Server::new().await;
    let info = incomplete(round(&server, REGISTER, DUMMY, None).await);
    let json = serde_json::to_value(&info).expect("serialises");
    let expected = json!({
        "flows": [{"stages": ["m.login.dummy"]}],
        "params": {},
        "session": info.session,
        "completed": [],
    });
    assert_eq!(json, expected);
    let auth = json!({"type": "m.login.dummy", "session": info.session});
    let outcome = done(round(&server, REGISTER, DUMMY, Some(auth.clone())).await);
    assert_eq!(outcome.completed, [Stage::Dummy]);
    // The session is spent.
    let again = round(&server, REGISTER, DUMMY, Some(auth)).await;
    assert!(matches!(again, Err(UiaError::UnknownSession)));
    // A client that knows the flow may begin with it.
    done(round(&server, REGISTER, DUMMY, Some(json!({"type": "m.login.dummy"}))).await);
}

#[tokio::test]
async fn stages_come_in_order() {
    let server = Server::new().await;
    let token = NewRegistrationToken { token: Some("t0ken".to_owned()), ..Default::default() };
    server.accounts.create_registration_token(token).await.expect("created");
    let flows: &[&[Stage]] = &[&[Stage::RegistrationToken, Stage::Terms]];
    let session = incomplete(round(&server, REGISTER, flows, None).await).session;
    let attempt = async |auth| round(&server, REGISTER, flows, Some(auth)).await;

    let skipped = attempt(json!({"type": "m.login.terms", "session": session})).await;
    assert_eq!(incomplete(skipped).errcode, Some("M_UNRECOGNIZED"));
    let foreign = attempt(json!({"type": "m.login.dummy", "session": session})).await;
    assert_eq!(incomplete(foreign).errcode, Some("M_UNRECOGNIZED"));
    let stage = "m.login.registration_token";
    let wrong = attempt(json!({"type": stage, "token": "guess", "session": session})).await;
    let wrong = incomplete(wrong);
    assert_eq!((wrong.errcode, wrong.completed), (Some("M_UNAUTHORIZED"), Vec::new()));
    let right = attempt(json!({"type": stage, "token": "t0ken", "session": session})).await;
    let right = incomplete(right);
    assert_eq!((right.errcode, right.completed), (None, vec![Stage::RegistrationToken]));
    let outcome = done(attempt(json!({"type": "m.login.terms", "session": session})).await);
    assert_eq!(outcome.completed, [Stage::RegistrationToken, Stage::Terms]);
    assert_eq!(outcome.registration_token.as_deref(), Some("t0ken"));
}

fn password(session: &str, user: &str, password: &str) -> Option<serde_json::Value> {
    Some(json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
        "session": session,
    }))
}

#[tokio::test]
async fn a_password_proves_its_own_user() {
    let server = Server::new().await;
    server.user_with_password("ada", "correct horse").await;
    server.user_with_password("eve", "eves password").await;
    let ada = user_id("ada");
    let request =
        UiaRequest { method: "DELETE", path: "/devices/PHONE", user_id: Some(&ada), target: "" };
    let session = incomplete(round(&server, request, PASSWORD, None).await).session;
    let attempt =
        async |user, pw| round(&server, request, PASSWORD, password(&session, user, pw)).await;
    for (user, pw) in [("ada", "wrong"), ("@", "x")] {
        let info = incomplete(attempt(user, pw).await);
        assert_eq!(info.errcode, Some("M_FORBIDDEN"), "{user}");
    }
    for (user, pw) in [("eve", "eves password"), ("eve", "wrong"), ("nobody", "")] {
        assert!(matches!(attempt(user, pw).await, Err(UiaError::OtherUser)), "{user}");
    }
    let outcome = done(attempt("@ada:example.org", "correct horse").await);
    assert_eq!(outcome.user_id, Some(ada));
}

#[tokio::test]
async fn a_session_is_for_one_request() {
    let server = Server::new().await;
    server.user_with_password("ada", "correct horse").await;
    let (ada, eve) = (user_id("ada"), user_id("eve"));
    let request = |method: &'static str, path: &'static str, user: &'static str, target| {
        let user_id: Option<&UserId> = match user {
            "ada" => Some(&ada),
            "eve" => Some(&eve),
            _ => None,
        };
        UiaRequest { method, path, user_id, target }
    };
    let begun = request("POST", "/delete_devices", "ada", "PHONE");
    let session = incomplete(round(&server, begun, PASSWORD, None).await).session;
    for other in [
        request("PUT", "/delete_devices", "ada", "PHONE"),
        request("POST", "/account/password", "ada", "PHONE"),
        request("POST", "/delete_devices", "eve", "PHONE"),
        request("POST", "/delete_devices", "", "PHONE"),
        request("POST", "/delete_devices", "ada", "LAPTOP"),
        request("POST", "/delete_devicesP", "ada", "HONE"),
    ] {
        let auth = password(&session, "ada", "correct horse");
        let outcome = round(&server, other, PASSWORD, auth).await;
        assert!(matches!(outcome, Err(UiaError::UnknownSession)), "{other:?}");
    }
    let auth = password(&session, "ada", "correct horse");
    done(round(&server, begun, PASSWORD, auth).await);
}

#[tokio::test]
async fn sessions_end() {
    let server = Server::new().await;
    let session = incomplete(round(&server, REGISTER, DUMMY, None).await).session;
    server.clock.advance(60 * 60 * 1000);
    let auth = json!({"type": "m.login.dummy", "session": session});
    let late = round(&server, REGISTER, DUMMY, Some(auth)).await;
    assert!(matches!(late, Err(UiaError::UnknownSession)));

    let session = incomplete(round(&server, REGISTER, PASSWORD, None).await).session;
    for _attempt in 0..10 {
        let auth = json!({"type": "m.login.password", "session": session});
        incomplete(round(&server, REGISTER, PASSWORD, Some(auth)).await);
    }
    let eleventh = round(&server, REGISTER, PASSWORD, Some(json!({"session": session}))).await;
    assert!(matches!(eleventh, Err(UiaError::UnknownSession)));
}

#[tokio::test]
async fn junk_is_refused() {
    let server = Server::new().await;
    for junk in [json!([]), json!("x"), json!({"type": 7}), json!({"session": {}})] {
        let outcome = round(&server, REGISTER, DUMMY, Some(junk.clone())).await;
        assert!(matches!(outcome, Err(UiaError::Invalid(_))), "{junk}");
    }
    for nothing in [json!(null), json!({})] {
        incomplete(round(&server, REGISTER, DUMMY, Some(nothing)).await);
    }
    let unknown = json!({"session": "made up", "type": "m.login.dummy"});
    let unknown = round(&server, REGISTER, DUMMY, Some(unknown)).await;
    assert!(matches!(unknown, Err(UiaError::UnknownSession)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_who_complete_a_session_one_goes_on() {
    let server = Server::new().await;
    let session = incomplete(round(&server, REGISTER, DUMMY, None).await).session;
    let outcomes = at_once(|_| {
        let accounts = server.accounts.clone();
        let auth = raw(&json!({"type": "m.login.dummy", "session": session}).to_string());
        async move {
            let offer = Uia { flows: DUMMY, params: BTreeMap::new() };
            accounts.uia(REGISTER, offer, Some(&auth)).await
        }
    })
    .await;
    let went_on = |outcome: &&Result<_, _>| matches!(outcome, Ok(UiaOutcome::Done(_)));
    assert_eq!(outcomes.iter().filter(went_on).count(), 1);
}
