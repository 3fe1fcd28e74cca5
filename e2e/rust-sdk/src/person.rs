//! One user of matrix-rust-sdk: a client, and a record of everything that its syncs delivered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use matrix_sdk::{
    Client, Room,
    config::{RequestConfig, SyncSettings},
    ruma::{
        EventId, OwnedEventId, RoomId, UserId,
        api::client::{
            account::register,
            filter::{FilterDefinition, LazyLoadOptions},
            sync::sync_events::v3::Filter,
            uiaa::{AuthData, Dummy},
        },
        assign,
        events::room::message::RoomMessageEventContent,
    },
    sync::SyncResponse,
};
use serde_json::Value;
use tokio::time::{Instant, timeout};

const PASSWORD: &str = "correct horse battery staple";
const LONG_POLL: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(28);

pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) client: Client,
    timeline_limit: u32,
    timeline: Vec<(String, Value)>,
    ephemeral: Vec<(String, Value)>,
    presence: BTreeMap<String, Value>,
}

impl Person {
    pub(crate) async fn new(server: &str, name: &str) -> Result<Self> {
        // With a retry limit the SDK repeats a request whose connection broke, with the same transaction id.
        let retries = RequestConfig::new().retry_limit(60).max_retry_time(Duration::from_secs(1));
        let client = Client::builder()
            .homeserver_url(server)
            // The server under test is the one that was named, wherever it would send its clients.
            .respect_login_well_known(false)
            .request_config(retries)
            .build()
            .await?;
        Ok(Self {
            name: name.to_owned(),
            client,
            timeline_limit: 100,
            timeline: Vec::new(),
            ephemeral: Vec::new(),
            presence: BTreeMap::new(),
        })
    }

    /// Both rounds of the user-interactive registration, as the specification describes them.
    pub(crate) async fn register(&self) -> Result<()> {
        let mut request = assign!(register::v3::Request::new(), {
            username: Some(self.name.clone()),
            password: Some(PASSWORD.to_owned()),
            inhibit_login: true,
        });
        let Err(challenge) = self.client.matrix_auth().register(request.clone()).await else {
            bail!("registered without authentication");
        };
        let info = challenge
            .as_uiaa_response()
            .with_context(|| format!("no UIA challenge but {challenge}"))?;
        ensure!(info.session.is_some(), "the challenge has no session");
        request.auth =
            Some(AuthData::Dummy(assign!(Dummy::new(), { session: info.session.clone() })));
        self.client.matrix_auth().register(request).await?;
        ensure!(!self.client.matrix_auth().logged_in(), "inhibit_login was ignored");
        Ok(())
    }

    pub(crate) async fn log_in(&self) -> Result<()> {
        let login = self.client.matrix_auth().login_username(&self.name, PASSWORD);
        login.initial_device_display_name("rust-sdk").send().await?;
        Ok(())
    }

    /// A log-in on a further device of the same user.
    pub(crate) async fn newcomer(&self, timeline_limit: u32) -> Result<Self> {
        let mut other = Self::new(self.client.homeserver().as_str(), &self.name).await?;
        other.timeline_limit = timeline_limit;
        other.log_in().await?;
        Ok(other)
    }

    pub(crate) fn id(&self) -> &UserId {
        self.client.user_id().expect("used after the log-in")
    }

    pub(crate) fn room(&self, id: &RoomId) -> Result<Room> {
        self.client
            .get_room(id)
            .with_context(|| format!("{} does not know the room {id}", self.name))
    }

    /// One request, continued from the token of the last one, which the SDK keeps.
    pub(crate) async fn sync(&mut self, long_poll: Duration) -> Result<SyncResponse> {
        let mut filter = FilterDefinition::default();
        filter.room.timeline.limit = Some(self.timeline_limit.into());
        // As Element does: members come with what they say, counts with the summary.
        filter.room.state.lazy_load_options =
            LazyLoadOptions::Enabled { include_redundant_members: false };
        let settings =
            SyncSettings::new().timeout(long_poll).filter(Filter::FilterDefinition(filter));
        let response = self.client.sync_once(settings).await?;
        self.record(&response)?;
        Ok(response)
    }

    fn record(&mut self, response: &SyncResponse) -> Result<()> {
        for (room_id, update) in &response.rooms.joined {
            for event in &update.timeline.events {
                self.timeline
                    .push((room_id.to_string(), serde_json::from_str(event.raw().json().get())?));
            }
            for event in &update.ephemeral {
                self.ephemeral
                    .push((room_id.to_string(), serde_json::from_str(event.json().get())?));
            }
        }
        for event in &response.presence {
            let typed = event.deserialize().context("a presence event that the SDK can't read")?;
            self.presence
                .insert(typed.sender.to_string(), serde_json::from_str(event.json().get())?);
        }
        Ok(())
    }

    /// Syncs until the fact is there; each sync waits for the server, none of them sleeps.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        holds: impl AsyncFn(&Self) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = holds(self).await {
                return Ok(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let next = timeout(left, self.sync(LONG_POLL)).await;
            next.with_context(|| format!("{} never saw {what}", self.name))??;
        }
    }

    pub(crate) async fn until_event(&mut self, id: &EventId) -> Result<Value> {
        self.until("the event", async |person: &Self| person.event(id).cloned()).await
    }

    pub(crate) fn event(&self, id: &EventId) -> Option<&Value> {
        self.timeline.iter().map(|(_, event)| event).find(|event| event["event_id"] == id.as_str())
    }

    pub(crate) fn events<'a>(
        &'a self,
        room: &'a RoomId,
    ) -> impl DoubleEndedIterator<Item = &'a Value> {
        self.timeline.iter().filter(move |(id, _)| id == room.as_str()).map(|(_, event)| event)
    }

    pub(crate) fn bodies(&self, room: &RoomId, prefix: &str) -> Vec<String> {
        let bodies = self.events(room).filter_map(|event| event["content"]["body"].as_str());
        bodies.filter(|body| body.starts_with(prefix)).map(str::to_owned).collect()
    }

    pub(crate) fn duplicates(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let ids = self.timeline.iter().filter_map(|(_, event)| event["event_id"].as_str());
        ids.filter(|id| !seen.insert(*id)).collect()
    }

    /// Who types in the room, by the last word on it.
    pub(crate) fn typing<'a>(&'a self, room: &'a RoomId) -> Option<Vec<&'a str>> {
        let mut notices = self.ephemerals(room, "m.typing");
        let users = notices.next_back()?["content"]["user_ids"].as_array()?;
        Some(users.iter().filter_map(Value::as_str).collect())
    }

    pub(crate) fn has_receipt(&self, room: &RoomId, event: &EventId, user: &UserId) -> bool {
        self.ephemerals(room, "m.receipt")
            .any(|receipts| !receipts["content"][event.as_str()]["m.read"][user.as_str()].is_null())
    }

    fn ephemerals<'a>(
        &'a self,
        room: &'a RoomId,
        kind: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a Value> {
        let of_room = self.ephemeral.iter().filter(move |(id, _)| id == room.as_str());
        of_room.map(|(_, event)| event).filter(move |event| event["type"] == kind)
    }

    pub(crate) fn presence_of(&self, user: &UserId) -> (&str, Option<&str>) {
        let content =
            self.presence.get(user.as_str()).map_or(&Value::Null, |event| &event["content"]);
        (content["presence"].as_str().unwrap_or("unknown"), content["status_msg"].as_str())
    }

    pub(crate) async fn say(&self, room: &RoomId, body: &str) -> Result<OwnedEventId> {
        let sent = self.room(room)?.send(RoomMessageEventContent::text_plain(body)).await?;
        Ok(sent.response.event_id)
    }

    /// Says it and waits until the other has it.
    pub(crate) async fn tell(
        &self,
        listener: &mut Self,
        room: &RoomId,
        body: &str,
    ) -> Result<OwnedEventId> {
        let id = self.say(room, body).await?;
        listener.until_event(&id).await?;
        Ok(id)
    }
}
