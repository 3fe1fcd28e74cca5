//! The same event from two sides at once.

use futures_util::future::join;
use rooms::Received;
use storage::{Config, EngineKind, Store};

use super::{come_in, public};
use crate::wire::{Wire, name};

#[tokio::test]
async fn an_event_that_is_on_its_way_to_the_disk_is_not_answered_for_before_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::at(EngineKind::Fjall, directory.path().join("store"));
    let wire = Wire::default();
    let one = wire.server("one.test");
    let two = wire.server_on("two.test", Store::open(&config, 1).unwrap());
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public(&one, &ada, "11").await;
    come_in(&two, &bob, &room, &one).await;

    let (from, rooms) = (name("one.test"), &two.rooms);
    // The second call begins a little later each time: some meet the first between its submission
    // and the flush.
    for number in 0..300 {
        let sent = one.send(&ada, &room, &format!("{number}")).await.unwrap();
        let event = one.rooms.event_by_id(&sent).await.unwrap().unwrap();
        let receive = async |later: usize| {
            for _ in 0..later {
                tokio::task::yield_now().await;
            }
            let pdu = vec![event.pdu.json().clone()];
            let outcome = rooms.receive(&from, &room, pdu).await.remove(0);
            let there = rooms.event_by_id(&sent).await.unwrap();
            assert!(there.is_some(), "answered for before it was durable");
            outcome.result.unwrap()
        };
        let mut verdicts = <[_; 2]>::from(join(receive(0), receive(number)).await);
        verdicts.sort_by_key(|verdict| *verdict == Received::Known);
        assert_eq!(verdicts, [Received::Accepted, Received::Known]);
    }
}
