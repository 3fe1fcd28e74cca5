//! The signature of requests between servers.

use events::{
    RequestError, RequestToSign, RoomVersion, SigningKey, canonical::canonicalise, sign_json,
    sign_request, verify_request,
};
use ruma::{CanonicalJsonObject, CanonicalJsonValue, ServerName, server_name};
use serde_json::json;

use crate::signing::key;

fn request(content: Option<&[u8]>) -> RequestToSign<'_> {
    RequestToSign {
        method: "PUT",
        uri: "/_matrix/federation/v1/send/1?a=%20\"b",
        origin: server_name!("a.test"),
        destination: Some(server_name!("b.test:8448")),
        content,
    }
}

fn check(request: &RequestToSign<'_>, signature: &str) -> Result<(), RequestError> {
    verify_request(request, &key().public_key(), signature)
}

/// By way of another implementation.
fn signature_as_json(content: Option<&str>) -> String {
    let mut object = json!({
        "method": "PUT", "uri": "/_matrix/federation/v1/send/1?a=%20\"b",
        "origin": "a.test", "destination": "b.test:8448",
    });
    if let Some(content) = content {
        object["content"] = serde_json::from_str(content).unwrap();
    }
    let mut object: CanonicalJsonObject = serde_json::from_value(object).unwrap();
    sign_json(&mut object, &key(), <&ServerName>::try_from("a.test").unwrap()).unwrap();
    let CanonicalJsonValue::Object(signatures) = &object["signatures"] else { panic!() };
    let CanonicalJsonValue::Object(signatures) = &signatures["a.test"] else { panic!() };
    signatures["ed25519:1"].as_str().unwrap().to_owned()
}

#[test]
fn requests_are_signed_as_json_is() {
    assert_eq!(sign_request(&request(None), &key()).unwrap(), signature_as_json(None));
    for content in [
        "{}",
        "[]",
        r#" { "b" : [ 1 , { } , [ ] , "x\u00e9\n\"" , null, true ] , "a" : { "d" : -5 , "c" : "" } } "#,
        r#"{"pdus":[{"z":1,"a":[{"y":2,"x":3}]},{}],"edus":[]}"#,
        r#"{"a":1,"a":2,"\u0061":3}"#,
        r#"{"\ud83d\ude00":1,"ｚ":2,"z":3}"#,
    ] {
        let signed = sign_request(&request(Some(content.as_bytes())), &key()).unwrap();
        assert_eq!(signed, signature_as_json(Some(content)), "{content}");
        check(&request(Some(content.as_bytes())), &signed).unwrap();
    }
}

#[test]
fn numbers_count_as_they_are_written() {
    let odd = |number: &str| format!(r#"{{"edus":[{{"x":{number}}}]}}"#);
    for number in ["1.0", "1e3", "-0", "9007199254740993", "18446744073709551616", "0.1E-7"] {
        let content = odd(number);
        let signed = sign_request(&request(Some(content.as_bytes())), &key()).unwrap();
        check(&request(Some(content.as_bytes())), &signed).unwrap();
        let other = odd("1");
        assert_eq!(check(&request(Some(other.as_bytes())), &signed), Err(RequestError::Wrong));
    }
}

#[test]
fn every_part_is_covered() {
    let signed = sign_request(&request(Some(b"{}")), &key()).unwrap();
    let good = request(Some(b"{}"));
    check(&good, &signed).unwrap();
    let others = [
        RequestToSign { method: "POST", ..good },
        RequestToSign { uri: "/_matrix/federation/v1/send/1", ..good },
        RequestToSign { origin: server_name!("c.test"), ..good },
        RequestToSign { destination: Some(server_name!("c.test")), ..good },
        RequestToSign { destination: None, ..good },
        RequestToSign { content: None, ..good },
        RequestToSign { content: Some(b"[]"), ..good },
    ];
    for other in others {
        assert_eq!(check(&other, &signed), Err(RequestError::Wrong), "{other:?}");
    }
    let key = SigningKey::from_seed(&[1; 32], "1").unwrap().public_key();
    assert_eq!(verify_request(&good, &key, &signed), Err(RequestError::Wrong));
    assert_eq!(check(&good, "AAAA"), Err(RequestError::Wrong));
    assert_eq!(check(&good, "not base64"), Err(RequestError::Wrong));
}

#[test]
fn a_request_may_be_nested_as_deeply_as_it_likes() {
    for (open, close) in [("[", "]"), (r#"{"b":0,"a":"#, "}")] {
        let levels = 50_000;
        let content = format!("{}1{}", open.repeat(levels), close.repeat(levels));
        let content = Some(content.as_bytes());
        let signed = sign_request(&request(content), &key()).unwrap();
        check(&request(content), &signed).unwrap();
    }
}

#[test]
fn what_is_not_json_is_not_signed() {
    let cases: [&[u8]; 14] = [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{\"a\"}",
        b"{\"a\":1,}",
        b"{]",
        b"[}",
        b"{} {}",
        b"{\"a\":01}",
        b"nul",
        b"\"\\ud800\"",
        b"\xff",
        b"[1 2]",
    ];
    for content in cases {
        let signed = sign_request(&request(Some(content)), &key());
        assert!(signed.is_err(), "{}", String::from_utf8_lossy(content));
    }
    let many = format!("[{}1]", "1,".repeat(2_000_000));
    assert!(sign_request(&request(Some(many.as_bytes())), &key()).is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn both_canonicalisers_agree(value in crate::properties::any_json()) {
        let text = serde_json::to_string(&value).unwrap();
        let content = canonicalise(text.as_bytes(), RoomVersion::parse("1").unwrap().numbers());
        let request = RequestToSign { destination: None, ..request(Some(text.as_bytes())) };
        let bytes = String::from_utf8(request.to_bytes().unwrap()).unwrap();
        let expected = String::from_utf8(content.unwrap()).unwrap();
        let head = format!(r#"{{"content":{expected},"method""#);
        proptest::prop_assert!(bytes.starts_with(&head), "{bytes}");
    }
}
