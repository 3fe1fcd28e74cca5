// The server is killed and started again while all sync and one writes.

import { expect } from "../steps.mjs";

const CRASH_MS = 90_000;
const EACH = 5;

export async function survive(step, [alice, bob, carol], { group }) {
    const part = (when) => Array.from({ length: EACH }, (_, number) => `storm ${when} ${number}`);
    const [before, during, after] = [part("before"), part("during"), part("after")];
    const expected = [...before, ...during, ...after];

    await step.run("send before, during and after a crash of the server", async () => {
        for (const body of before) await bob.say(group, body);
        const restarted = globalThis.restartServer();
        for (const body of during) await bob.sayThroughAnOutage(group, body);
        await restarted;
        for (const body of after) await bob.sayThroughAnOutage(group, body);
    }, CRASH_MS);

    for (const person of [alice, carol]) {
        await step.run(`${person === alice ? "alice" : "carol"} synced through the crash and missed nothing`, async () => {
            await person.until("all messages", () => person.bodies(group, "storm ").length >= expected.length);
            const got = person.bodies(group, "storm ");
            expect(got.join() === expected.join(), `got ${got}`);
        });
    }

    await step.run("no event was delivered twice", async () => {
        for (const person of [alice, bob, carol]) {
            expect(person.duplicates().length === 0, `${person.name} got ${person.duplicates()} again`);
        }
    });
}
