//! Which servers an access control list lets in.

use events::ServerAcl;
use ruma::ServerName;

#[track_caller]
fn check(acl: &str, allowed: &[&str], denied: &[&str]) {
    let acl = ServerAcl::parse(acl);
    let allows = |server: &str| {
        acl.allows(<&ServerName>::try_from(server).unwrap_or_else(|_| panic!("{server} is a name")))
    };
    for server in allowed {
        assert!(allows(server), "{server}");
    }
    for server in denied {
        assert!(!allows(server), "{server}");
    }
}

#[test]
fn disguises_do_not_help_a_denied_server() {
    check(
        r#"{"allow":["*"],"deny":["evil.test","*.evil.test","e?il.example","*bad*","UPPER.test","dot.test.","*worse.test."]}"#,
        &["good.test", "notevil.test", "evil.test.good", "eil.example", "test", "good.test."],
        &[
            "evil.test",
            "EVIL.test",
            "evil.test.",
            "evil.test..",
            "evil.test:8448",
            "evil.test.:8448",
            "a.evil.test",
            "A.b.Evil.test",
            "a.evil.test.",
            "evil.example",
            "eXil.example:1",
            "verybadserver.test",
            "upper.test",
            "dot.test",
            "dot.test.:1",
            "worse.test",
            "a.worse.test.",
            "xn--bad-9na.test",
            "XN--BAD-9NA.TEST.:65535",
            "a.b.c.d.e.f.evil.test",
        ],
    );
}

#[test]
fn address_literals_are_refused_in_any_notation() {
    check(
        r#"{"allow":["*"],"allow_ip_literals":false}"#,
        &["127.0.0.1.example", "dead.beef", "0xcafe.example"],
        &[
            "127.0.0.1",
            "127.0.0.1.",
            "127.0.0.1:8448",
            "[::1]",
            "[2001:db8::1]:443",
            "[::ffff:127.0.0.1]",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "0X7F.1",
            "017700000001",
            "127.0.1:1",
            "0",
            "127.000.000.001",
            "127.0.0.1.:8448",
            "[::FFFF:7F00:1]",
            "[0:0:0:0:0:0:0:1]",
        ],
    );
    check(r#"{"allow":["*"]}"#, &["127.0.0.1", "[::1]:8448"], &["127.1", "2130706433"]);
}

#[test]
fn a_denied_address_is_denied_in_any_notation() {
    check(
        r#"{"allow":["*"],"deny":["10.0.0.1","[2001:db8::1]","192.168.*"]}"#,
        &["10.0.0.2", "[2001:db8::2]", "192.169.0.1"],
        &[
            "10.0.0.1",
            "10.0.0.1:80",
            "[::ffff:10.0.0.1]",
            "[::ffff:a00:1]:8448",
            "[2001:db8::1]",
            "[2001:DB8:0:0:0:0:0:1]",
            "[2001:0db8::0001]:8448",
            "192.168.7.7",
            "10.1",
            "167772161",
        ],
    );
}

#[test]
fn a_list_that_allows_nobody_allows_nobody() {
    for acl in
        ["{}", "[]", r#"{"deny":[]}"#, r#"{"allow":"*"}"#, r#"{"allow":[1,null]}"#, "not json"]
    {
        check(acl, &[], &["good.test"]);
    }
}

#[test]
fn malformed_entries_take_nothing_from_the_others() {
    check(
        r#"{"allow":[{},"*",7],"deny":[null,"evil.test",["good.test"]],"allow_ip_literals":"no"}"#,
        &["good.test", "127.0.0.1"],
        &["evil.test"],
    );
}

#[test]
fn stars_cost_no_time() {
    let acl = format!(r#"{{"allow":["{}b"]}}"#, "a*".repeat(200));
    check(&acl, &[], &[&format!("{}.test", "a".repeat(200))]);
}
