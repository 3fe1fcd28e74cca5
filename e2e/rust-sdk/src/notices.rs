//! What is seen of the others: typing, receipts, unread counts, presence, display names.

use anyhow::{Result, ensure};
use matrix_sdk::ruma::{
    RoomId,
    api::client::{presence::set_presence, receipt::create_receipt::v3::ReceiptType},
    assign,
    events::receipt::ReceiptThread,
    presence::PresenceState,
};

use crate::{World, person::Person};

impl World {
    pub(crate) async fn notice_each_other(&mut self) {
        let Self { step, alice, bob, .. } = self;
        let Some(group) = self.group.clone() else { return };
        step.run("typing starts and stops", typing(alice, bob, &group)).await;
        step.run("read receipt; unread counts rise and fall", receipt(alice, bob, &group)).await;
        step.run("presence with a status message", presence(alice, bob)).await;
        step.run("display name", async {
            bob.client.account().set_display_name(Some("Bob the keeper")).await?;
            alice
                .until("the new name", async |alice: &Person| {
                    let member = alice
                        .client
                        .get_room(&group)?
                        .get_member_no_sync(bob.id())
                        .await
                        .ok()??;
                    (member.display_name() == Some("Bob the keeper")).then_some(())
                })
                .await
        })
        .await;
    }
}

async fn typing(alice: &mut Person, bob: &Person, group: &RoomId) -> Result<()> {
    let room = bob.room(group)?;
    room.typing_notice(true).await?;
    alice
        .until("bob typing", async |alice: &Person| {
            (alice.typing(group)? == [bob.id().as_str()]).then_some(())
        })
        .await?;
    room.typing_notice(false).await?;
    alice
        .until("bob not typing", async |alice: &Person| {
            alice.typing(group)?.is_empty().then_some(())
        })
        .await
}

async fn receipt(alice: &mut Person, bob: &mut Person, group: &RoomId) -> Result<()> {
    let id = alice.tell(bob, group, "read this").await?;
    bob.until("the unread count", async |bob: &Person| {
        (bob.client.get_room(group)?.unread_notification_counts().notification_count > 0)
            .then_some(())
    })
    .await?;
    bob.room(group)?
        .send_single_receipt(ReceiptType::Read, ReceiptThread::Unthreaded, id.clone())
        .await?;
    alice
        .until("bob's receipt", async |alice: &Person| {
            alice.has_receipt(group, &id, bob.id()).then_some(())
        })
        .await?;
    bob.until("nothing unread", async |bob: &Person| {
        (bob.client.get_room(group)?.unread_notification_counts().notification_count == 0)
            .then_some(())
    })
    .await
}

async fn presence(alice: &mut Person, bob: &mut Person) -> Result<()> {
    let request = assign!(set_presence::v3::Request::new(bob.id().to_owned(), PresenceState::Unavailable), {
        status_msg: Some("out fishing".to_owned()),
    });
    bob.client.send(request).await?;
    let bob_id = bob.id().to_owned();
    alice
        .until("bob away", async |alice: &Person| {
            (alice.presence_of(&bob_id).0 == "unavailable").then_some(())
        })
        .await?;
    let (_, status) = alice.presence_of(&bob_id);
    ensure!(status == Some("out fishing"), "the status message is {status:?}");
    bob.client.send(set_presence::v3::Request::new(bob_id.clone(), PresenceState::Online)).await?;
    alice
        .until("bob back", async |alice: &Person| {
            (alice.presence_of(&bob_id).0 == "online").then_some(())
        })
        .await
}
