//! Events that are sent later, on the memory engine and a clock that stands still.

use std::{sync::Arc, time::Duration};

use accounts::{Accounts, NewUser, Restriction};
use delayed_events::{
    Action, Config, DelayedEvents, Error, Failure, NewDelayedEvent, Outcome, Pieces,
};
use events::SigningKey;
use rooms::{CreateRoom, Preset, Rooms, UnsignedFor, ports::Ports};
use ruma::{DeviceId, OwnedRoomId, OwnedUserId, UserId, device_id, owned_server_name};
use serde_json::{Value, value::RawValue};
use stdx::{ManualClock, Rng};
use storage::Store;

const START_MS: u64 = 1_700_000_000_000;

struct World {
    pieces: Pieces,
    events: DelayedEvents,
    clock: Arc<ManualClock>,
    ada: OwnedUserId,
    room: OwnedRoomId,
}

async fn pieces(store: Store, clock: &Arc<ManualClock>) -> Pieces {
    let (rng, name) = (Rng::from_seed(1), owned_server_name!("x.test"));
    let key = SigningKey::from_seed(&[7; 32], "test").expect("a key");
    let rooms = Rooms::new(
        rooms::Config::default(),
        store.clone(),
        clock.clone(),
        rng.clone(),
        name.clone(),
        key,
        Ports::isolated(),
    )
    .expect("the rooms open");
    let config = accounts::Config::default();
    let accounts = Accounts::open(config, store.clone(), clock.clone(), rng.clone(), name);
    let accounts = accounts.await.expect("the accounts open");
    Pieces { store, clock: clock.clone(), rng, rooms, accounts }
}

impl World {
    async fn new() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        let store = Store::open(&storage::Config::memory(), 7).expect("memory opens");
        let clock = ManualClock::new(START_MS);
        let pieces = pieces(store, &clock).await;
        let ada = NewUser { localpart: Some("ada"), ..NewUser::default() };
        let ada = pieces.accounts.register(ada).await.expect("the name is free").user_id;
        let preset = Some(Preset::PublicChat);
        let room = pieces.rooms.create(CreateRoom { preset, ..CreateRoom::new(&ada) }).await;
        let events = DelayedEvents::open(config, pieces.clone()).await.expect("opens");
        Self { room: room.expect("is made"), pieces, events, clock, ada }
    }

    /// As after a restart: everything in memory is gone.
    async fn restarted(self) -> Self {
        self.pieces.store.barrier().wait().await.expect("the store works");
        let pieces = pieces(self.pieces.store.clone(), &self.clock).await;
        let events = DelayedEvents::open(Config::default(), pieces.clone()).await.expect("opens");
        Self { pieces, events, ..self }
    }

    async fn schedule(&self, text: &str, delay_ms: u64) -> String {
        self.try_to_schedule(text, delay_ms).await.expect("is scheduled")
    }

    async fn try_to_schedule(&self, text: &str, delay_ms: u64) -> Result<String, Error> {
        let content = raw(&serde_json::json!({ "msgtype": "m.text", "body": text }).to_string());
        self.events
            .schedule(NewDelayedEvent { delay: ms(delay_ms), ..self.new_event(&content) })
            .await
    }

    fn new_event<'a>(&'a self, content: &'a RawValue) -> NewDelayedEvent<'a> {
        NewDelayedEvent {
            room_id: &self.room,
            sender: &self.ada,
            event_type: "m.room.message",
            state_key: None,
            content,
            delay: ms(1000),
            txn: None,
            timestamp: None,
        }
    }

    async fn act(&self, id: &str, action: Action) -> Result<(), Error> {
        self.events.act(&self.ada, id, action).await
    }

    /// Time passes, and what is due is sent.
    async fn after(&self, passed_ms: u64) {
        self.clock.advance(passed_ms);
        let _next = self.events.send_due().await;
    }

    /// The messages of the room, oldest first.
    async fn messages(&self) -> Vec<String> {
        let timeline = self.pieces.rooms.timeline(&self.room, 0, u64::MAX, 100, true).await;
        let mut bodies: Vec<_> = timeline
            .expect("reads")
            .iter()
            .filter(|event| event.pdu.event_type() == "m.room.message")
            .map(|event| event.pdu.content_as::<Value>().expect("JSON")["body"].take())
            .map(|body| body.as_str().expect("text").to_owned())
            .collect();
        bodies.reverse();
        bodies
    }

    async fn outcome(&self, id: &str) -> Option<Outcome> {
        let event = self.events.get(&self.ada, id).await.expect("reads").expect("is there");
        event.outcome.map(|(_, outcome)| outcome)
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test]
async fn events_are_sent_when_their_time_has_come_and_not_before() {
    let world = World::new().await;
    let late = world.schedule("late", 5000).await;
    let early = world.schedule("early", 1000).await;
    let list = world.events.list(&world.ada).await.expect("reads");
    let ids: Vec<_> = list.iter().map(|event| event.delay_id.clone()).collect();
    assert_eq!(ids, [early.clone(), late.clone()], "in the order of their times");
    assert_eq!((list[0].delay_ms, list[0].scheduled_at), (1000, START_MS));
    world.after(999).await;
    assert!(world.messages().await.is_empty());
    world.after(1).await;
    assert_eq!(world.messages().await, ["early"]);
    let event = world.events.get(&world.ada, &early).await.expect("reads").expect("is there");
    let (at, outcome) = event.outcome.expect("is over");
    assert_eq!(at, START_MS + 1000);
    let Outcome::Sent(event_id) = outcome else { panic!("{outcome:?}") };
    let sent = world.pieces.rooms.event_by_id(&event_id).await.expect("reads").expect("is there");
    assert_eq!(sent.pdu.origin_server_ts(), START_MS + 1000);
    world.after(4000).await;
    world.after(100_000).await;
    assert_eq!(world.messages().await, ["early", "late"]);
    assert!(world.events.list(&world.ada).await.expect("reads").is_empty());
}

#[tokio::test]
async fn what_was_due_while_the_server_was_away_is_sent_in_order() {
    let world = World::new().await;
    world.schedule("second", 2000).await;
    world.schedule("first", 1000).await;
    world.schedule("third", 60_000).await;
    let cancelled = world.schedule("cancelled", 1500).await;
    world.act(&cancelled, Action::Cancel).await.expect("is cancelled");
    let world = world.restarted().await;
    world.after(10_000).await;
    assert_eq!(world.messages().await, ["first", "second"]);
    // Once.
    let world = world.restarted().await;
    world.after(60_000).await;
    assert_eq!(world.messages().await, ["first", "second", "third"]);
}

#[tokio::test]
async fn a_heartbeat_puts_off_what_is_sent_when_it_stops() {
    let world = World::new().await;
    let id = world.schedule("gone", 1000).await;
    for _ in 0..5 {
        world.after(900).await;
        world.act(&id, Action::Restart).await.expect("is put off");
    }
    assert!(world.messages().await.is_empty());
    let world = world.restarted().await;
    world.after(999).await;
    assert!(world.messages().await.is_empty());
    world.after(1).await;
    assert_eq!(world.messages().await, ["gone"]);
    let restarted = world.act(&id, Action::Restart).await;
    assert!(matches!(restarted, Err(Error::Finalised)), "{restarted:?}");
}

#[tokio::test]
async fn what_is_over_stays_so_and_is_done_again_without_harm() {
    let world = World::new().await;
    let sent = world.schedule("sent", 1000).await;
    let cancelled = world.schedule("cancelled", 1000).await;
    for _ in 0..2 {
        world.act(&sent, Action::Send).await.expect("is sent");
        world.act(&cancelled, Action::Cancel).await.expect("is cancelled");
    }
    world.after(10_000).await;
    assert_eq!(world.messages().await, ["sent"]);
    assert_eq!(world.outcome(&cancelled).await, Some(Outcome::Cancelled));
    for (id, action) in
        [(&sent, Action::Cancel), (&cancelled, Action::Send), (&cancelled, Action::Restart)]
    {
        let refused = world.act(id, action).await;
        assert!(matches!(refused, Err(Error::Finalised)), "{action:?}: {refused:?}");
    }
    let nobody = UserId::parse("@bob:x.test").expect("a user id");
    for (user, id) in [(&world.ada, "none"), (&nobody, sent.as_str())] {
        let refused = world.events.act(user, id, Action::Cancel).await;
        assert!(matches!(refused, Err(Error::NotFound)), "{user} {id}: {refused:?}");
        assert_eq!(world.events.get(user, id).await.expect("reads"), None);
    }
}

#[tokio::test]
async fn a_transaction_schedules_once() {
    let world = World::new().await;
    let content = raw(r#"{"body":"once"}"#);
    let txn = Some((device_id!("PHONE"), "1".into()));
    let first = world.events.schedule(NewDelayedEvent { txn, ..world.new_event(&content) }).await;
    let first = first.expect("is scheduled");
    let again = world.events.schedule(NewDelayedEvent { txn, ..world.new_event(&content) }).await;
    assert_eq!(again.expect("the same"), first);
    let other: &DeviceId = device_id!("LAPTOP");
    let txn = Some((other, "1".into()));
    let other = world.events.schedule(NewDelayedEvent { txn, ..world.new_event(&content) }).await;
    assert_ne!(other.expect("another device's"), first);
    world.after(1000).await;
    assert_eq!(world.messages().await, ["once", "once"]);
}

/// As after a crash in between.
#[tokio::test]
async fn what_was_sent_and_not_noted_is_not_sent_again() {
    let world = World::new().await;
    let id = world.schedule("once", 1000).await;
    let content = raw(r#"{"msgtype":"m.text","body":"once"}"#);
    let event = rooms::NewEvent {
        room_id: &world.room,
        sender: &world.ada,
        event_type: "m.room.message",
        state_key: None,
        content: &content,
        txn: Some(rooms::Txn::of_delayed(&id)),
        timestamp: None,
    };
    let sent = world.pieces.rooms.send(event).await.expect("is sent");
    let world = world.restarted().await;
    world.after(1000).await;
    assert_eq!(world.messages().await, ["once"]);
    assert_eq!(world.outcome(&id).await, Some(Outcome::Sent(sent)));
}

#[tokio::test]
async fn of_what_is_over_a_week_and_a_hundred_are_kept() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for number in 0..103 {
        ids.push(world.schedule(&number.to_string(), 1000).await);
        world.after(1000).await;
    }
    let kept = async |id: &String| world.events.get(&world.ada, id).await.expect("reads").is_some();
    // The oldest goes when another is scheduled.
    assert!(!kept(&ids[1]).await && kept(&ids[3]).await && kept(&ids[102]).await);
    world.after(7 * 24 * 60 * 60 * 1000 + 1).await;
    assert!(kept(&ids[102]).await, "until another is scheduled");
    world.schedule("new", 1000).await;
    for id in &ids {
        assert!(!kept(id).await);
    }
    assert_eq!(world.events.list(&world.ada).await.expect("reads").len(), 1);
}

/// "Power levels are evaluated for each event only once the delay has occurred".
#[tokio::test]
async fn the_room_has_its_say_when_the_time_has_come() {
    let world = World::new().await;
    let bob = NewUser { localpart: Some("bob"), ..NewUser::default() };
    let bob = world.pieces.accounts.register(bob).await.expect("the name is free").user_id;
    let content = raw(r#"{"body":"hello"}"#);
    let new = NewDelayedEvent { sender: &bob, ..world.new_event(&content) };
    let id = world.events.schedule(new).await.expect("is scheduled");
    let refused = world.events.act(&bob, &id, Action::Send).await;
    let by_the_room = |error: &rooms::Error| {
        matches!(error, rooms::Error::NotJoined | rooms::Error::Forbidden(_))
    };
    assert!(matches!(&refused, Err(Error::Rooms(error)) if by_the_room(error)), "{refused:?}");
    let open = world.events.get(&bob, &id).await.expect("reads").expect("is there");
    assert_eq!(open.outcome, None, "it stays scheduled, since it may be possible later");
    world.after(1000).await;
    let failed = world.events.get(&bob, &id).await.expect("reads").expect("is there").outcome;
    let (_, failed) = failed.expect("is over");
    assert!(matches!(failed, Outcome::Failed { failure: Failure::Forbidden, .. }), "{failed:?}");
    assert!(world.messages().await.is_empty());
}

#[tokio::test]
async fn who_may_not_act_sends_nothing_later_either() {
    let world = World::new().await;
    let id = world.schedule("no", 1000).await;
    let accounts = &world.pieces.accounts;
    accounts.set_restriction(&world.ada, Restriction::Suspended, true).await.expect("is set");
    world.after(1000).await;
    let outcome = world.outcome(&id).await;
    assert!(
        matches!(outcome, Some(Outcome::Failed { failure: Failure::Suspended, .. })),
        "{outcome:?}"
    );
    assert!(world.messages().await.is_empty());
}

#[tokio::test]
async fn a_sender_knows_the_event_by_its_delay_id_on_every_device() {
    let world = World::new().await;
    let id = world.schedule("hello", 1000).await;
    world.after(1000).await;
    let Some(Outcome::Sent(event_id)) = world.outcome(&id).await else { panic!("is not sent") };
    let event = world.pieces.rooms.event_by_id(&event_id).await.expect("reads").expect("is there");
    let bob = UserId::parse("@bob:x.test").expect("a user id");
    for (viewer, expected) in [(&world.ada, Some(id.as_str())), (&bob, None)] {
        for device in [None, Some(device_id!("PHONE"))] {
            let whom = UnsignedFor { viewer, device, membership: None, relations: None };
            let unsigned = world.pieces.rooms.unsigned(&event, &whom).await.expect("reads");
            let unsigned: Value = serde_json::from_slice(&unsigned).expect("JSON");
            assert_eq!(unsigned["org.matrix.msc4140.delay_id"].as_str(), expected, "{viewer}");
            assert_eq!(unsigned.get("transaction_id"), None);
        }
    }
}

#[tokio::test]
async fn what_is_too_much_or_not_for_later_is_refused() {
    let config = Config { delay_max: ms(10_000), scheduled_max: 2 };
    let world = World::with(config).await;
    let refused = world.try_to_schedule("never", 0).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    let refused = world.try_to_schedule("long", 10_001).await;
    assert!(matches!(refused, Err(Error::TooLong(max)) if max == ms(10_000)), "{refused:?}");
    for (event_type, content) in
        [("m.room.member", r#"{"membership":"invite"}"#), ("m.room.create", "{}")]
    {
        let content = raw(content);
        let state_key = Some("");
        let new = NewDelayedEvent { event_type, state_key, ..world.new_event(&content) };
        let refused = world.events.schedule(new).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{event_type}: {refused:?}");
    }
    let large = raw(&format!(r#"{{"body":"{}"}}"#, "x".repeat(65_536)));
    let refused = world.events.schedule(world.new_event(&large)).await;
    assert!(matches!(refused, Err(Error::TooLarge)), "{refused:?}");
    world.schedule("1", 4000).await;
    world.schedule("2", 3000).await;
    let refused = world.try_to_schedule("3", 1000).await;
    assert!(matches!(refused, Err(Error::TooMany(wait)) if wait == ms(3000)), "{refused:?}");
    world.after(3000).await;
    world.schedule("3", 1000).await;
    world.after(1000).await;
    assert_eq!(world.messages().await, ["2", "3", "1"].map(str::to_owned).to_vec());
}

/// State is sent too: how a client leaves its call.
#[tokio::test]
async fn state_is_set_when_its_time_has_come() {
    let world = World::new().await;
    let content = raw(r#"{"gone":true}"#);
    let new = NewDelayedEvent {
        event_type: "org.matrix.msc3401.call.member",
        state_key: Some("_@ada:x.test_PHONE"),
        ..world.new_event(&content)
    };
    world.events.schedule(new).await.expect("is scheduled");
    world.after(1000).await;
    let (rooms, room) = (&world.pieces.rooms, &world.room);
    let state =
        rooms.state_event(&world.ada, room, "org.matrix.msc3401.call.member", "_@ada:x.test_PHONE");
    assert_eq!(state.await.expect("is set").pdu.content_str(), r#"{"gone":true}"#);
    // Whoever has left the room sets nothing any more.
    let new = NewDelayedEvent { state_key: Some("2"), ..new };
    let id = world.events.schedule(new).await.expect("is scheduled");
    rooms.leave(room, &world.ada, None).await.expect("leaves");
    world.after(1000).await;
    let outcome = world.outcome(&id).await;
    assert!(matches!(outcome, Some(Outcome::Failed { .. })), "{outcome:?}");
}
