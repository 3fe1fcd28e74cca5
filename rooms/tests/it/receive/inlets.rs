//! Hazard A4: what is fetched because an event builds on it is checked like what is sent. The ways
//! are tried one by one: `get_missing_events`, `event`, `state`, `event_auth`.

use bytes::Bytes;
use events::Pdu;
use ruma::OwnedEventId;
use serde_json::json;

use super::{KINDS, Scene, is_shown, view};
use crate::{peers::edited, wire::Answer};

/// The event with a signature that is none: its id stays the same.
fn unsigned(pdu: &Bytes) -> Bytes {
    let signatures = json!({ "one.test": { "ed25519:wire": "A".repeat(86) } });
    edited(pdu, "signatures", Some(signatures))
}

fn each_pdu(answer: &mut Answer, mut alter: impl FnMut(&mut Bytes)) {
    match answer {
        Answer::Missing(pdus) | Answer::Backfilled(pdus) | Answer::EventAuth(pdus) => {
            pdus.iter_mut().for_each(alter);
        }
        Answer::Event(pdu) => alter(pdu),
        Answer::State(found) => {
            found.state.iter_mut().chain(&mut found.auth_chain).for_each(alter);
        }
        _ => {}
    }
}

/// Who speaks after the gap, how many more came in it, and whether the gap itself is handed out.
const WAYS: [(&str, &str, usize, bool); 4] = [
    ("missing_events", "ada", 0, true),
    ("event", "ada", 0, false),
    ("state", "ada", 80, false),
    ("event_auth", "carl", 0, false),
];

#[tokio::test]
async fn what_is_fetched_counts_only_if_its_server_has_signed_it() {
    for version in KINDS {
        for (way, speaker, guests, hands_out_gap) in WAYS {
            let case = format!("{way}, version {version}");
            let scene = Scene::new(version).await;
            let Scene { wire, one, two, ada, bob, room } = &scene;
            let carl = one.user("carl");
            one.join(&carl, room).await.unwrap();
            for n in 0..guests {
                one.join(&one.user(&format!("guest{n}")), room).await.unwrap();
            }
            let now = view(one, room).await;
            let came = one.rooms.state_get(now.state, "m.room.member", carl.as_str()).await;
            let came: OwnedEventId = came.unwrap().unwrap().event_id().clone();
            scene.say(2).await;
            scene.lose().await;
            let last = one.send(&one.user(speaker), room, "at last").await.unwrap();
            wire.take_calls();
            let forged = came.clone();
            wire.corrupt("one.test", move |answer| {
                if let Answer::Missing(pdus) = answer
                    && !hands_out_gap
                {
                    pdus.clear();
                }
                each_pdu(answer, |json| {
                    let pdu = Pdu::from_json(json.clone(), now.version);
                    if pdu.is_ok_and(|pdu| *pdu.event_id() == forged) {
                        *json = unsigned(json);
                    }
                });
            });
            scene.hand_to_two(std::slice::from_ref(&last)).await;
            assert!(wire.count(way) > 0, "{case}: {:?}", wire.take_calls());
            assert!(two.rooms.event_by_id(&came).await.unwrap().is_none(), "{case}");
            assert!(!is_shown(two, bob, room, &came).await, "{case}");
            assert_eq!(two.membership(&carl, room).await, None, "{case}");

            wire.mend("one.test");
            two.clock.advance(61_000);
            let again = one.send(ada, room, "and now").await.unwrap();
            scene.deliver().await;
            assert!(is_shown(two, bob, room, &again).await, "{case}");
        }
    }
}
