//! Whose request it is: the signature of the whole request, and of nobody else.

use axum::body::Body;
use http::{Request, header};

use super::{
    home::{Answer, Home, NAME},
    peer::{DAY_MS, KEY, Peer},
};

/// A question that is answered to whoever signs it.
const QUESTION: &str = "/_matrix/federation/v1/query/profile?user_id=%40ada%3Ahome.test";

async fn ask_with(home: &Home, headers: &[String]) -> Answer {
    let mut request = Request::get(QUESTION);
    for value in headers {
        request = request.header(header::AUTHORIZATION, value);
    }
    home.ask(request.body(Body::empty()).expect("a request")).await
}

#[tokio::test]
async fn headers_are_believed_however_they_are_written() {
    let home = Home::start().await;
    let peer = Peer::start(&home, "evil.test").await;
    home.user("ada").await;
    let name = &peer.name;
    let sig = peer.signature(Some(NAME), "GET", QUESTION, None);
    let undirected = peer.signature(None, "GET", QUESTION, None);
    let good = peer.authorization(NAME, "GET", QUESTION, None);
    let rows: Vec<Vec<String>> = vec![
        vec![good.clone()],
        vec![format!(r#"x-matrix sig="{sig}",key="{KEY}",destination="{NAME}",origin="{name}""#)],
        vec![format!("X-Matrix origin={name},destination={NAME},key={KEY},sig={sig}")],
        vec![format!(
            "X-MATRIX  Origin=\"{name}\" ,\tDESTINATION={NAME}, Key={KEY}, SIG=\"{sig}\""
        )],
        vec![format!(
            r#"X-Matrix a="b,c",origin={name},destination={NAME},key={KEY},sig={sig},z=1"#
        )],
        vec![format!(r#"X-Matrix origin="{name}",destination="home\.test",key={KEY},sig={sig}"#)],
        vec![format!(r#"X-Matrix origin="{name}",key="{KEY}",sig="{undirected}""#)],
        vec!["Bearer token".to_owned(), good.clone()],
        vec![good.replace("sig=\"", "sig=\"AAAA"), good.clone()],
        vec![good.replace(KEY, "ed25519:other"), good],
    ];
    for headers in rows {
        let answer = ask_with(&home, &headers).await;
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn headers_of_others_and_for_others_are_not_believed() {
    let home = Home::start().await;
    let peer = Peer::start(&home, "evil.test").await;
    let other = Peer::start(&home, "other.test").await;
    home.user("ada").await;
    let name = &peer.name;
    let good = peer.authorization(NAME, "GET", QUESTION, None);
    let sig = peer.signature(Some(NAME), "GET", QUESTION, None);
    let of = |destination: Option<&str>, method: &str, uri: &str, content: Option<&[u8]>| {
        let sig = peer.signature(destination, method, uri, content);
        let destination = destination.map(|name| format!(",destination=\"{name}\""));
        let destination = destination.unwrap_or_default();
        format!("X-Matrix origin=\"{name}\"{destination},key=\"{KEY}\",sig=\"{sig}\"")
    };
    let path = QUESTION.split_once('?').expect("a query").0;
    let rows = [
        Vec::new(),
        vec!["Bearer token".to_owned()],
        vec![format!("Bearer origin={name},destination={NAME},key={KEY},sig={sig}")],
        vec![of(Some("elsewhere.test"), "GET", QUESTION, None)],
        vec![of(Some("HOME.test:8448"), "GET", QUESTION, None)],
        vec![of(Some("elsewhere.test"), "GET", QUESTION, None).replace("elsewhere.test", NAME)],
        // Signed without a destination, or with one, and passed off as the other.
        vec![good.replace(&format!("destination=\"{NAME}\","), "")],
        vec![of(None, "GET", QUESTION, None).replace(",key", &format!(",destination={NAME},key"))],
        vec![of(Some(NAME), "PUT", QUESTION, None)],
        vec![of(Some(NAME), "GET", path, None)],
        vec![of(Some(NAME), "GET", &QUESTION.replace("ada", "bob"), None)],
        vec![of(Some(NAME), "GET", &QUESTION.replace("%40", "@"), None)],
        vec![of(Some(NAME), "GET", QUESTION, Some(b"{}"))],
        vec![good.replace(name.as_str(), other.name.as_str())],
        vec![good.replace(name.as_str(), NAME)],
        vec![good.replace(name.as_str(), "nowhere.test")],
        vec![good.replace(KEY, "ed25519:other")],
        vec![good.replace(KEY, "peer")],
        vec![good.replace(KEY, "")],
        vec![good.replace(&sig, "")],
        vec![good.replace(&sig, "AAAA")],
        vec![good.replace(&sig, &sig.to_lowercase())],
        vec![format!("{good},origin=\"{name}\"")],
        vec![format!("{good},sig=\"{sig}\"")],
        vec![good.replace("origin=", "0rigin=")],
    ];
    for headers in rows {
        let answer = ask_with(&home, &headers).await;
        answer.refused(&format!("{headers:?}"), 401, "M_UNAUTHORIZED");
    }
}

#[tokio::test]
async fn keys_that_do_not_count_any_more_sign_no_requests() {
    let home = Home::start().await;
    home.user("ada").await;
    let old = Peer::start(&home, "old.test").await;
    old.set_keys(|keys| {
        let (id, key) = keys.verify.remove(0);
        keys.old.push((id, key, u64::MAX >> 12));
    });
    old.get(&home, QUESTION).await.refused("a key that was replaced", 401, "M_UNAUTHORIZED");
    let expired = Peer::start(&home, "expired.test").await;
    expired.set_keys(|keys| keys.valid_until = stdx::Clock::now_ms(home.clock()) - 1);
    expired.get(&home, QUESTION).await.refused("an old document", 401, "M_UNAUTHORIZED");
    let eternal = Peer::start(&home, "eternal.test").await;
    eternal.set_keys(|keys| keys.valid_until = u64::MAX >> 12);
    eternal.get(&home, QUESTION).await.ok();
    eternal.set_down(true);
    home.clock().advance(6 * DAY_MS);
    eternal.get(&home, QUESTION).await.ok();
    home.clock().advance(2 * DAY_MS);
    eternal.get(&home, QUESTION).await.refused("after a week", 401, "M_UNAUTHORIZED");
}
