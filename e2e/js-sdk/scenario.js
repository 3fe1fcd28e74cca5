// Three users of matrix-js-sdk live through a day on a homeserver: rooms, messages, history, a crash, log-out.

import { ScenarioOver, Steps, expect } from "../steps.mjs";
import { survive } from "./crash.js";
import { talk } from "./chat.js";
import { noticeEachOther } from "./notices.js";
import { Person } from "./person.js";
import { makeRooms } from "./rooms.js";

async function arrive(step, people) {
    await step.essential("register three users in two rounds", async () => {
        for (const person of people) await person.register();
    });
    await step.essential("log in and sync", async () => {
        for (const person of people) {
            await person.logIn();
            await person.start();
        }
    });
}

async function leave(step, bob) {
    await step.run("log out; the token is dead", async () => {
        await bob.client.logout(true);
        const answer = await fetch(`${bob.server}/_matrix/client/v3/account/whoami`, {
            headers: { authorization: `Bearer ${bob.session.access_token}` },
        });
        const { errcode } = await answer.json();
        expect(answer.status === 401 && errcode === "M_UNKNOWN_TOKEN", `${answer.status} ${errcode}`);
    });
}

globalThis.runScenario = async (server, canRestart) => {
    const step = new Steps(globalThis.print);
    const suffix = crypto.randomUUID().replaceAll("-", "").slice(0, 10);
    const people = ["alice", "bob", "carol"].map((name) => new Person(server, `${name}-js-${suffix}`));
    try {
        await arrive(step, people);
        const rooms = await makeRooms(step, people);
        await talk(step, people, rooms);
        await noticeEachOther(step, people, rooms);
        if (canRestart) await survive(step, people, rooms);
        await leave(step, people[1]);
    } catch (error) {
        if (!(error instanceof ScenarioOver)) throw error;
    } finally {
        for (const person of people) person.client?.stopClient();
    }
    return step.failures;
};
