//! Profiles in sliding sync: whose are told, when, and which fields.

use ruma::{OwnedUserId, UserId};
use serde_json::{Value, json, value::RawValue};

use crate::{
    slide::{Slide, all, subscribed, told, with},
    world::World,
};

const UNSTABLE: &str = "org.matrix.msc4262.profiles";

impl World {
    async fn set_field(&self, user: &UserId, field: &str, value: &Value) {
        let value = RawValue::from_string(value.to_string()).expect("JSON");
        self.accounts.set_profile_field(user, field, &value).await.expect("set");
    }

    /// With a display name.
    async fn person(&self, name: &str) -> OwnedUserId {
        let user = self.user(name).await;
        self.set_field(&user, "displayname", &name.to_uppercase().into()).await;
        user
    }
}

fn list(lazy: bool, profiles: &Value) -> Value {
    let required = if lazy { json!([["m.room.member", "$LAZY"]]) } else { json!([]) };
    with(all(9, 1, &required), UNSTABLE, profiles)
}

fn on(lazy: bool) -> Value {
    list(lazy, &json!({"enabled": true}))
}

fn users(answer: &Value) -> &Value {
    &answer["extensions"][UNSTABLE]["users"]
}

fn named(answer: &Value) -> Vec<(&str, Option<&str>)> {
    let users = users(answer).as_object().into_iter().flatten();
    users.map(|(id, user)| (id.as_str(), user["updated"]["displayname"].as_str())).collect()
}

#[tokio::test]
async fn a_room_comes_with_the_profiles_of_its_people() {
    let world = World::new().await;
    let (ada, bob, cay) =
        (world.person("ada").await, world.person("bob").await, world.person("cay").await);
    world.person("eve").await;
    world.shared_room(&[&ada, &bob, &cay]).await;
    let mut slide = Slide::new(&world, &ada);
    let everybody = slide.ask(&on(false)).await;
    let [a, b, c] = [&ada, &bob, &cay].map(|user| user.as_str());
    assert_eq!(named(&everybody), [(a, Some("ADA")), (b, Some("BOB")), (c, Some("CAY"))]);
    assert!(users(&slide.ask(&on(false)).await).is_null(), "once");
    // Loaded lazily, whoever is needed: cay came last.
    let mut lazy = Slide::elsewhere(&world, &ada);
    assert_eq!(named(&lazy.ask(&on(true)).await), [(a, Some("ADA")), (c, Some("CAY"))]);
    // The name of the extension once it is merged.
    let mut other = Slide::stable(&world, &ada);
    let body = json!({"conn_id": "merged", "extensions": {"profiles": {"enabled": true}}});
    let first = other.ask(&body).await;
    let own = &first["extensions"]["profiles"]["users"];
    assert_eq!(own, &json!({a: {"updated": {"displayname": "ADA"}}}), "without rooms");
    assert!(other.ask(&body).await["extensions"]["profiles"].is_null(), "once, too");
}

#[tokio::test]
async fn changes_wake_and_are_told_field_by_field() {
    let world = World::new().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let eve = world.person("eve").await;
    world.shared_room(&[&ada, &bob]).await;
    let mut slide = Slide::new(&world, &ada);
    let body = on(true);
    slide.ask(&body).await;
    let status = json!({"text": "away"});
    let (answer, ()) =
        tokio::join!(slide.wait(&body), world.set_field(&bob, "org.test.status", &status));
    assert!(told(&answer).is_empty());
    let bobs = |value: Value| json!({bob.as_str(): value});
    assert_eq!(users(&answer), &bobs(json!({"updated": {"org.test.status": status}})));

    world.set_field(&eve, "displayname", &"nobody ada knows".into()).await;
    world.set_field(&bob, "avatar_url", &"mxc://x.test/bob".into()).await;
    world.accounts.delete_profile_field(&bob, "org.test.status").await.expect("deleted");
    let lost = slide.peek(&body).await;
    let both = json!({
        "updated": {"avatar_url": "mxc://x.test/bob"}, "removed": ["org.test.status"],
    });
    assert_eq!(users(&lost), &bobs(both));
    // An answer that was lost is told again.
    assert_eq!(users(&slide.ask(&body).await), users(&lost));
    assert!(users(&slide.ask(&body).await).is_null());
    // One's own changes are for one's other devices.
    let own = async { world.set_field(&ada, "displayname", &"Countess".into()).await };
    let (answer, ()) = tokio::join!(slide.wait(&body), own);
    assert_eq!(named(&answer), [(ada.as_str(), Some("Countess"))]);
    // Of somebody who is in no room that the client looks at, too.
    let elsewhere = world.shared_room(&[&ada]).await;
    let away = with(subscribed(&elsewhere, 1, &json!([])), UNSTABLE, &json!({"enabled": true}));
    slide.ask(&away).await;
    world.set_field(&bob, "displayname", &"Robert".into()).await;
    assert_eq!(named(&slide.ask(&away).await), [(bob.as_str(), Some("Robert"))]);
}

#[tokio::test]
async fn fields_are_those_that_are_asked_for_now() {
    let world = World::new().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    world.set_field(&bob, "org.test.a", &1.into()).await;
    world.set_field(&bob, "org.test.b", &2.into()).await;
    world.shared_room(&[&ada, &bob]).await;
    let asking = |fields: &[&str]| list(false, &json!({"enabled": true, "fields": fields}));
    let mut slide = Slide::new(&world, &ada);
    let of_bob = |answer: &Value| users(answer)[bob.as_str()]["updated"].clone();
    assert_eq!(of_bob(&slide.ask(&asking(&["org.test.a"])).await), json!({"org.test.a": 1}));
    world.set_field(&bob, "org.test.b", &3.into()).await;
    assert!(of_bob(&slide.ask(&asking(&["org.test.a"])).await).is_null());
    // More fields: told for the rooms in sight; less: nothing to tell; all.
    let both = ["org.test.a", "org.test.b"];
    let wider = json!({"org.test.a": 1, "org.test.b": 3});
    assert_eq!(of_bob(&slide.ask(&asking(&both)).await), wider);
    assert!(of_bob(&slide.ask(&asking(&["org.test.a"])).await).is_null());
    let whole = json!({"displayname": "BOB", "org.test.a": 1, "org.test.b": 3});
    assert_eq!(of_bob(&slide.ask(&on(false)).await), whole);
    assert!(of_bob(&slide.ask(&on(false)).await).is_null());
    // Switched off and on again: what changed meanwhile was not told.
    slide.ask(&all(9, 1, &json!([]))).await;
    world.set_field(&bob, "org.test.a", &4.into()).await;
    slide.ask(&all(9, 1, &json!([]))).await;
    assert_eq!(of_bob(&slide.ask(&on(false)).await)["org.test.a"], 4);
}

#[tokio::test]
async fn who_shares_no_room_any_more_is_let_go() {
    let world = World::new().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let id = world.shared_room(&[&ada, &bob]).await;
    let mut slide = Slide::new(&world, &ada);
    slide.ask(&on(true)).await;
    world.rooms.leave(&id, &bob, None).await.expect("bob may leave");
    let users = users(&slide.ask(&on(true)).await).clone();
    assert!(users.get(bob.as_str()).is_some_and(Value::is_null), "{users}");
    world.set_field(&bob, "displayname", &"unseen".into()).await;
    assert!(named(&slide.ask(&on(true)).await).is_empty());
}
