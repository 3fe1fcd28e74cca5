// Two browsers side by side chat at the page of the region; then the server is killed under both.

import { randomBytes } from "node:crypto";
import { join } from "node:path";

import { commandLine, openBrowser, restart } from "../node.mjs";
import { ScenarioOver, Steps, expect } from "../steps.mjs";
import { Visitor } from "./visitor.mjs";
import { Writer } from "./writer.mjs";

const CRASH_MS = 90_000;
const ROUNDS = 2;
const ROOM = "The lighthouse";

const { server, restartCommand, artifacts } = commandLine();
// To try the scenario on a server without the WebSocket, through the page's fallback.
const overHttp = process.env.E2E_PAGE_OVER_HTTP === "1";
const step = new Steps(console.log);
const suffix = randomBytes(5).toString("hex");
const alice = new Visitor(server, `alice-page-${suffix}`);
const bob = new Visitor(server, `bob-page-${suffix}`);
const carol = new Writer(server, `carol-page-${suffix}`);
const both = [alice, bob];

async function arrive() {
    await step.essential("the page says that the region is up", async () => {
        await alice.arrive({ colorScheme: "light" });
        await bob.arrive({ colorScheme: "dark" });
    });
    await step.essential("sign up", async () => {
        for (const visitor of both) await visitor.signUp();
    });
    await step.essential("log out and log in again", async () => {
        const token = await alice.token();
        await alice.logOut();
        expect(await carol.isTokenDead(token), "the token outlives the log-out");
        await alice.logIn();
    });
}

async function makeRoom() {
    return step.essential("create a room, invite, accept", async () => {
        await alice.at("room-name").fill(ROOM);
        await alice.at("create-room").click();
        await alice.at("room-item", { hasText: ROOM }).waitFor();
        await alice.at("composer").waitFor();
        await alice.at("invite-user").fill(bob.name);
        await alice.at("invite").click();
        await bob.at("join").click();
        await bob.at("composer").waitFor();
        await carol.register();
        await alice.at("invite-user").fill(carol.name);
        await alice.at("invite").click();
        const room = await alice.at("room-item", { hasText: ROOM }).getAttribute("data-room-id");
        await alice.at("person").nth(2).waitFor();
        await carol.join(room);
        return room;
    });
}

/** Afterwards both are back in the room of before. */
async function talkInTwo(room) {
    let direct;
    await step.run("open a direct room; it is one for both", async () => {
        await alice.at("direct-user").fill(bob.name);
        await alice.at("direct").click();
        await alice.directRoom().waitFor();
        await bob.at("invite-item").filter({ hasText: alice.name }).locator('[data-test="join"]').click();
        await bob.directRoom().waitFor();
        direct = await alice.directRoom().getAttribute("data-room-id");
        expect(direct === (await bob.directRoom().getAttribute("data-room-id")), "they are in two direct rooms");
        for (const [visitor, other] of [[alice, bob], [bob, alice]]) {
            const listed = (await visitor.accountData("m.direct"))[await other.userId()];
            expect(listed?.join() === direct, `${visitor.name} lists ${JSON.stringify(listed)}`);
        }
        await alice.say("Just between us");
        await bob.sees("Just between us");
        await bob.say("As ever");
        await alice.sees("As ever");
    });
    await step.run("asking again opens the same direct room", async () => {
        await alice.at("room-item", { hasText: ROOM }).click();
        await alice.at("room-title", { hasText: ROOM }).waitFor();
        await alice.at("direct-user").fill(await bob.userId());
        await alice.at("direct").click();
        await alice.sees("As ever");
        expect((await alice.directRoom().count()) === 1, "there is a second direct room");
    });
    await step.essential("back to the others", async () => {
        for (const visitor of both) {
            await visitor.page.locator(`[data-test="room-item"][data-room-id="${room}"]`).click();
            await visitor.at("room-title", { hasText: ROOM }).waitFor();
        }
    });
}

async function talk() {
    await step.run("messages reach the other browser", async () => {
        await alice.say("Is the lamp lit?");
        await bob.sees("Is the lamp lit?");
        await bob.say("Since a quarter past five. <b>not bold</b>");
        await alice.sees("<b>not bold</b>");
        expect((await alice.page.locator("#timeline b").count()) === 0, "a message became markup");
    });
    await step.run("typing shows and vanishes", async () => {
        await bob.at("composer").pressSequentially("Hm");
        await alice.at("typing", { hasText: "typing" }).waitFor();
        await bob.at("composer").fill("");
        await alice.at("typing").and(alice.page.locator(":empty")).waitFor({ state: "attached" });
    });
    await step.run("the other's presence dot is online", async () => {
        for (const visitor of both) await visitor.page.waitForSelector('[data-test="presence-dot"][data-presence="online"]');
    });
    await step.run("read receipt", async () => {
        await alice.say("Read this");
        await alice.message("Read this").locator('[data-test="receipt"]').first().waitFor();
    });
    await step.run("edit, react, delete", async () => {
        await alice.press("edit", "Is the lamp lit?");
        await alice.at("composer").fill("Is the big lamp lit?");
        await alice.at("send").click();
        await bob.sees("Is the big lamp lit?");
        await bob.press("react", "Is the big lamp lit?");
        await alice.message("Is the big lamp lit?").locator('[data-test="reaction"]').waitFor();
        await bob.say("Delete me");
        await alice.sees("Delete me");
        await bob.press("delete", "Delete me");
        await alice.message("Delete me").waitFor({ state: "detached" });
    });
    await step.run("all of it went over the WebSocket", async () => {
        for (const visitor of both) {
            const polled = `${visitor.name}: ${visitor.framesReceived} frames, ${visitor.polls} long-polls`;
            if (overHttp) expect(visitor.polls > 0, polled);
            else expect(visitor.framesReceived > 0 && visitor.polls === 0, polled);
        }
    });
}

/** One picture with the two windows as they stand beside each other. */
async function takePicture() {
    if (!artifacts) return;
    const images = [];
    for (const visitor of both) {
        const path = join(artifacts, `page-${visitor === alice ? "alice" : "bob"}.png`);
        images.push((await visitor.screenshot({ path })).toString("base64"));
    }
    const frame = await openBrowser({ viewport: { width: 1920, height: 800 } });
    try {
        const tags = images.map((data) => `<img width="960" height="800" src="data:image/png;base64,${data}">`);
        await frame.page.setContent(`<body style="margin:0;display:flex">${tags.join("")}`, { waitUntil: "load" });
        await frame.page.screenshot({ path: join(artifacts, "page.png") });
    } finally {
        await frame.close();
    }
}

async function surviveACrash(room, round) {
    const prefix = `storm ${round} `;
    const fromCarol = Array.from({ length: 12 }, (_, number) => `${prefix}carol ${number}`);
    const fromAlice = [`${prefix}alice before`, `${prefix}alice during`, `${prefix}alice after`];
    const fromBob = [`${prefix}bob during`];

    await step.run(`crash ${round}: all write before, during and after it`, async () => {
        const resumed = both.map((visitor) => visitor.starts.length);
        await alice.say(fromAlice[0]);
        for (const text of fromCarol.slice(0, 4)) await carol.say(room, text);
        const writeThrough = async () => {
            for (const text of fromCarol.slice(4)) await carol.say(room, text);
        };
        const chatThrough = async () => {
            await alice.at("connection", { hasText: "reconnecting" }).waitFor();
            await alice.say(fromAlice[1]);
            await bob.say(fromBob[0]);
        };
        await Promise.all([restart(restartCommand), writeThrough(), chatThrough()]);
        for (const visitor of both) await visitor.untilOnline();
        await alice.say(fromAlice[2]);
        if (overHttp) return;
        for (const [index, visitor] of both.entries()) {
            await visitor.sees(fromAlice[2]);
            const since = visitor.starts.slice(resumed[index]);
            expect(since.length > 0 && since.every(Boolean), `${visitor.name} started again from ${JSON.stringify(since)}`);
        }
    }, CRASH_MS);

    for (const visitor of both) {
        const who = visitor === alice ? "alice" : "bob";
        await step.run(`crash ${round}: ${who} resumed and missed nothing, got nothing twice`, async () => {
            for (const text of [fromAlice.at(-1), fromBob.at(-1), fromCarol.at(-1)]) await visitor.sees(text);
            for (const text of [fromAlice[0], fromCarol[0]]) await visitor.findsInThePast(text);
            const shown = await visitor.shown(prefix);
            for (const part of [fromAlice, fromBob, fromCarol]) {
                const kept = shown.filter((text) => part.includes(text));
                expect(kept.join() === part.join(), `shown are ${kept}`);
            }
        });
    }
}

async function readBack() {
    await step.run("a reload resumes; the history reads back to the creation", async () => {
        await bob.page.reload();
        await bob.untilOnline();
        await bob.at("composer").waitFor();
        const beginning = bob.at("beginning");
        while (!(await beginning.isVisible())) await bob.loadOlder();
        const ids = await bob.at("message").evaluateAll((rows) => rows.map((row) => row.dataset.eventId));
        expect(new Set(ids).size === ids.length, "a message is shown twice");
        await bob.sees("Is the big lamp lit?");
    });
}

async function leave() {
    await step.run("log out; the token is dead", async () => {
        const token = await bob.token();
        await bob.logOut();
        expect(await carol.isTokenDead(token), "the token outlives the log-out");
        await alice.page.waitForSelector('[data-test="presence-dot"][data-presence="offline"]');
    });
    await step.run("no script failed, none was blocked", async () => {
        for (const visitor of both) expect(visitor.errors.length === 0, `${visitor.name}: ${visitor.errors[0]}`);
    });
}

try {
    await arrive();
    const room = await makeRoom();
    await talkInTwo(room);
    await talk();
    await step.run("a picture of both", takePicture);
    for (let round = 1; restartCommand && round <= ROUNDS; round += 1) await surviveACrash(room, round);
    await readBack();
    await leave();
} catch (error) {
    if (!(error instanceof ScenarioOver)) throw error;
    // What the browsers showed at that moment is the best explanation.
    for (const visitor of both) {
        if (artifacts && visitor.page) await visitor.screenshot({ path: join(artifacts, `${visitor.name.split("-")[0]}-failed.png`) });
    }
} finally {
    for (const visitor of both) await visitor.leave();
}
process.exitCode = step.failures === 0 ? 0 : 1;
