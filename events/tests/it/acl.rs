//! Which servers an access control list lets in.

use events::ServerAcl;
use ruma::ServerName;

fn allows(acl: &str, server: &str) -> bool {
    let server = <&ServerName>::try_from(server).expect("a server name");
    ServerAcl::parse(acl).allows(server)
}

#[test]
fn disguises_do_not_help_a_denied_server() {
    let acl = r#"{"allow":["*"],"deny":["evil.test","*.evil.test","e?il.example"]}"#;
    for denied in [
        "evil.test",
        "EVIL.test",
        "evil.test:8448",
        "a.evil.test",
        "evil.example",
        "eXil.example:1",
    ] {
        assert!(!allows(acl, denied), "{denied}");
    }
    for allowed in ["good.test", "notevil.test", "evil.test.good", "eil.example"] {
        assert!(allows(acl, allowed), "{allowed}");
    }
}

#[test]
fn address_literals_are_refused_in_any_notation() {
    let acl = r#"{"allow":["*"],"allow_ip_literals":false}"#;
    for denied in [
        "127.0.0.1",
        "127.0.0.1:8448",
        "[::1]",
        "[2001:db8::1]:443",
        "127.1",
        "2130706433",
        "0x7f000001",
    ] {
        assert!(!allows(acl, denied), "{denied}");
    }
    assert!(allows(acl, "127.0.0.1.example"));
    assert!(allows(r#"{"allow":["*"]}"#, "127.0.0.1"));
}

#[test]
fn a_list_that_allows_nobody_allows_nobody() {
    for acl in
        ["{}", "[]", r#"{"deny":[]}"#, r#"{"allow":"*"}"#, r#"{"allow":[1,null]}"#, "not json"]
    {
        assert!(!allows(acl, "good.test"), "{acl}");
    }
}

#[test]
fn stars_cost_no_time() {
    let acl = format!(r#"{{"allow":["{}b"]}}"#, "a*".repeat(200));
    let server = format!("{}.test", "a".repeat(200));
    assert!(!allows(&acl, &server));
}
