//! Hazards B1 and H5: a server that hides what its events come after, and says of the state there
//! what it likes; and one whose past has no end.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use events::{EventTemplate, Pdu};
use rooms::ReceiveError;
use ruma::{OwnedEventId, OwnedUserId};
use serde_json::{json, value::to_raw_value};

use super::{
    Scene, accepted,
    hostile::{Fate, fate, message},
    is_shown, state, view,
};
use crate::{
    peers::{Forged, receive, snapshot},
    wire::{Answer, key_of, name},
    world::{START, change},
};

/// What `two.test` says the state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    AsItWas,
    /// Nothing but how the room began and who is in it.
    InPart,
    Nothing,
    /// With power for bob, which nobody gave him.
    WithACoup,
    /// With somebody in the room who is banned from it.
    WithTheBanned,
}

const ALL: [Said; 5] =
    [Said::AsItWas, Said::InPart, Said::Nothing, Said::WithACoup, Said::WithTheBanned];

/// A room in which much has happened that `two.test` has not heard of; a member of `two.test` who
/// is banned, and their join.
async fn moved_on(scene: &Scene) -> (OwnedUserId, OwnedEventId) {
    let Scene { one, two, ada, room, .. } = scene;
    let eve = two.user("eve");
    two.join(&eve, room).await.unwrap();
    scene.deliver().await;
    let join = view(one, room).await.extremities[0].clone();
    let mut levels = one.current(room, "m.room.power_levels", "").await.unwrap();
    levels["kick"] = json!(80);
    one.set(ada, room, "m.room.power_levels", "", levels).await.unwrap();
    one.set(ada, room, "m.room.topic", "", json!({ "topic": "new" })).await.unwrap();
    one.set(ada, room, "m.room.name", "", json!({ "name": "new" })).await.unwrap();
    one.rooms.ban(change(ada, room, &eve)).await.unwrap();
    scene.lose().await;
    (eve, join)
}

#[tokio::test]
async fn nobody_takes_the_state_back_by_what_they_say_of_it() {
    for version in ["2", "6", "10", "11", "12"] {
        for said in ALL {
            let case = format!("{said:?}, version {version}");
            let scene = Scene::new(version).await;
            let Scene { wire, one, two, ada, bob, room } = &scene;
            let (eve, join) = moved_on(&scene).await;
            let power = json!({ "users": { bob.as_str(): 100 } });
            let coup = Forged::state(one, room, bob, "m.room.power_levels", "", power).await.pdu();
            assert_eq!(fate(&receive(one, "two.test", &coup).await), Fate::Rejected, "{case}");
            let before = state(one, room).await;
            let _hidden = two.send(bob, room, "hidden").await.unwrap();
            let last = two.send(bob, room, "shown").await.unwrap();
            let beginning: Vec<_> = super::state(two, room)
                .await
                .into_iter()
                .filter(|((kind, _), _)| ["m.room.create", "m.room.member"].contains(&&**kind))
                .map(|(_, id)| id)
                .collect();
            let coup = coup.event_id().clone();
            wire.take_calls();
            wire.corrupt("two.test", move |answer| match answer {
                Answer::Missing(events) => events.clear(),
                Answer::Event(event) => *event = Bytes::from_static(b"{}"),
                Answer::StateIds(ids) => match said {
                    Said::AsItWas => {}
                    Said::InPart => ids.state.clone_from(&beginning),
                    Said::Nothing => *ids = Default::default(),
                    Said::WithACoup => ids.state.push(coup.clone()),
                    Said::WithTheBanned => ids.state.push(join.clone()),
                },
                _ => {}
            });
            scene.hand_to_one(std::slice::from_ref(&last)).await;
            assert!(wire.count("state_ids") > 0, "{case}");
            if said == Said::AsItWas {
                assert!(is_shown(one, ada, room, &last).await, "{case}");
            }
            assert_eq!(state(one, room).await, before, "{case}");
            // The next event joins what branches there are.
            let next = one.send(ada, room, "and on").await.unwrap();
            assert!(is_shown(one, ada, room, &next).await, "{case}");
            assert_eq!(state(one, room).await, before, "{case}, afterwards");
            assert_eq!(one.membership(&eve, room).await, Some("ban".into()), "{case}");
            let levels = one.current(room, "m.room.power_levels", "").await.unwrap();
            assert_eq!(levels["kick"], 80, "{case}");
        }
    }
}

/// Every answer has twenty more events, and each of these comes after twenty that nobody has.
#[tokio::test]
async fn a_past_without_end_is_not_followed_for_ever() {
    for version in ["6", "12"] {
        let scene = Scene::new(version).await;
        let Scene { wire, one, ada, bob, room, .. } = &scene;
        let honest = message(one, &scene).await;
        let known = honest.version;
        let (auth_events, depth) = (honest.auth_events.clone(), honest.depth + 1_000_000);
        let (room_id, sender) = (room.clone(), bob.clone());
        let made = Arc::new(AtomicU64::new(0));
        let next = Arc::clone(&made);
        let make = move || -> Arc<Pdu> {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let content = to_raw_value(&json!({ "body": number })).unwrap();
            let before: Vec<OwnedEventId> = (0..20)
                .map(|place| format!("${:0>43}", number * 20 + place).try_into().unwrap())
                .collect();
            let template = EventTemplate {
                room_id: Some(&room_id),
                sender: &sender,
                event_type: "m.room.message",
                state_key: None,
                content: &content,
                prev_events: &before,
                auth_events: &auth_events,
                depth: depth - number,
                origin_server_ts: START,
                redacts: None,
            };
            let (key, server) = (key_of("two.test"), name("two.test"));
            Arc::new(events::sign_and_build(&template, &key, &server, known).unwrap())
        };
        let first = make();
        let before = (snapshot(one, room).await, state(one, room).await);
        wire.take_calls();
        wire.corrupt("two.test", move |answer| {
            if let Answer::Missing(events) = answer {
                *events = (0..20).map(|_| make().json().clone()).collect();
            }
        });
        let outcome = receive(one, "two.test", &first).await;
        assert!(matches!(outcome.result, Err(ReceiveError::MissingContext(_))), "{outcome:?}");
        let calls = wire.take_calls().len();
        assert!(calls <= 60, "version {version}: {calls} requests for one event");
        assert!(made.load(Ordering::Relaxed) > 20, "version {version}: it was asked for more");
        assert_eq!((snapshot(one, room).await, state(one, room).await), before, "{version}");
        wire.mend("two.test");
        let answer = scene.two.send(bob, room, "honest again").await.unwrap();
        scene.deliver().await;
        assert!(is_shown(one, ada, room, &answer).await, "version {version}");
        let outcome = receive(one, "two.test", &honest.pdu()).await;
        assert!(accepted(&outcome), "version {version}: {outcome:?}");
    }
}
