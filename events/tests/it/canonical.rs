//! Canonical JSON: the specification's examples, what strict versions refuse, and how deep it goes.

use events::canonical::{JsonError, MAX_LEVELS, Numbers, canonicalise};

fn canonical(text: &str, numbers: Numbers) -> Result<String, JsonError> {
    canonicalise(text.as_bytes(), numbers).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn specified_examples() {
    let examples = [
        ("{}", "{}"),
        ("{\n    \"one\": 1,\n    \"two\": \"Two\"\n}", r#"{"one":1,"two":"Two"}"#),
        ("{\n    \"b\": \"2\",\n    \"a\": \"1\"\n}", r#"{"a":"1","b":"2"}"#),
        (
            r#"{ "auth": { "success": true, "mxid": "@john.doe:example.com", "profile": {
                "display_name": "John Doe", "three_pids": [
                { "medium": "email", "address": "john.doe@example.org" },
                { "medium": "msisdn", "address": "123456789" } ] } } }"#,
            r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}"#,
        ),
        (r#"{ "a": "日本語" }"#, r#"{"a":"日本語"}"#),
        (r#"{ "本": 2, "日": 1 }"#, r#"{"日":1,"本":2}"#),
        (r#"{ "a": "\u65E5" }"#, r#"{"a":"日"}"#),
        (r#"{ "a": null }"#, r#"{"a":null}"#),
    ];
    for (text, expected) in examples {
        for numbers in [Numbers::Strict, Numbers::AsText] {
            assert_eq!(canonical(text, numbers).as_deref(), Ok(expected), "{text}");
        }
    }
}

#[test]
fn numbers_are_strict_or_kept_as_text() {
    let not_canonical = [
        "1.0",
        "1e3",
        "1E3",
        "-0",
        "-0.0",
        "0.5",
        "1e10",
        "9007199254740992",
        "-9007199254740992",
        "18446744073709551616",
        "1e400",
    ];
    for number in not_canonical {
        let text = format!(r#"{{"a":{number}}}"#);
        assert!(canonical(&text, Numbers::Strict).is_err(), "{number}");
        assert_eq!(canonical(&text, Numbers::AsText).as_ref(), Ok(&text), "{number}");
    }
    for number in ["0", "-1", "9007199254740991", "-9007199254740991"] {
        let text = format!(r#"{{"a":{number}}}"#);
        assert_eq!(canonical(&text, Numbers::Strict).as_ref(), Ok(&text), "{number}");
    }
}

#[test]
fn malformed_text_is_refused() {
    let malformed = [
        "",
        " ",
        "{",
        "}",
        "[1",
        "[1,]",
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        "{a:1}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "NaN",
        "Infinity",
        "nul",
        "truex",
        "\"",
        "\"\u{1}\"",
        r#""\x""#,
        r#""\u12""#,
        r#""\ud800""#,
        r#""\ud800\u0041""#,
        r#""\udc00""#,
        "1 2",
        "\u{feff}{}",
    ];
    for text in malformed {
        for numbers in [Numbers::Strict, Numbers::AsText] {
            assert!(canonical(text, numbers).is_err(), "{text:?}");
        }
    }
    assert_eq!(canonicalise(b"\"\xff\"", Numbers::AsText), Err(JsonError::Utf8));
}

#[test]
fn strings_take_their_shortest_form() {
    let text = r#""\u0000\u001F\u0008\t\n\f\r\"\\\/\u007f\ud83d\ude00é""#;
    let expected = "\"\\u0000\\u001f\\b\\t\\n\\f\\r\\\"\\\\/\u{7f}😀é\"";
    assert_eq!(canonical(text, Numbers::Strict).as_deref(), Ok(expected));
}

#[test]
fn keys_are_sorted_by_code_point_and_the_last_of_equals_stays() {
    let text = "{\"\u{10000}\":1,\"\u{ffff}\":2,\"b\":3,\"\\u0062\":4,\"a\":5}";
    let expected = "{\"a\":5,\"b\":4,\"\u{ffff}\":2,\"\u{10000}\":1}";
    assert_eq!(canonical(text, Numbers::Strict).as_deref(), Ok(expected));
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert!(canonical(&nested(MAX_LEVELS), Numbers::AsText).is_ok());
    for levels in [MAX_LEVELS + 1, 200, 100_000] {
        assert_eq!(canonical(&nested(levels), Numbers::AsText), Err(JsonError::TooDeep));
        assert_eq!(canonical(&"{\"a\":".repeat(levels), Numbers::AsText), Err(JsonError::TooDeep));
    }
}
