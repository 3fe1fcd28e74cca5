//! Messages and what relates to them: edits, reactions, redactions; and the way back through the history.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use matrix_sdk::{
    room::{IncludeRelations, MessagesOptions, RelationsOptions, edit::EditedContent},
    ruma::{
        EventId, RoomId,
        events::{
            reaction::ReactionEventContent, relation::Annotation,
            room::message::RoomMessageEventContentWithoutRelation,
        },
    },
};
use serde_json::Value;

use crate::{World, person::Person, steps::ScenarioOver};

const BACKLOG: usize = 40;
const TURTLE: &str = "\u{1F422}";

impl World {
    pub(crate) async fn talk(&mut self) -> Result<(), ScenarioOver> {
        let Self { step, alice, bob, carol, .. } = self;
        let direct = self.direct.clone().ok_or(ScenarioOver)?;
        let group = self.group.clone().ok_or(ScenarioOver)?;

        step.run("send in the direct room", async {
            let id = alice.say(&direct, "only for you").await?;
            let event = bob.until_event(&id).await?;
            ensure!(
                event["content"]["body"] == "only for you"
                    && event["sender"] == alice.id().as_str(),
                "got {event}"
            );
            Ok(())
        })
        .await;
        let first = step
            .essential("send in the group room", async {
                let id = alice.say(&group, "Who keeps the lamp tonihgt?").await?;
                for person in [&mut *alice, &mut *bob, &mut *carol] {
                    person.until_event(&id).await?;
                }
                Ok(id)
            })
            .await?;
        step.run("edit", edit(alice, bob, &group, &first)).await;
        step.run("react", react(alice, bob, &group, &first)).await;
        step.run("relations and bundled aggregations", aggregate(carol, &group, &first)).await;
        step.run("redact", redact(bob, carol, &group)).await;
        let backlog: Vec<String> = (0..BACKLOG).map(|number| format!("backlog {number}")).collect();
        let people = [alice, bob, &mut *carol];
        step.run("40 messages arrive in order", chatter(people, &group, &backlog)).await;
        step.run(
            "a new device reads back to the creation of the room",
            read_back(carol, &group, &backlog),
        )
        .await;
        Ok(())
    }
}

/// The SDK fetches the original to build the edit on.
async fn edit(alice: &Person, bob: &mut Person, group: &RoomId, original: &EventId) -> Result<()> {
    let room = alice.room(group)?;
    let text = RoomMessageEventContentWithoutRelation::text_plain("Who keeps the lamp tonight?");
    let content = room.make_edit_event(original, EditedContent::RoomMessage(text)).await?;
    let id = room.send(content).await?.response.event_id;
    let event = bob.until_event(&id).await?;
    ensure!(event["content"]["m.relates_to"]["rel_type"] == "m.replace", "got {event}");
    ensure!(
        event["content"]["m.new_content"]["body"] == "Who keeps the lamp tonight?",
        "got {event}"
    );
    Ok(())
}

async fn react(alice: &mut Person, bob: &Person, group: &RoomId, original: &EventId) -> Result<()> {
    let content =
        ReactionEventContent::new(Annotation::new(original.to_owned(), TURTLE.to_owned()));
    let id = bob.room(group)?.send(content).await?.response.event_id;
    let event = alice.until_event(&id).await?;
    ensure!(
        event["type"] == "m.reaction" && event["content"]["m.relates_to"]["key"] == TURTLE,
        "got {event}"
    );
    Ok(())
}

async fn aggregate(carol: &Person, group: &RoomId, original: &EventId) -> Result<()> {
    let room = carol.room(group)?;
    let options = RelationsOptions {
        include_relations: IncludeRelations::AllRelations,
        ..Default::default()
    };
    let relations = room.relations(original.to_owned(), options).await?;
    let mut kinds = Vec::new();
    for event in &relations.chunk {
        let event: Value = serde_json::from_str(event.raw().json().get())?;
        kinds.push(
            event["content"]["m.relates_to"]["rel_type"].as_str().unwrap_or_default().to_owned(),
        );
    }
    kinds.sort();
    ensure!(kinds == ["m.annotation", "m.replace"], "the relations are {kinds:?}");
    let event: Value = serde_json::from_str(room.event(original, None).await?.raw().json().get())?;
    let edit = &event["unsigned"]["m.relations"]["m.replace"];
    ensure!(
        edit["content"]["m.new_content"]["body"] == "Who keeps the lamp tonight?",
        "no edit in {event}"
    );
    ensure!(
        event["content"]["body"] == "Who keeps the lamp tonihgt?",
        "the original was replaced: {event}"
    );
    Ok(())
}

async fn redact(bob: &mut Person, carol: &Person, group: &RoomId) -> Result<()> {
    let mistake = carol.say(group, "wrong room").await?;
    bob.until_event(&mistake).await?;
    let id = carol.room(group)?.redact(&mistake, Some("a slip"), None).await?.event_id;
    let event = bob.until_event(&id).await?;
    // Rooms from version 11 on have it in the content, clients of old look outside: servers send both.
    ensure!(
        event["redacts"] == mistake.as_str() && event["content"]["redacts"] == mistake.as_str(),
        "got {event}"
    );
    let left: Value =
        serde_json::from_str(bob.room(group)?.event(&mistake, None).await?.raw().json().get())?;
    ensure!(left["content"] == serde_json::json!({}), "the content is still there: {left}");
    ensure!(
        left["unsigned"]["redacted_because"]["event_id"] == id.as_str(),
        "no redacted_because in {left}"
    );
    Ok(())
}

async fn chatter(people: [&mut Person; 3], group: &RoomId, backlog: &[String]) -> Result<()> {
    for (number, body) in backlog.iter().enumerate() {
        people[number % 3].say(group, body).await?;
    }
    for person in people {
        person
            .until("the whole backlog", async |person: &Person| {
                (person.bodies(group, "backlog ").len() >= BACKLOG).then_some(())
            })
            .await?;
        let got = person.bodies(group, "backlog ");
        ensure!(got == backlog, "the backlog is out of order or doubled: {got:?}");
    }
    Ok(())
}

async fn read_back(carol: &Person, group: &RoomId, backlog: &[String]) -> Result<()> {
    let mut newcomer = carol.newcomer(5).await?;
    let events = page_back(&mut newcomer, group).await?;
    newcomer.client.logout().await?;

    let last = events.last().context("the history is empty")?;
    ensure!(last["type"] == "m.room.create", "the history ends with {last}");
    let mut ids: Vec<&str> = events.iter().filter_map(id_of).collect();
    let missing: Vec<&str> =
        carol.events(group).filter_map(id_of).filter(|id| !ids.contains(id)).collect();
    ensure!(missing.is_empty(), "missing in the history: {missing:?}");
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == count, "a page repeats an event of another");
    let bodies = events.iter().rev().filter_map(|event| event["content"]["body"].as_str());
    let bodies: Vec<&str> = bodies.filter(|body| body.starts_with("backlog ")).collect();
    ensure!(bodies == backlog, "{} of {BACKLOG} messages, or in another order", bodies.len());
    Ok(())
}

/// All events of the room, the newest first: a short first sync, then page by page.
async fn page_back(newcomer: &mut Person, group: &RoomId) -> Result<Vec<Value>> {
    let sync = newcomer.sync(Duration::ZERO).await?;
    let update = sync.rooms.joined.get(group).context("the room is not in the first sync")?;
    let count = update.timeline.events.len();
    ensure!(update.timeline.limited && count == 5, "a limit of 5 gave {count} events");
    let mut events: Vec<Value> = newcomer.events(group).rev().cloned().collect();
    let mut from = update.timeline.prev_batch.clone();
    while let Some(token) = from {
        let mut options = MessagesOptions::backward().from(token.as_str());
        options.limit = 7u32.into();
        let page = newcomer.room(group)?.messages(options).await?;
        for event in &page.chunk {
            events.push(serde_json::from_str(event.raw().json().get())?);
        }
        from = page.end;
    }
    Ok(events)
}

fn id_of(event: &Value) -> Option<&str> {
    event["event_id"].as_str()
}
