//! Follows the log of facts from a durable position.

use rooms::{ReceiptFact, RelayFact, RoomEventFact, stream};
use ruma::{OwnedRoomId, RoomId, ServerName, events::room::member::MembershipState};
use storage::{Batch, Consumer, LoggedFact, Position};

use super::{
    Sender,
    outbox::{Item, Outbox, Relayed},
};

impl Sender {
    /// `now`: where the log ended when the sender was made.
    pub(super) async fn follow_log(self, mut log: Consumer, now: Position) {
        self.wake_all().await;
        while let Some(facts) = log.next().await {
            let mut relayed = Vec::new();
            for fact in facts.iter() {
                relayed.extend(match relayed_fact(fact) {
                    Some(relayed) => Some(relayed),
                    None => self.device_news(fact).await,
                });
            }
            if !relayed.is_empty() {
                let mut batch = Batch::new();
                Outbox::add(&mut batch, &relayed);
                log.commit(batch).await;
            }
            for Relayed { item, servers, .. } in &relayed {
                for server in servers {
                    self.waits(&self.destination(server), item);
                    self.wake(server);
                }
            }
            // What need not arrive is not told again after a restart.
            for fact in facts.iter().filter(|fact| fact.position > now) {
                self.notice(fact).await;
            }
        }
    }

    /// Destinations that something has been waiting for since before the start.
    async fn wake_all(&self) {
        match self.inner.outbox.destinations().await {
            Ok(servers) => servers.iter().for_each(|server| self.wake(server)),
            Err(error) => tracing::error!(%error, "the destinations cannot be read"),
        }
    }

    /// What others are told if it can be done.
    async fn notice(&self, logged: &LoggedFact) {
        match logged.fact.stream {
            stream::RECEIPT => {
                if let (Some(receipt), Ok(room)) =
                    (ReceiptFact::from_fact(&logged.fact), RoomId::parse(&*logged.fact.subject))
                {
                    self.notice_receipt(room, receipt).await;
                }
            }
            stream::EVENT => {
                let fact = RoomEventFact::from_fact(&logged.fact);
                let membership = fact.and_then(|fact| fact.membership);
                if let (Some((user, MembershipState::Join)), Ok(room)) =
                    (membership, RoomId::parse(&*logged.fact.subject))
                {
                    self.introduce(&room, &user).await;
                }
            }
            _ => {}
        }
    }

    async fn notice_receipt(&self, room: OwnedRoomId, receipt: ReceiptFact) {
        let is_local = receipt.user_id.server_name() == self.inner.rooms.server_name();
        if !is_local || receipt.kind != "m.read" {
            return;
        }
        let now = self.inner.clock.now_ms();
        for server in self.servers_in(&room).await {
            let key = (room.clone(), receipt.user_id.clone(), receipt.thread.clone());
            let destination = self.destination(&server);
            destination.pending.lock().add_receipt(key, receipt.event_id.clone(), now);
            self.wake(&server);
        }
    }
}

fn relayed_fact(logged: &LoggedFact) -> Option<Relayed> {
    let (item, servers) = match logged.fact.stream {
        stream::RELAY => {
            let RelayFact { event_id, servers } = RelayFact::from_fact(&logged.fact)?;
            let room_id = RoomId::parse(&*logged.fact.subject).ok()?;
            (Item::Event(room_id, event_id), servers)
        }
        ::devices::stream::TO_DEVICE_ELSEWHERE => {
            let server = ServerName::parse(&*logged.fact.subject).ok()?;
            (Item::ToDevice(logged.fact.payload.clone()), vec![server])
        }
        _ => return None,
    };
    Some(Relayed { position: logged.position, item, servers })
}
