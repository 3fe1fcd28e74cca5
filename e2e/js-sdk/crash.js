// The server is killed and started again while all sync and one writes.

import { expect } from "../steps.mjs";

const CRASH_MS = 90_000;
// Enough for one sync to be limited now and then.
const EACH = 14;

export async function survive(step, [alice, bob, carol], { group }) {
    const part = (when) => Array.from({ length: EACH }, (_, number) => `storm ${when} ${number}`);
    const [before, during, after] = [part("before"), part("during"), part("after")];
    const expected = [...before, ...during, ...after];

    await step.run("send before, during and after a crash of the server", async () => {
        for (const body of before) await bob.say(group, body);
        const sayAll = async () => {
            for (const body of during) await bob.sayThroughAnOutage(group, body);
        };
        await Promise.all([globalThis.restartServer(), sayAll()]);
        for (const body of after) await bob.sayThroughAnOutage(group, body);
    }, CRASH_MS);

    for (const person of [alice, carol]) {
        await step.run(`${person === alice ? "alice" : "carol"} synced through the crash and missed nothing`, async () => {
            await person.until("the last message", () => person.bodies(group, "storm ").includes(expected.at(-1)));
            // More than ten events in one sync are a gap, which Element fills by paging back.
            const room = person.room(group);
            while (!person.bodies(group, "storm ").includes(expected[0]) && room.oldState.paginationToken !== null) {
                await person.client.scrollback(room, 7);
            }
            const got = person.bodies(group, "storm ");
            expect(got.join() === expected.join(), `got ${got}; gaps: ${person.gaps}`);
        });
    }

    await step.run("no event was delivered twice", async () => {
        for (const person of [alice, bob, carol]) {
            expect(person.duplicates().length === 0, `${person.name} got ${person.duplicates()} again`);
        }
    });
}
