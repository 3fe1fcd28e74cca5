//! Which rooms a request is about: the windows of its lists, and its subscriptions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ruma::OwnedRoomId;
use smallvec::SmallVec;

use super::{
    facts::UserFacts,
    request::{List, RoomConfig, SlidingBody},
    required::Required,
    snapshot::Entry,
    standing,
    state::State,
};
use crate::{SyncError, Unwanted, service::Inner};

/// What a list came to.
pub(crate) struct ListResult {
    /// All rooms that pass the filters.
    pub(crate) count: usize,
    /// Each range that was asked for, and its rooms.
    pub(crate) windows: Vec<((u64, u64), Vec<OwnedRoomId>)>,
}

/// A room that is to be told, if there is anything to tell.
pub(crate) struct Selected<'a> {
    pub(crate) entry: &'a Entry,
    /// The lists whose windows it is in.
    pub(crate) lists: Vec<&'a str>,
    pub(crate) is_subscribed: bool,
    pub(crate) config: RoomConfig,
}

pub(crate) struct Selection<'a> {
    pub(crate) lists: BTreeMap<&'a str, ListResult>,
    /// In the order of the server's list.
    pub(crate) rooms: Vec<Selected<'a>>,
}

/// Leaves the rooms of the server's list in `entries`, and returns those that may only be
/// subscribed to.
pub(crate) async fn visible(
    sync: &Inner,
    facts: &UserFacts<'_>,
    unwanted: &Unwanted,
    state: &State,
    body: &SlidingBody,
    entries: &mut Vec<Entry>,
) -> Result<Vec<Entry>, SyncError> {
    let (mut listed, mut others) = (Vec::with_capacity(entries.len()), Vec::new());
    for entry in entries.drain(..) {
        if entry.is_joined() {
            listed.push(entry);
            continue;
        }
        let Some(standing) = standing::of(sync, facts.user, &entry).await? else { continue };
        let was_told = state.rooms.contains_key(&entry.room_id);
        if !entry.is_gone() {
            if !(entry.is_invite() && unwanted.hides_invite_of(standing.sender.as_deref())) {
                listed.push(entry);
            }
            continue;
        }
        // "Rooms that the user has been in but left are only included if the room was previously
        // sent to the client in that connection."
        let by_others = standing.sender.as_ref().is_some_and(|sender| sender != facts.user);
        let is_listed = was_told || (standing.seen.is_some() && by_others);
        let is_subscribed =
            standing.seen.is_some() && body.subscriptions.contains_key(&entry.room_id);
        if !(is_listed || is_subscribed) || is_forgotten(sync, facts, &entry).await? {
            continue;
        }
        if is_listed { listed.push(entry) } else { others.push(entry) }
    }
    *entries = listed;
    Ok(others)
}

async fn is_forgotten(
    sync: &Inner,
    facts: &UserFacts<'_>,
    entry: &Entry,
) -> Result<bool, SyncError> {
    let row = sync.sources.rooms.user_room(facts.user, &entry.room_id).await?;
    Ok(row.is_none_or(|row| row.forgotten))
}

pub(crate) async fn select<'a>(
    sync: &Inner,
    facts: &UserFacts<'_>,
    body: &'a SlidingBody,
    listed: &'a [Entry],
    others: &'a [Entry],
) -> Result<Selection<'a>, SyncError> {
    let mut lists = BTreeMap::new();
    let mut names: HashMap<usize, Vec<&str>> = HashMap::new();
    for (name, list) in &body.lists {
        let passing = list.filters.select(sync, facts, listed).await?;
        let result = windows(list, listed, &passing, |index| {
            let names = names.entry(index).or_default();
            if names.last() != Some(&name.as_str()) {
                names.push(name);
            }
        });
        lists.insert(name.as_str(), result);
    }
    let mut merged = Merged::default();
    let mut rooms = Vec::new();
    for (index, entry) in listed.iter().chain(others).enumerate() {
        let lists = names.remove(&index).unwrap_or_default();
        let subscription = body.subscriptions.get(&entry.room_id);
        if lists.is_empty() && subscription.is_none() {
            continue;
        }
        let configs =
            lists.iter().filter_map(|name| body.lists.get(*name)).map(|list| &list.config);
        let configs: SmallVec<[&RoomConfig; 2]> = configs.chain(subscription).collect();
        let config = merged.of(&configs);
        rooms.push(Selected { entry, lists, is_subscribed: subscription.is_some(), config });
    }
    Ok(Selection { lists, rooms })
}

fn windows(
    list: &List,
    listed: &[Entry],
    passing: &[usize],
    mut take: impl FnMut(usize),
) -> ListResult {
    let count = passing.len();
    let everything = [(0, u64::MAX)];
    let ranges = list.ranges.as_deref().unwrap_or(&everything);
    let mut result = ListResult { count, windows: Vec::with_capacity(ranges.len()) };
    for &(first, last) in ranges {
        let start = usize::try_from(first).unwrap_or(usize::MAX).min(count);
        let end = usize::try_from(last).unwrap_or(usize::MAX).saturating_add(1).min(count);
        let mut rooms = Vec::with_capacity(end - start);
        for &index in &passing[start..end] {
            take(index);
            rooms.push(listed[index].room_id.clone());
        }
        result.windows.push(((first, last), rooms));
    }
    result
}

/// The configs of several rules as one: "the superset". Most rooms match the same rules.
#[derive(Default)]
struct Merged(HashMap<SmallVec<[usize; 2]>, Arc<Required>>);

impl Merged {
    fn of(&mut self, configs: &[&RoomConfig]) -> RoomConfig {
        let timeline_limit = configs.iter().map(|config| config.timeline_limit).max();
        let required = match configs {
            [one] => Arc::clone(&one.required),
            // They are borrowed from the request, so an address stands for one of them.
            _ => {
                let key =
                    configs.iter().map(|config| Arc::as_ptr(&config.required) as usize).collect();
                let union = || Required::union(configs.iter().map(|config| &config.required));
                Arc::clone(self.0.entry(key).or_insert_with(|| Arc::new(union())))
            }
        };
        RoomConfig { timeline_limit: timeline_limit.unwrap_or_default(), required }
    }
}
