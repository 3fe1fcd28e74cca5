//! Profiles: fields, their limits, and what rooms see.

use accounts::{Profile, ProfileError, stream};
use ruma::{OwnedUserId, UserId};

use crate::{Server, raw, user_id};

#[tokio::test]
async fn fields_come_back_as_they_were_set() {
    let mut server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    let set = async |field: &str, json: &str| {
        server.accounts.set_profile_field(&ada, field, &raw(json)).await.expect("set");
    };
    set("displayname", r#""Ada""#).await;
    set("avatar_url", r#""mxc://example.org/ada""#).await;
    set("m.tz", r#""Europe/London""#).await;
    set("org.example.pronouns", r#"[{"language":"en","summary":"she"}]"#).await;
    set("org.example.gone", "1.5").await;
    server.accounts.delete_profile_field(&ada, "org.example.gone").await.expect("deleted");
    server.accounts.delete_profile_field(&ada, "org.example.never").await.expect("nothing");
    for _restart in 0..2 {
        let fields = server.accounts.profile_fields(&ada).await.expect("read").expect("a user");
        let fields: Vec<_> = fields.iter().map(|(k, v)| (k.as_str(), v.get())).collect();
        let expected = [
            ("avatar_url", r#""mxc://example.org/ada""#),
            ("displayname", r#""Ada""#),
            ("m.tz", r#""Europe/London""#),
            ("org.example.pronouns", r#"[{"language":"en","summary":"she"}]"#),
        ];
        assert_eq!(fields, expected);
        let profile = server.accounts.profile(&ada).await.expect("read");
        assert_eq!(profile.displayname.as_deref(), Some("Ada"));
        assert_eq!(profile.avatar_url.as_deref(), Some("mxc://example.org/ada"));
        server.reopen().await;
    }
    let facts = server.store.facts(0, u64::MAX, 100).await.expect("read");
    let fields = facts.iter().filter(|logged| logged.fact.stream == stream::PROFILE);
    let fields = fields.map(|logged| {
        assert_eq!(&*logged.fact.subject, "@ada:example.org");
        stream::ProfileFact::decode(&logged.fact.payload).expect("decodes").field
    });
    assert_eq!(fields.take(2).collect::<Vec<_>>(), ["displayname", "avatar_url"]);
}

#[tokio::test]
async fn a_change_is_seen_at_once() {
    let server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    for name in ["One", "Two"] {
        let json = raw(&format!("{name:?}"));
        server.accounts.set_profile_field(&ada, "displayname", &json).await.expect("set");
        let profile = server.accounts.profile(&ada).await.expect("read");
        assert_eq!(profile.displayname.as_deref(), Some(name));
    }
    for nothing in [r#""""#, "null"] {
        let name = raw(r#""Three""#);
        server.accounts.set_profile_field(&ada, "displayname", &name).await.expect("set");
        server.accounts.set_profile_field(&ada, "displayname", &raw(nothing)).await.expect("unset");
        assert_eq!(*server.accounts.profile(&ada).await.expect("read"), Profile::default());
    }
    assert_eq!(*server.accounts.profile(&user_id("x")).await.expect("read"), Profile::default());
}

#[tokio::test]
async fn limits() {
    let server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    let set = async |field: &str, json: &str| {
        server.accounts.set_profile_field(&ada, field, &raw(json)).await
    };
    let text = |length: usize| format!("{:?}", "x".repeat(length));
    let long_key = format!("a{}", "b".repeat(255));
    assert!(matches!(set(&long_key, "1").await, Err(ProfileError::KeyTooLarge)));
    assert!(set(&long_key[..255], "1").await.is_ok());
    for key in ["", "A", ".a", "a b", "a\u{e9}", "m/x", "1a"] {
        assert!(matches!(set(key, "1").await, Err(ProfileError::Invalid(_))), "{key:?}");
    }
    for (field, json) in [
        ("displayname", "7".to_owned()),
        ("displayname", "{}".to_owned()),
        ("displayname", text(257)),
        ("avatar_url", "[]".to_owned()),
        ("m.tz", "1".to_owned()),
    ] {
        let refused = set(field, &json).await;
        assert!(matches!(refused, Err(ProfileError::Invalid(_))), "{field} {json}");
    }
    assert!(set("displayname", &text(256)).await.is_ok());
    let nobody = server.accounts.set_profile_field(&user_id("x"), "m.tz", &raw("\"UTC\"")).await;
    assert!(matches!(nobody, Err(ProfileError::NoUser)));

    assert!(matches!(set("org.a", &text(65_536)).await, Err(ProfileError::ProfileTooLarge)));
    assert!(set("org.a", &text(40_000)).await.is_ok());
    assert!(matches!(set("org.b", &text(40_000)).await, Err(ProfileError::ProfileTooLarge)));
    let fields = server.accounts.profile_fields(&ada).await.expect("read").expect("a user");
    assert!(!fields.contains_key("org.b"), "nothing of a refused change stays");
    assert!(set("org.a", "1").await.is_ok() && set("org.b", &text(40_000)).await.is_ok());
}

#[tokio::test]
async fn it_is_kept_which_fields_changed_when() {
    let server = Server::new().await;
    let (ada, bob) = (server.user("ada").await.user_id, server.user("bob").await.user_id);
    let position = || server.store.log().position();
    let set = async |user: &UserId, field: &str| {
        server.accounts.set_profile_field(user, field, &raw("1")).await.expect("set");
    };
    let changed = async |after| {
        let users = server.accounts.changed_profiles(after, position(), 10).await.expect("read");
        users.into_iter().map(|(_, user)| user).collect::<Vec<_>>()
    };
    let fields = async |after| {
        let fields = server.accounts.changed_profile_fields(&ada, after).await.expect("read");
        fields.map(|fields| fields.into_iter().collect::<Vec<_>>())
    };
    let start = position();
    set(&ada, "org.test.a").await;
    set(&bob, "org.test.a").await;
    assert_eq!(changed(start).await, [ada.clone(), bob.clone()]);
    let between = position();
    set(&ada, "org.test.b").await;
    server.accounts.delete_profile_field(&ada, "org.test.a").await.expect("deleted");
    assert_eq!(changed(start).await, [bob.clone(), ada.clone()], "each once");
    assert_eq!(changed(between).await, std::slice::from_ref(&ada));
    assert_eq!(changed(position()).await, Vec::<OwnedUserId>::new());
    let both = Some(vec!["org.test.a".to_owned(), "org.test.b".to_owned()]);
    assert_eq!(fields(between).await, both, "what was removed, too");
    // Names can be invented without end, and are not kept without end.
    for number in 0..100 {
        set(&ada, &format!("org.test.n{number}")).await;
    }
    assert_eq!(fields(between).await, None, "any may have changed");
    assert_eq!(fields(position() - 1).await, Some(vec!["org.test.n99".to_owned()]));
    let before = position();
    server.accounts.deactivate(&bob, true).await.expect("erased");
    assert_eq!(changed(before).await, std::slice::from_ref(&bob));
    let gone = server.accounts.changed_profile_fields(&bob, before).await.expect("read");
    let all = ["displayname", "org.test.a"].map(str::to_owned);
    assert_eq!(gone, Some(all.into()), "all that there were");
}
