//! Who may become what: joins, invitations, knocks, kicks, bans.

use rooms::{Error, KnockRequest, MembershipFact, Profile, stream};
use ruma::{OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState};
use serde_json::json;

use crate::world::{World, change, is_forbidden, join_request};

const JOIN: Option<MembershipState> = Some(MembershipState::Join);
const INVITE: Option<MembershipState> = Some(MembershipState::Invite);
const LEAVE: Option<MembershipState> = Some(MembershipState::Leave);
const BAN: Option<MembershipState> = Some(MembershipState::Ban);
const KNOCK: Option<MembershipState> = Some(MembershipState::Knock);

async fn room_with_rule(world: &World, creator: &UserId, rule: &str) -> OwnedRoomId {
    let room = world.room(creator, &[]).await;
    let rule = json!({ "join_rule": rule });
    world.set(creator, &room, "m.room.join_rules", "", rule).await.expect("sets");
    room
}

async fn knock(world: &World, user: &OwnedUserId, room: &OwnedRoomId) -> Result<(), Error> {
    let profile = Profile::default();
    world
        .rooms
        .knock(KnockRequest { room_id: room, user, profile, reason: None, via: Vec::new() })
        .await
}

#[tokio::test]
async fn an_invitation_lets_into_a_private_room() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let room = room_with_rule(&world, &ada, "invite").await;
    assert!(is_forbidden(world.join(&bob, &room).await));
    assert!(is_forbidden(world.invite(&eve, &room, &bob).await));
    assert_eq!(world.membership(&bob, &room).await, None);
    world.invite(&ada, &room, &bob).await.unwrap();
    assert_eq!(world.membership(&bob, &room).await, INVITE);
    world.invite(&ada, &room, &bob).await.expect("once more changes nothing");
    world.join(&bob, &room).await.unwrap();
    assert_eq!(world.membership(&bob, &room).await, JOIN);
    assert!(is_forbidden(world.invite(&ada, &room, &bob).await));
    let view = world.rooms.room(&room).await.unwrap().unwrap();
    assert_eq!((view.joined_members, view.invited_members), (2, 0));
    assert!(view.local_joined.contains(&bob));
}

#[tokio::test]
async fn joining_and_leaving_again_changes_nothing() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let position = world.store.log().position();
    world.join(&bob, &room).await.unwrap();
    assert_eq!(world.store.log().position(), position);
    world.rooms.leave(&room, &bob, Some("enough")).await.unwrap();
    let position = world.store.log().position();
    world.rooms.leave(&room, &bob, None).await.unwrap();
    assert_eq!(world.store.log().position(), position);
    assert!(matches!(
        world.rooms.leave(&room, &world.user("eve"), None).await,
        Err(Error::NotJoined)
    ));
    let content = world.current(&room, "m.room.member", bob.as_str()).await.unwrap();
    assert_eq!(content, json!({ "membership": "leave", "reason": "enough" }));
}

#[tokio::test]
async fn moderators_kick_ban_and_unban() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let room = world.room(&ada, &[&bob, &eve]).await;
    assert!(is_forbidden(world.rooms.kick(change(&bob, &room, &eve)).await));
    assert!(is_forbidden(world.rooms.ban(change(&bob, &room, &eve)).await));
    assert!(is_forbidden(world.rooms.kick(change(&bob, &room, &ada)).await));
    assert_eq!(world.membership(&eve, &room).await, JOIN);

    world.rooms.kick(change(&ada, &room, &eve)).await.unwrap();
    assert_eq!(world.membership(&eve, &room).await, LEAVE);
    assert!(is_forbidden(world.rooms.kick(change(&ada, &room, &eve)).await));
    assert!(is_forbidden(world.rooms.unban(change(&ada, &room, &eve)).await));
    world.join(&eve, &room).await.expect("a kick is no ban");

    world.rooms.ban(change(&ada, &room, &eve)).await.unwrap();
    assert_eq!(world.membership(&eve, &room).await, BAN);
    assert!(is_forbidden(world.join(&eve, &room).await));
    assert!(is_forbidden(world.invite(&ada, &room, &eve).await));
    assert!(is_forbidden(world.rooms.leave(&room, &eve, None).await));
    assert!(is_forbidden(world.rooms.unban(change(&bob, &room, &eve)).await));
    assert!(is_forbidden(world.send(&eve, &room, "still here?").await));

    world.rooms.unban(change(&ada, &room, &eve)).await.unwrap();
    assert_eq!(world.membership(&eve, &room).await, LEAVE);
    world.join(&eve, &room).await.unwrap();
    let stranger = world.user("stranger");
    world.rooms.ban(change(&ada, &room, &stranger)).await.expect("before they come");
    assert!(is_forbidden(world.join(&stranger, &room).await));
}

#[tokio::test]
async fn a_knock_is_answered_by_an_invitation() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = room_with_rule(&world, &ada, "knock").await;
    assert!(is_forbidden(world.join(&bob, &room).await));
    knock(&world, &bob, &room).await.unwrap();
    assert_eq!(world.membership(&bob, &room).await, KNOCK);
    assert!(is_forbidden(world.join(&bob, &room).await));
    world.rooms.leave(&room, &bob, None).await.expect("takes the knock back");
    knock(&world, &bob, &room).await.unwrap();
    world.invite(&ada, &room, &bob).await.unwrap();
    world.join(&bob, &room).await.unwrap();
    let private = room_with_rule(&world, &ada, "invite").await;
    assert!(is_forbidden(knock(&world, &bob, &private).await));
}

#[tokio::test]
async fn guests_join_where_guests_may() {
    let world = World::new();
    let (ada, guest) = (world.user("ada"), world.user("guest"));
    let room = world.room(&ada, &[]).await;
    let request = || rooms::JoinRequest { guest: true, ..join_request(&guest, &room) };
    assert!(matches!(world.rooms.join(request()).await, Err(Error::GuestsForbidden)));
    let access = json!({ "guest_access": "can_join" });
    world.set(&ada, &room, "m.room.guest_access", "", access).await.unwrap();
    world.rooms.join(request()).await.unwrap();
    world.join(&world.user("bob"), &room).await.unwrap();
    assert_eq!(world.membership(&guest, &room).await, JOIN);
    let access = json!({ "guest_access": "forbidden" });
    world.set(&ada, &room, "m.room.guest_access", "", access).await.unwrap();
    assert_eq!(world.membership(&guest, &room).await, LEAVE);
    assert_eq!(world.membership(&world.user("bob"), &room).await, JOIN);
}

#[tokio::test]
async fn a_forgotten_room_comes_back_with_an_invitation() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let forget = || world.rooms.forget(&room, &bob);
    assert!(matches!(forget().await, Err(Error::WrongMembership { .. })));
    world.rooms.leave(&room, &bob, None).await.unwrap();
    world.rooms.state(&bob, &room).await.expect("one who left sees the old state");
    forget().await.unwrap();
    assert!(world.rooms.user_room(&bob, &room).await.unwrap().unwrap().forgotten);
    assert!(world.rooms.state(&bob, &room).await.is_err());
    world.invite(&ada, &room, &bob).await.unwrap();
    assert!(!world.rooms.user_room(&bob, &room).await.unwrap().unwrap().forgotten);
}

#[tokio::test]
async fn a_member_event_as_ordinary_state_is_a_membership_change() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let room = room_with_rule(&world, &ada, "invite").await;
    let set = |sender, target: &OwnedUserId, content| {
        let (world, room, target) = (&world, &room, target.clone());
        async move { world.set(sender, room, "m.room.member", target.as_str(), content).await }
    };
    assert!(is_forbidden(set(&bob, &bob, json!({ "membership": "join" })).await));
    set(&ada, &bob, json!({ "membership": "invite" })).await.unwrap();
    set(&bob, &bob, json!({ "membership": "join", "displayname": "B" })).await.unwrap();
    set(&bob, &bob, json!({ "membership": "join", "displayname": "C", "x": 1 })).await.unwrap();
    assert!(is_forbidden(set(&bob, &eve, json!({ "membership": "join" })).await));
    assert!(is_forbidden(set(&bob, &ada, json!({ "membership": "leave" })).await));
    let bad = set(&bob, &bob, json!({ "membership": "join", "displayname": 5 })).await;
    assert!(matches!(bad, Err(Error::BadJson(_))));
    let bad = set(&bob, &bob, json!({ "membership": 1 })).await;
    assert!(matches!(bad, Err(Error::BadJson(_))));
    let content = world.current(&room, "m.room.member", bob.as_str()).await.unwrap();
    assert_eq!(content, json!({ "membership": "join", "displayname": "C", "x": 1 }));
}

#[tokio::test]
async fn a_profile_goes_to_all_joined_rooms_once() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let (one, two) = (world.room(&ada, &[&bob]).await, world.room(&ada, &[&bob]).await);
    let left = world.room(&ada, &[&bob]).await;
    world.rooms.leave(&left, &bob, None).await.unwrap();
    let profile =
        Profile { displayname: Some("Bob".to_owned()), avatar_url: Some("mxc://a/b".to_owned()) };
    world.rooms.set_profile_in_rooms(&bob, &profile).await.unwrap();
    for room in [&one, &two] {
        let content = world.current(room, "m.room.member", bob.as_str()).await.unwrap();
        let expected =
            json!({ "membership": "join", "displayname": "Bob", "avatar_url": "mxc://a/b" });
        assert_eq!(content, expected);
    }
    let content = world.current(&left, "m.room.member", bob.as_str()).await.unwrap();
    assert_eq!(content, json!({ "membership": "leave" }));
    let position = world.store.log().position();
    world.rooms.set_profile_in_rooms(&bob, &profile).await.unwrap();
    assert_eq!(world.store.log().position(), position);
}

#[tokio::test]
async fn a_membership_change_is_announced_to_its_user() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[]).await;
    let before = world.store.log().position();
    world.invite(&ada, &room, &bob).await.unwrap();
    let facts = world.store.facts(before, u64::MAX, 10).await.unwrap();
    let kinds: Vec<_> = facts.iter().map(|fact| (fact.fact.stream, &*fact.fact.subject)).collect();
    assert_eq!(kinds, [(stream::EVENT, room.as_str()), (stream::MEMBERSHIP, bob.as_str())]);
    let fact = MembershipFact::from_fact(&facts[1].fact).unwrap();
    assert_eq!(fact.membership, MembershipState::Invite);
    assert_eq!(fact.event_position, facts[0].position);
    let row = world.rooms.user_room(&bob, &room).await.unwrap().unwrap();
    assert_eq!((&row.membership, row.position), (&MembershipState::Invite, facts[0].position));
    let stripped = world.rooms.stripped_state(&row, &bob).await.unwrap();
    let types: Vec<String> = stripped
        .iter()
        .map(|event| {
            let event: serde_json::Value = serde_json::from_slice(event).unwrap();
            format!("{}|{}", event["type"].as_str().unwrap(), event["state_key"].as_str().unwrap())
        })
        .collect();
    assert!(types.contains(&"m.room.create|".to_owned()));
    assert!(types.contains(&format!("m.room.member|{bob}")));
    assert!(types.contains(&format!("m.room.member|{ada}")));
    assert!(world.rooms.shares_room(&ada, &ada).await.unwrap());
    assert!(!world.rooms.shares_room(&ada, &bob).await.unwrap());
}
