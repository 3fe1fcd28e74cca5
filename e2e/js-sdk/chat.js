// Messages and what relates to them: edits, reactions, redactions; and the way back through the history.

import { expect } from "../steps.mjs";
import { Person } from "./person.js";

const BACKLOG = 40;
const TURTLE = "\u{1F422}";

export async function talk(step, people, { direct, group }) {
    const [alice, bob, carol] = people;

    await step.run("send in the direct room", async () => {
        const event = await bob.untilEvent(direct, await alice.say(direct, "only for you"));
        expect(event.getContent().body === "only for you" && event.getSender() === alice.id, JSON.stringify(event.event));
    });

    const first = await step.essential("send in the group room", async () => {
        const id = await alice.say(group, "Who keeps the lamp tonihgt?");
        for (const person of people) await person.untilEvent(group, id);
        return id;
    });

    await step.run("edit", async () => {
        const text = { msgtype: "m.text", body: "Who keeps the lamp tonight?" };
        await alice.client.sendMessage(group, {
            ...text,
            body: `* ${text.body}`,
            "m.new_content": text,
            "m.relates_to": { rel_type: "m.replace", event_id: first },
        });
        await bob.until("the edit", () => bob.room(group).findEventById(first).getContent().body === text.body);
    });

    await step.run("react", async () => {
        await bob.client.sendEvent(group, "m.reaction", {
            "m.relates_to": { rel_type: "m.annotation", event_id: first, key: TURTLE },
        });
        await alice.until("the reaction", () => {
            const reactions = alice.room(group).relations.getChildEventsForEvent(first, "m.annotation", "m.reaction");
            const [key, events] = reactions?.getSortedAnnotationsByKey()?.[0] ?? [];
            return key === TURTLE && [...events].some((event) => event.getSender() === bob.id);
        });
    });

    await step.run("redact", async () => {
        const mistake = await carol.say(group, "wrong room");
        await bob.untilEvent(group, mistake);
        await carol.client.redactEvent(group, mistake, undefined, { reason: "a slip" });
        await bob.until("the redaction", () => bob.room(group).findEventById(mistake).isRedacted());
        const left = await bob.client.fetchRoomEvent(group, mistake);
        expect(left.content.body === undefined, `the content is still there: ${JSON.stringify(left)}`);
        expect(left.unsigned?.redacted_because?.content?.reason === "a slip", `no redacted_because in ${JSON.stringify(left)}`);
    });

    const backlog = Array.from({ length: BACKLOG }, (_, number) => `backlog ${number}`);
    await step.run(`${BACKLOG} messages arrive in order`, async () => {
        for (const [number, body] of backlog.entries()) await people[number % 3].say(group, body);
        for (const person of people) {
            await person.until("the whole backlog", () => person.bodies(group, "backlog ").length >= BACKLOG);
            expect(person.bodies(group, "backlog ").join() === backlog.join(), "the backlog is out of order or doubled");
        }
    });

    await step.run("a new device reads back to the creation of the room", () => readBack(carol, group, first, backlog));
}

async function readBack(carol, group, first, backlog) {
    const newcomer = new Person(carol.server, carol.name);
    await newcomer.logIn();
    try {
        await newcomer.start(5);
        const room = newcomer.room(group);
        expect(newcomer.bodies(group, "backlog ").length === 5, "a limit of 5 gives 5 events");
        while (room.oldState.paginationToken !== null) await newcomer.client.scrollback(room, 7);
        const events = newcomer.events(group);
        expect(events[0].getType() === "m.room.create", `the history starts with ${events[0].getType()}`);
        expect(newcomer.bodies(group, "backlog ").join() === backlog.join(), "the history lacks messages or has another order");
        const ids = new Set(events.map((event) => event.getId()));
        // The SDK folds edits, reactions and redactions of the past into what they relate to.
        const folded = (event) => event.isRelation() || event.isRedaction();
        const missing = carol.events(group).filter((event) => !folded(event) && !ids.has(event.getId()));
        expect(missing.length === 0, `missing in the history: ${missing.map((event) => `${event.getType()} ${event.getId()}`)}`);
        const edited = room.findEventById(first).getContent().body;
        expect(edited === "Who keeps the lamp tonight?", `the history shows "${edited}" in place of the edit`);
        await newcomer.client.logout(true);
    } finally {
        newcomer.client.stopClient();
    }
}
