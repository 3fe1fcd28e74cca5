//! Web Push: the app shows that it is there, and is pushed what nobody else can read.

use std::time::Duration;

use accounts::Session;
use push::{ActivationError, NewPusher, PusherError, SetPusher};
use serde_json::{Value, json};

use crate::{
    app::App,
    gateway::Mood,
    world::{World, pusher},
};

const APP: &str = "org.example.app";
const URL: &str = "https://push.example/wpush/v2/abc";
const MINUTE_MS: u64 = 60 * 1000;

fn subscription(app: &App, url: &str) -> NewPusher {
    let data = json!({ "url": url, "auth": app.auth(), "own": 7 });
    NewPusher {
        kind: "webpush".to_owned(),
        data: data.as_object().expect("an object").clone(),
        ..pusher(&app.pushkey())
    }
}

impl World {
    async fn subscribe(&self, user: &Session, new: NewPusher) -> SetPusher {
        self.push.set_pusher(user, new).await.expect("the pusher is set")
    }

    /// The token that the app is pushed.
    async fn ack_token(&self, app: &App) -> String {
        let message = self.gateway.is_pushed(1).await.remove(0);
        let told = app.open(&message.body).expect("it is for the app");
        assert_eq!(told["app_id"], APP);
        assert_eq!(told.as_object().map(serde_json::Map::len), Some(2));
        told["ack_token"].as_str().expect("a token").to_owned()
    }

    async fn acknowledge(&self, user: &Session, token: &str) -> Result<(), ActivationError> {
        self.push.activate_pusher(user, APP, token).await
    }

    /// A user whose app is pushed.
    async fn subscribed(&self, name: &str, app: &App, url: &str) -> Session {
        let user = self.user(name).await;
        assert_eq!(
            self.subscribe(&user, subscription(app, url)).await,
            SetPusher::AwaitsActivation
        );
        let token = self.ack_token(app).await;
        self.acknowledge(&user, &token).await.expect("a good token");
        user
    }

    async fn is_told(&self, app: &App) -> Value {
        let message = self.gateway.is_pushed(1).await.remove(0);
        app.open(&message.body).expect("it is for the app")["notification"].clone()
    }
}

#[tokio::test]
async fn an_app_that_has_shown_itself_is_pushed_what_only_it_can_read() {
    let world = World::new().await;
    let (ada, ben, app) = (world.user("ada").await, world.user("ben").await, App::new(1));
    let room = world.shared_room(&[&ada, &ben]).await;
    let new = subscription(&app, URL);
    assert_eq!(world.subscribe(&ben, new.clone()).await, SetPusher::AwaitsActivation);
    let token = world.ack_token(&app).await;
    world.say(&room, &ada, "before the app has shown itself").await;
    let wrong = world.acknowledge(&ben, "another").await;
    assert!(matches!(wrong, Err(ActivationError::UnknownToken)), "{wrong:?}");
    let wrong = world.acknowledge(&ada, &token).await;
    assert!(matches!(wrong, Err(ActivationError::NoPusher)), "{wrong:?}");
    let wrong = world.push.activate_pusher(&ben, "org.example.other", &token).await;
    assert!(matches!(wrong, Err(ActivationError::NoPusher)), "{wrong:?}");
    for _ in 0..2 {
        world.acknowledge(&ben, &token).await.expect("a good token");
    }
    assert_eq!(world.subscribe(&ben, new).await, SetPusher::Active);

    let event = world.say(&room, &ada, "hello").await;
    let message = world.gateway.is_pushed(1).await.remove(0);
    let told = app.open(&message.body).expect("it is for the app");
    let expected = json!({ "notification": {
        "event_id": event,
        "id": event,
        "room_id": room,
        "type": "m.room.message",
        "sender": ada.user_id,
        "prio": "low",
        "content": { "msgtype": "m.text", "body": "hello" },
        "counts": { "unread": 1 },
        "devices": [{
            "app_id": APP,
            "pushkey": app.pushkey(),
            "pushkey_ts": crate::world::START_MS / 1000,
            "data": { "own": 7 },
        }],
    }});
    assert_eq!(told, expected);
    assert_eq!(App::new(2).open(&message.body), None);
    assert_eq!((message.ttl, message.urgency), (Duration::from_secs(172_800), "normal"));
    let key = world.push.web_push_key().expect("it is offered");
    assert!(message.authorization.starts_with("vapid t="), "{message:?}");
    assert!(message.authorization.ends_with(&format!(", k={key}")), "{message:?}");
    assert_eq!(message.topic.map(|topic| topic.len()), Some(32));
}

#[tokio::test]
async fn a_token_counts_for_five_minutes_and_a_new_one_comes_with_the_next_request() {
    let world = World::new().await;
    let (ben, app) = (world.user("ben").await, App::new(1));
    world.subscribe(&ben, subscription(&app, URL)).await;
    let old = world.ack_token(&app).await;
    world.clock.advance(5 * MINUTE_MS);
    let late = world.acknowledge(&ben, &old).await;
    assert!(matches!(late, Err(ActivationError::Expired)), "{late:?}");
    assert_eq!(world.subscribe(&ben, subscription(&app, URL)).await, SetPusher::AwaitsActivation);
    let new = world.ack_token(&app).await;
    let late = world.acknowledge(&ben, &old).await;
    assert!(matches!(late, Err(ActivationError::UnknownToken)), "{late:?}");
    world.acknowledge(&ben, &new).await.expect("a good token");
}

#[tokio::test]
async fn a_token_comes_when_the_push_service_is_back() {
    let world = World::new().await;
    let (ben, app) = (world.user("ben").await, App::new(1));
    world.gateway.becomes("push.example", Mood::Absent);
    world.subscribe(&ben, subscription(&app, URL)).await;
    world.gateway.is_tried(2).await;
    world.gateway.becomes("push.example", Mood::Takes);
    let token = world.ack_token(&app).await;
    world.acknowledge(&ben, &token).await.expect("a good token");
}

#[tokio::test]
async fn other_keys_or_another_place_are_acknowledged_anew() {
    for change in ["url", "auth"] {
        let world = World::new().await;
        let app = App::new(1);
        let (ada, ben) = (world.user("ada").await, world.subscribed("ben", &app, URL).await);
        let room = world.shared_room(&[&ada, &ben]).await;
        let mut changed = subscription(&app, URL);
        let value = json!({ "url": "https://other.example/x", "auth": App::new(2).auth() });
        changed.data.insert(change.to_owned(), value[change].clone());
        assert_eq!(world.subscribe(&ben, changed).await, SetPusher::AwaitsActivation, "{change}");
        world.gateway.is_pushed(1).await;
        let pushers = world.push.pushers(&ben.user_id).await.expect("readable");
        assert_eq!(pushers[0].activated(), Some(false));
        let cid = world.pushed("cid").await;
        world.join(&room, &cid.user_id).await;
        world.say(&room, &ada, "not pushed").await;
        world.gateway.takes(1).await;
    }
}

#[tokio::test]
async fn who_is_gone_is_pushed_no_more() {
    for status in [403, 404, 410] {
        let world = World::new().await;
        let app = App::new(1);
        let (ada, ben) = (world.user("ada").await, world.subscribed("ben", &app, URL).await);
        let room = world.shared_room(&[&ada, &ben]).await;
        world.gateway.becomes("push.example", Mood::Answers(status, 0));
        world.say(&room, &ada, "hello").await;
        while world.pushers(&ben).await > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_push_service_is_left_alone_for_as_long_as_it_says() {
    let world = World::new().await;
    let (app, other) = (App::new(1), App::new(2));
    let ada = world.user("ada").await;
    let ben = world.subscribed("ben", &app, URL).await;
    let cid = world.subscribed("cid", &other, "https://other.example/x").await;
    let room = world.shared_room(&[&ada, &ben, &cid]).await;
    world.gateway.becomes("push.example", Mood::Answers(429, 3600));
    let first = world.say(&room, &ada, "one").await;
    world.gateway.is_pushed(1).await;
    world.gateway.has_been_tried(4).await;
    world.gateway.becomes("push.example", Mood::Takes);
    for text in ["two", "three", "four"] {
        world.say(&room, &ada, text).await;
        assert!(world.is_told(&other).await.is_object(), "only the other is pushed");
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3601)).await;
    tokio::time::resume();
    assert_eq!(world.is_told(&app).await["event_id"], first.as_str());
}

#[tokio::test]
async fn what_is_too_long_is_pushed_without_what_can_be_fetched() {
    let world = World::new().await;
    let app = App::new(1);
    let (ada, ben) = (world.user("ada").await, world.subscribed("ben", &app, URL).await);
    let room = world.shared_room(&[&ada, &ben]).await;
    for (bytes, has_content) in [(100, true), (3000, true), (4000, false), (50_000, false)] {
        let event = world.say(&room, &ada, &"x".repeat(bytes)).await;
        let message = world.gateway.is_pushed(1).await.remove(0);
        assert!(message.body.len() <= 4096, "{bytes}: {}", message.body.len());
        let told = &app.open(&message.body).expect("for the app")["notification"];
        assert_eq!(told["event_id"], event.as_str());
        assert_eq!(told["content"].is_object(), has_content, "{bytes}");
    }
}

#[tokio::test]
async fn a_restart_changes_no_key_and_asks_no_app_again() {
    let world = World::new().await;
    let app = App::new(1);
    let (ada, ben) = (world.user("ada").await, world.subscribed("ben", &app, URL).await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let key = world.push.web_push_key().map(str::to_owned);
    world.gateway.becomes("push.example", Mood::Fails);
    let event = world.say(&room, &ada, "hello").await;
    world.gateway.is_tried(1).await;
    let world = world.restart().await;
    world.gateway.becomes("push.example", Mood::Takes);
    assert_eq!(world.push.web_push_key().map(str::to_owned), key);
    assert_eq!(world.is_told(&app).await["event_id"], event.as_str());
}

#[tokio::test]
async fn what_is_no_subscription_is_refused() {
    let world = World::new().await;
    let (ben, app) = (world.user("ben").await, App::new(1));
    let good = subscription(&app, URL);
    let with = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed.data.insert(key.to_owned(), value);
        changed
    };
    let mut other_key = good.clone();
    other_key.pushkey = "phone".to_owned();
    for bad in [
        with("url", json!("http://push.example/x")),
        with("url", json!("https://user@push.example/x")),
        with("url", json!(null)),
        with("auth", json!("short")),
        with("auth", json!(7)),
        with("own", json!("x".repeat(3000))),
        other_key,
    ] {
        let refused = world.push.set_pusher(&ben, bad.clone()).await;
        assert!(matches!(refused, Err(PusherError::Invalid(_))), "{bad:?}");
    }
    assert_eq!(world.pushers(&ben).await, 0);
}
