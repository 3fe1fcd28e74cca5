//! Creating rooms of every version and preset.

use events::RoomVersion;
use rooms::{CreateRoom, Error, InitialState, Preset, Profile};
use serde_json::{json, value::to_raw_value};

use crate::world::World;

#[tokio::test]
async fn every_version_and_preset_makes_a_room() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    for version in RoomVersion::all() {
        for preset in [Preset::PrivateChat, Preset::TrustedPrivateChat, Preset::PublicChat] {
            let request = CreateRoom {
                preset: Some(preset),
                room_version: Some(version.as_str()),
                name: Some("a name"),
                topic: Some("a topic"),
                invite: vec![bob.clone()],
                is_direct: true,
                ..CreateRoom::new(&ada)
            };
            let room = world.rooms.create(request).await.expect("creates");
            assert_eq!(room.server_name().is_none(), version.room_id_is_create_hash());
            let create = world.current(&room, "m.room.create", "").await.unwrap();
            assert_eq!(create["room_version"], version.as_str());
            assert_eq!(create.get("creator").is_some(), !version.creator_is_sender());
            let rule = if preset == Preset::PublicChat { "public" } else { "invite" };
            let rules = world.current(&room, "m.room.join_rules", "").await.unwrap();
            assert_eq!(rules["join_rule"], rule);
            let invited = world.current(&room, "m.room.member", bob.as_str()).await.unwrap();
            assert_eq!(invited, json!({ "membership": "invite", "is_direct": true }));
            let topic = world.current(&room, "m.room.topic", "").await.unwrap();
            assert_eq!(topic["topic"], "a topic");
            world.join(&bob, &room).await.expect("joins");
            world.send(&bob, &room, "hello").await.expect("sends");
            world.reopened().send(&ada, &room, "still there").await.expect("sends");
        }
    }
}

#[tokio::test]
async fn events_come_in_the_order_of_the_specification() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let initial = |event_type: &str| InitialState {
        event_type: event_type.to_owned(),
        state_key: String::new(),
        content: to_raw_value(&json!({ "algorithm": "m.megolm.v1.aes-sha2" })).unwrap(),
    };
    let request = CreateRoom {
        room_alias_name: Some("here"),
        name: Some("n"),
        topic: Some("t"),
        invite: vec![bob],
        initial_state: vec![initial("m.room.encryption")],
        ..CreateRoom::new(&ada)
    };
    let room = world.rooms.create(request).await.unwrap();
    let mut chain = world.chain(&room).await;
    chain.reverse();
    let types: Vec<_> = chain.iter().map(|event| event.pdu.event_type()).collect();
    assert_eq!(
        types,
        [
            "m.room.create",
            "m.room.member",
            "m.room.power_levels",
            "m.room.canonical_alias",
            "m.room.join_rules",
            "m.room.history_visibility",
            "m.room.guest_access",
            "m.room.encryption",
            "m.room.name",
            "m.room.topic",
            "m.room.member",
        ]
    );
    let alias = ruma::room_alias_id!("#here:one.test");
    assert_eq!(world.rooms.resolve_alias(alias).await.unwrap(), Some(room));
}

#[tokio::test]
async fn a_public_room_says_nothing_of_guests_who_may_not_come_in() {
    let world = World::new();
    let ada = world.user("ada");
    let request = CreateRoom { preset: Some(Preset::PublicChat), ..CreateRoom::new(&ada) };
    let room = world.rooms.create(request).await.unwrap();
    assert_eq!(world.current(&room, "m.room.guest_access", "").await, None);
    let guest = rooms::JoinRequest {
        room_id: &room,
        user: &world.user("guest"),
        profile: rooms::Profile::default(),
        guest: true,
        reason: None,
        extra: None,
        via: Vec::new(),
    };
    assert!(matches!(world.rooms.join(guest).await, Err(Error::GuestsForbidden)));
}

#[tokio::test]
async fn trusted_invitees_stand_beside_the_creator() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    for (version, in_users, in_create) in [("11", true, false), ("12", false, true)] {
        let request = CreateRoom {
            preset: Some(Preset::TrustedPrivateChat),
            room_version: Some(version),
            invite: vec![bob.clone(), bob.clone()],
            ..CreateRoom::new(&ada)
        };
        let room = world.rooms.create(request).await.unwrap();
        let levels = world.current(&room, "m.room.power_levels", "").await.unwrap();
        assert_eq!(levels["users"].get(bob.as_str()).is_some(), in_users);
        assert_eq!(levels["users"].get(ada.as_str()).is_some(), in_users);
        let create = world.current(&room, "m.room.create", "").await.unwrap();
        let expected = in_create.then(|| json!([bob]));
        assert_eq!(create.get("additional_creators").cloned(), expected);
        world.join(&bob, &room).await.unwrap();
        let name = json!({ "name": "mine too" });
        world.set(&bob, &room, "m.room.name", "", name).await.expect("bob has the power");
    }
}

#[tokio::test]
async fn initial_state_goes_over_the_preset() {
    let world = World::new();
    let ada = world.user("ada");
    let request = CreateRoom {
        preset: Some(Preset::PublicChat),
        initial_state: vec![InitialState {
            event_type: "m.room.join_rules".to_owned(),
            state_key: String::new(),
            content: to_raw_value(&json!({ "join_rule": "knock" })).unwrap(),
        }],
        creator_profile: Profile { displayname: Some("Ada".to_owned()), avatar_url: None },
        ..CreateRoom::new(&ada)
    };
    let room = world.rooms.create(request).await.unwrap();
    let rules = world.current(&room, "m.room.join_rules", "").await.unwrap();
    assert_eq!(rules, json!({ "join_rule": "knock" }));
    let own = world.current(&room, "m.room.member", ada.as_str()).await.unwrap();
    assert_eq!(own, json!({ "membership": "join", "displayname": "Ada" }));
    let joins = world.chain(&room).await;
    let rules = joins.iter().filter(|event| event.pdu.event_type() == "m.room.join_rules");
    assert_eq!(rules.count(), 1);
}

#[tokio::test]
async fn a_request_that_makes_no_room_leaves_nothing_behind() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let too_weak = to_raw_value(&json!({ "users": { ada.as_str(): 10 } })).unwrap();
    let creator_named = to_raw_value(&json!({ "users": { ada.as_str(): 100 } })).unwrap();
    let float = to_raw_value(&json!({ "users_default": 0.5 })).unwrap();
    let bad_creators = to_raw_value(&json!({ "additional_creators": ["nobody"] })).unwrap();
    let bad_type = to_raw_value(&json!({ "m.federate": "yes" })).unwrap();
    let state = |event_type: &str, content: serde_json::Value| {
        vec![InitialState {
            event_type: event_type.to_owned(),
            state_key: String::new(),
            content: to_raw_value(&content).unwrap(),
        }]
    };
    let base = || CreateRoom { room_alias_name: Some("try"), ..CreateRoom::new(&ada) };
    let refused = |request| world.rooms.create(request);

    let v11 = CreateRoom { room_version: Some("11"), name: Some("n"), ..base() };
    let request = CreateRoom { power_level_content_override: Some(&too_weak), ..v11 };
    assert!(matches!(refused(request).await, Err(Error::InvalidRoomState(_))));
    let request = CreateRoom { power_level_content_override: Some(&creator_named), ..base() };
    assert!(matches!(refused(request).await, Err(Error::InvalidRoomState(_))));
    let request = CreateRoom { power_level_content_override: Some(&float), ..base() };
    assert!(matches!(refused(request).await, Err(Error::BadJson(_))));
    let request = CreateRoom { creation_content: Some(&bad_creators), ..base() };
    assert!(matches!(refused(request).await, Err(Error::InvalidParam(_))));
    let request = CreateRoom { creation_content: Some(&bad_type), ..base() };
    assert!(matches!(refused(request).await, Err(Error::BadJson(_))));
    let request = CreateRoom { room_version: Some("13"), ..base() };
    assert!(matches!(refused(request).await, Err(Error::UnsupportedRoomVersion(_))));
    let request = CreateRoom { initial_state: state("m.room.create", json!({})), ..base() };
    assert!(matches!(refused(request).await, Err(Error::InvalidParam(_))));
    let request =
        CreateRoom { initial_state: state("m.room.name", json!({ "name": 5 })), ..base() };
    assert!(matches!(refused(request).await, Err(Error::BadJson(_))));
    let request = CreateRoom { room_alias_name: Some("a:b"), ..CreateRoom::new(&ada) };
    assert!(matches!(refused(request).await, Err(Error::InvalidParam(_))));

    assert_eq!(world.store.log().position(), 0, "nothing was written");
    assert_eq!(world.rooms.rooms_of(&ada).await.unwrap(), []);
    assert_eq!(world.rooms.rooms_of(&bob).await.unwrap(), []);
    refused(base()).await.expect("the alias is still free");
}

#[tokio::test]
async fn one_of_many_gets_the_alias() {
    let world = World::new();
    let ada = world.user("ada");
    let tries = (0..64).map(|_| {
        let request = CreateRoom { room_alias_name: Some("race"), ..CreateRoom::new(&ada) };
        world.rooms.create(request)
    });
    let outcomes = futures_util::future::join_all(tries).await;
    let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::RoomInUse)));
    assert_eq!(lost.count(), 63);
    let alias = ruma::room_alias_id!("#race:one.test");
    assert_eq!(world.rooms.resolve_alias(alias).await.unwrap().as_ref(), Some(won[0]));
    assert_eq!(world.rooms.rooms_of(&ada).await.unwrap().len(), 1);
}
