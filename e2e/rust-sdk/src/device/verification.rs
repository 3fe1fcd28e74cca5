//! Two devices that compare emojis, in messages from device to device or in a room.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, ensure};
use matrix_sdk::{
    Client,
    encryption::verification::{
        SasVerification, Verification, VerificationRequest, VerificationRequestState as State,
    },
    ruma::{
        RoomId, UserId,
        events::key::verification::mac::{
            OriginalSyncKeyVerificationMacEvent, ToDeviceKeyVerificationMacEvent,
        },
    },
};
use serde_json::{Value, json};

use crate::{
    eventually,
    session::{Device, Nudge},
};

/// The verifications of which the other side's mac was taken in.
pub(crate) type Macs = Arc<Mutex<BTreeSet<String>>>;

fn note(macs: &Macs, flow: &str) {
    if let Ok(mut macs) = macs.lock() {
        macs.insert(flow.to_owned());
    }
}

impl Device {
    pub(crate) async fn ask_to_verify(
        &mut self,
        user: &UserId,
        room: Option<&RoomId>,
    ) -> Result<Value> {
        let client = self.client()?.clone();
        if let Some(room) = room {
            // The SDK takes the direct room of the two, and makes another where it knows of none.
            eventually("the direct room", async || {
                Ok(client.get_dm_room(user).filter(|direct| direct.room_id() == room).map(|_| ()))
            })
            .await?;
        }
        let identity = client.encryption().request_user_identity(user).await?;
        let request = identity.context("the user has no identity")?.request_verification().await?;
        let flow = json!({ "flow": request.flow_id() });
        self.request = Some(request);
        Ok(flow)
    }

    pub(crate) async fn answer_verification(&mut self, user: &UserId, flow: &str) -> Result<()> {
        let encryption = self.client()?.encryption();
        let request = eventually("the request to verify", async || {
            Ok(encryption.get_verification_request(user, flow).await)
        })
        .await?;
        request.accept().await?;
        self.request = Some(request);
        Ok(())
    }

    fn request(&self) -> Result<&VerificationRequest> {
        self.request.as_ref().context("no verification is going on")
    }

    pub(crate) async fn start_sas(&mut self) -> Result<()> {
        let request = self.request()?;
        eventually("the other side ready", async || {
            ensure!(!request.is_cancelled(), "cancelled: {:?}", request.cancel_info());
            Ok(request.is_ready().then_some(()))
        })
        .await?;
        self.sas = Some(request.start_sas().await?.context("the request cannot become a SAS")?);
        Ok(())
    }

    /// Whoever did not start accepts here: by looking.
    pub(crate) async fn emojis(&mut self) -> Result<Value> {
        let sas = match self.sas.take() {
            Some(sas) => sas,
            None => self.accept_sas().await?,
        };
        let mut nudge = Nudge::default();
        let emojis = eventually("the emojis", async || {
            ensure!(!sas.is_cancelled(), "cancelled: {:?}", sas.cancel_info());
            nudge.repeat(self.client()?).await?;
            Ok(sas.emoji())
        })
        .await?;
        self.sas = Some(sas);
        Ok(json!({ "emojis": emojis.map(|emoji| emoji.symbol) }))
    }

    async fn accept_sas(&self) -> Result<SasVerification> {
        let request = self.request()?;
        let sas = eventually("the verification", async || {
            ensure!(!request.is_cancelled(), "cancelled: {:?}", request.cancel_info());
            Ok(match request.state() {
                State::Transitioned { verification: Verification::SasV1(sas), .. } => Some(sas),
                _ => None,
            })
        })
        .await?;
        sas.accept().await?;
        Ok(sas)
    }

    /// Until the other side has said yes, and this side knows it.
    pub(crate) async fn until_mac(&self) -> Result<()> {
        let flow = self.request()?.flow_id();
        eventually("the other side's mac", async || {
            Ok(self.macs.lock().is_ok_and(|macs| macs.contains(flow)).then_some(()))
        })
        .await
    }

    /// The state of a verification does not show it. The cryptography has seen an event before its handlers are called.
    pub(crate) fn watch_macs(&self, client: &Client) {
        let macs = Arc::clone(&self.macs);
        client.add_event_handler(async move |event: ToDeviceKeyVerificationMacEvent| {
            note(&macs, event.content.transaction_id.as_str());
        });
        let macs = Arc::clone(&self.macs);
        client.add_event_handler(
            async move |event: OriginalSyncKeyVerificationMacEvent, client: Client| {
                if client.user_id() != Some(&event.sender) {
                    note(&macs, event.content.relates_to.event_id.as_str());
                }
            },
        );
    }

    pub(crate) async fn confirm(&self) -> Result<()> {
        Ok(self.sas.as_ref().context("no emojis are shown")?.confirm().await?)
    }

    pub(crate) async fn until_verified(&mut self) -> Result<()> {
        let sas = self.sas.take().context("no verification is going on")?;
        let request = self.request.take().context("no verification is going on")?;
        let mut nudge = Nudge::default();
        eventually("the end of the verification", async || {
            ensure!(!sas.is_cancelled(), "cancelled: {:?}", sas.cancel_info());
            nudge.repeat(self.client()?).await?;
            Ok((sas.is_done() && request.is_done()).then_some(()))
        })
        .await?;
        // The other side waits for our last word.
        Nudge::give(self.client()?).await
    }
}
