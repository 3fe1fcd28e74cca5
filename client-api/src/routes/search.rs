//! `POST /_matrix/client/*/search` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#server-side-search

mod token;

use std::collections::{BTreeMap, BTreeSet};

use ::search::{Hit, Keys, Order, Query, Search};
use accounts::{Accounts, Session};
use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::{Around, Rooms, StoredEvent};
use ruma::{
    OwnedRoomId, OwnedUserId, UserId,
    api::client::search::search_events::v3::{
        Criteria, EventContext, Grouping, GroupingKey, OrderBy, Request, SearchKeys,
    },
    events::AnyTimelineEvent,
    serde::Raw,
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::json;

use self::token::{Group, Token};
use super::EndpointExt as _;
use crate::{error::Error, extract::Authed, gate::Gate, render, respond::RawJson};

/// What Synapse gives to who asks for no number.
const RESULTS: u64 = 10;
const RESULTS_MAX: u64 = 50;
/// Events of the context, on each side.
const CONTEXT_MAX: usize = 20;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Rooms: FromRef<S>,
    Search: FromRef<S>,
{
    Router::new().endpoint::<Request, _, _>(search_events)
}

#[derive(Serialize)]
struct Category {
    count: usize,
    results: Vec<SearchResult>,
    highlights: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    groups: BTreeMap<&'static str, BTreeMap<String, GroupResult>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<BTreeMap<OwnedRoomId, Vec<Raw<AnyTimelineEvent>>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
}

#[derive(Serialize)]
struct SearchResult {
    rank: f64,
    result: Raw<AnyTimelineEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<ContextResult>,
}

#[derive(Serialize)]
struct ContextResult {
    start: String,
    end: String,
    events_before: Vec<Raw<AnyTimelineEvent>>,
    events_after: Vec<Raw<AnyTimelineEvent>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile_info: Option<BTreeMap<OwnedUserId, ProfileInfo>>,
}

#[derive(Default, Serialize, Deserialize)]
struct ProfileInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    displayname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
}

#[derive(Serialize)]
struct GroupResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
    order: usize,
    results: Vec<String>,
}

async fn search_events(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    State(rooms): State<Rooms>,
    State(search): State<Search>,
    Authed { session, req }: Authed<Request>,
) -> Result<RawJson, Error> {
    if !gate.config().search {
        return Err(Error::unrecognized());
    }
    let Some(mut criteria) = req.search_categories.room_events else {
        return Ok(RawJson(json!({ "search_categories": {} }).to_string().into()));
    };
    let token = req.next_batch.as_deref().map(Token::parse).transpose()?;
    if let Some(Token { group: Some(group), .. }) = &token {
        group.narrow(&mut criteria.filter);
    }
    let limit = criteria.filter.limit.map_or(RESULTS, u64::from).clamp(1, RESULTS_MAX);
    let ignored = ignored_users(&accounts, &session.user_id).await?;
    let query = Query {
        viewer: &session.user_id,
        term: &criteria.search_term,
        keys: keys(criteria.keys.as_deref())?,
        filter: &criteria.filter,
        ignored: &ignored,
        order: order(criteria.order_by.as_ref(), token.map(|token| token.order))?,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let found = search.find(query).await?;
    let answer = Answer { rooms: &rooms, session: &session, criteria: &criteria };
    let category = Category {
        count: found.hits.len() + found.further,
        groups: groups(&criteria.groupings.group_by, &found.hits, found.next),
        state: answer.states(&found.hits).await?,
        results: answer.results(&found.hits).await?,
        highlights: found.words,
        next_batch: found.next.map(|order| Token { order, group: None }.to_string()),
    };
    let body = json!({ "search_categories": { "room_events": category } });
    Ok(RawJson(body.to_string().into()))
}

/// All keys unless some are named. What no event has is not found.
fn keys(named: Option<&[SearchKeys]>) -> Result<Keys, Error> {
    let Some(named) = named else { return Ok(Keys::ALL) };
    let mut keys = Keys { body: false, name: false, topic: false };
    for key in named {
        match key {
            SearchKeys::ContentBody => keys.body = true,
            SearchKeys::ContentName => keys.name = true,
            SearchKeys::ContentTopic => keys.topic = true,
            other => return Err(Error::invalid_param(format!("There is no key {other}"))),
        }
    }
    Ok(keys)
}

/// "Defaults to `rank`".
fn order(asked: Option<&OrderBy>, token: Option<Order>) -> Result<Order, Error> {
    match (asked, token) {
        (_, Some(order)) => Ok(order),
        (Some(OrderBy::Recent), None) => Ok(Order::Recent { before: None }),
        (Some(OrderBy::Rank) | None, None) => Ok(Order::Rank { before: None, after: 0 }),
        (Some(other), None) => Err(Error::invalid_param(format!("There is no order {other}"))),
    }
}

async fn ignored_users(accounts: &Accounts, user: &UserId) -> Result<BTreeSet<OwnedUserId>, Error> {
    #[derive(Default, Deserialize)]
    struct Content {
        #[serde(default)]
        ignored_users: BTreeMap<String, IgnoredAny>,
    }
    let content = accounts.account_data(user, None, "m.ignored_user_list").await?;
    let content: Content =
        content.and_then(|content| serde_json::from_str(content.get()).ok()).unwrap_or_default();
    let ids = content.ignored_users.into_keys();
    Ok(ids.filter_map(|id| UserId::parse(id).ok()).filter(|id| id != user).collect())
}

fn groups(
    asked: &[Grouping],
    hits: &[Hit],
    next: Option<Order>,
) -> BTreeMap<&'static str, BTreeMap<String, GroupResult>> {
    let mut groups: BTreeMap<_, BTreeMap<String, GroupResult>> = BTreeMap::new();
    for Grouping { key } in asked {
        let (name, group_of): (_, fn(&StoredEvent) -> Group) = match key {
            Some(GroupingKey::RoomId) => ("room_id", Group::of_room),
            Some(GroupingKey::Sender) => ("sender", Group::of_sender),
            _ => continue,
        };
        let by_value = groups.entry(name).or_default();
        for Hit { event, .. } in hits {
            let group = group_of(event);
            let order = by_value.len();
            let of_value = by_value.entry(group.value().to_owned()).or_insert_with(|| {
                let token = |order| Token { order, group: Some(group) }.to_string();
                GroupResult { next_batch: next.map(token), order, results: Vec::new() }
            });
            let id = event.event_id().to_string();
            if !of_value.results.contains(&id) {
                of_value.results.push(id);
            }
        }
    }
    groups
}

struct Answer<'a> {
    rooms: &'a Rooms,
    session: &'a Session,
    criteria: &'a Criteria,
}

impl Answer<'_> {
    async fn results(&self, hits: &[Hit]) -> Result<Vec<SearchResult>, Error> {
        let mut results = Vec::with_capacity(hits.len());
        for Hit { event, rank } in hits {
            let room = event.pdu.room_id();
            let rendered =
                render::events(self.rooms, self.session, room, std::slice::from_ref(event)).await?;
            let context = self.context(event).await?;
            let result = rendered.into_iter().next();
            results.extend(result.map(|result| SearchResult { rank: *rank, result, context }));
        }
        Ok(results)
    }

    /// "By default, this is 5" on each side; `None` if nothing of it is wanted.
    async fn context(&self, event: &StoredEvent) -> Result<Option<ContextResult>, Error> {
        let EventContext { before_limit, after_limit, include_profile } =
            self.criteria.event_context;
        let bound =
            |limit| usize::try_from(u64::from(limit)).unwrap_or(CONTEXT_MAX).min(CONTEXT_MAX);
        let limits = (bound(before_limit), bound(after_limit));
        if limits == (0, 0) && !include_profile {
            return Ok(None);
        }
        let room = event.pdu.room_id();
        let around = self.rooms.around(&self.session.user_id, event, limits).await?;
        let profile_info = match include_profile {
            true => Some(self.profiles(event, &around).await?),
            false => None,
        };
        Ok(Some(ContextResult {
            events_before: render::events(self.rooms, self.session, room, &around.before).await?,
            events_after: render::events(self.rooms, self.session, room, &around.after).await?,
            profile_info,
            start: around.start,
            end: around.end,
        }))
    }

    /// What the senders were called when the result was said.
    async fn profiles(
        &self,
        event: &StoredEvent,
        around: &Around,
    ) -> Result<BTreeMap<OwnedUserId, ProfileInfo>, Error> {
        let others = around.before.iter().chain(&around.after).map(|event| event.pdu.sender());
        let senders: BTreeSet<_> = others.chain([event.pdu.sender()]).collect();
        let mut profiles = BTreeMap::new();
        for sender in senders {
            let member =
                self.rooms.state_get(event.state_before, "m.room.member", sender.as_str()).await?;
            let profile = member.and_then(|member| member.pdu.content_as::<ProfileInfo>().ok());
            profiles.insert(sender.to_owned(), profile.unwrap_or_default());
        }
        Ok(profiles)
    }

    async fn states(
        &self,
        hits: &[Hit],
    ) -> Result<Option<BTreeMap<OwnedRoomId, Vec<Raw<AnyTimelineEvent>>>>, Error> {
        if self.criteria.include_state != Some(true) {
            return Ok(None);
        }
        let rooms: BTreeSet<_> = hits.iter().map(|hit| hit.event.pdu.room_id()).collect();
        let mut states = BTreeMap::new();
        for room in rooms {
            let state = self.rooms.state(&self.session.user_id, room).await?;
            let state = render::state_events(self.rooms, self.session, room, &state).await?;
            states.insert(room.to_owned(), state);
        }
        Ok(Some(states))
    }
}

impl From<::search::Error> for Error {
    fn from(error: ::search::Error) -> Self {
        match error {
            ::search::Error::Rooms(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}
