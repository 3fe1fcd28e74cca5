//! The room list: how its window grows, request by request, and who is at its top.

use std::pin::pin;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use matrix_sdk::{ruma::RoomId, sync::RoomUpdates};
use matrix_sdk_ui::room_list_service::{
    RoomList, RoomListLoadingState, RoomListService, State, filters::new_filter_non_left,
};
use serde_json::{Value, json};
use tokio::{sync::broadcast::Receiver, time::timeout};

use crate::{PATIENCE, eventually, session::Device};

/// More requests than any list of the scenario needs.
const REQUESTS: usize = 20;
/// Of the SDK's list: the first window, and by how much it grows. Once it covers everything the SDK polls.
const FIRST: u32 = 20;
const GROWTH: u32 = 100;
const ENTRIES: usize = 1000;

impl Device {
    /// One request after the other until the list is complete: what each brought.
    pub(crate) async fn walk_room_list(&self) -> Result<Value> {
        let client = self.client()?;
        let service = RoomListService::new(client.clone()).await?;
        let list = service.all_rooms().await?;
        let mut updates = client.subscribe_to_all_room_updates();
        let known_before = client.rooms().len();
        let mut requests = Vec::new();
        while requests.len() < REQUESTS {
            let ended =
                self.walk_until_it_ends(&service, &list, &mut updates, &mut requests).await?;
            let expired = requests.last().is_some_and(|request| !request["error"].is_null());
            if ended && !expired {
                break;
            }
        }
        let _ = service.stop_sync();
        Ok(json!({ "knownBefore": known_before, "requests": requests }))
    }

    /// Whether the list is complete, or the sync ended with an error.
    async fn walk_until_it_ends(
        &self,
        service: &RoomListService,
        list: &RoomList,
        updates: &mut Receiver<RoomUpdates>,
        requests: &mut Vec<Value>,
    ) -> Result<bool> {
        let mut sync = pin!(service.sync());
        let mut window = FIRST;
        while requests.len() < REQUESTS {
            let answered = timeout(PATIENCE, sync.next()).await.context("no answer came")?;
            let error = answered.context("the sync ended")?.err().map(|error| error.to_string());
            let failed = error.is_some();
            let mut rooms = Vec::new();
            while let Ok(update) = updates.try_recv() {
                rooms.extend(update.joined.into_keys());
            }
            // The SDK announces the count a moment after the answer.
            let count = match failed {
                true => None,
                false => Some(eventually("the count", async || Ok(count(list))).await?),
            };
            requests.push(json!({
                "state": name(&service.state().get()),
                "rooms": rooms,
                "known": self.client()?.rooms().len(),
                "count": count,
                "error": error,
            }));
            if failed || count.is_some_and(|count| count <= window) {
                return Ok(true);
            }
            window = if window == FIRST { GROWTH } else { window + GROWTH };
        }
        Ok(false)
    }

    /// Until the room is the first of the list, as the list is shown.
    pub(crate) async fn until_top(&self, room: &RoomId) -> Result<()> {
        let list = self.sync_service()?.room_list_service().all_rooms().await?;
        let (entries, controller) = list.entries_with_dynamic_adapters(ENTRIES);
        controller.set_filter(Box::new(new_filter_non_left()));
        let mut entries = pin!(entries);
        let mut shown = Default::default();
        let looked = timeout(PATIENCE, async {
            while let Some(differences) = entries.next().await {
                for difference in differences {
                    difference.apply(&mut shown);
                }
                if shown.head().is_some_and(|first| first.room_id() == room) {
                    return Ok(());
                }
            }
            bail!("the list ended")
        });
        let reached = looked.await;
        let top = || shown.head().map(|first| first.room_id().to_owned());
        reached.with_context(|| format!("{:?} is at the top", top()))?
    }
}

fn name(state: &State) -> &'static str {
    match state {
        State::Init => "init",
        State::SettingUp => "settingUp",
        State::Recovering => "recovering",
        State::Running => "running",
        State::Error { .. } => "error",
        State::Terminated { .. } => "terminated",
    }
}

fn count(list: &RoomList) -> Option<u32> {
    match list.loading_state().get() {
        RoomListLoadingState::NotLoaded => None,
        RoomListLoadingState::Loaded { maximum_number_of_rooms } => maximum_number_of_rooms,
    }
}
