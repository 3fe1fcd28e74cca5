// What is seen of the others: typing, receipts, unread counts, presence, display names.

import { NotificationCountType } from "matrix-js-sdk";

import { expect } from "../steps.mjs";

export async function noticeEachOther(step, [alice, bob], { group }) {
    const seen = () => alice.room(group).getMember(bob.id);

    await step.run("typing starts and stops", async () => {
        await bob.client.sendTyping(group, true, 20_000);
        await alice.until("bob typing", () => seen().typing);
        await bob.client.sendTyping(group, false, 0);
        await alice.until("bob not typing", () => !seen().typing);
    });

    await step.run("read receipt; unread counts rise and fall", async () => {
        const unread = () => bob.room(group).getUnreadNotificationCount(NotificationCountType.Total);
        const id = await alice.say(group, "read this");
        const event = await bob.untilEvent(group, id);
        await bob.until("the unread count", () => unread() > 0);
        await bob.client.sendReadReceipt(event);
        await alice.until("bob's receipt", () => alice.room(group).getEventReadUpTo(bob.id, true) === id);
        await bob.until("nothing unread", () => unread() === 0);
    });

    await step.run("presence with a status message", async () => {
        const user = () => alice.client.getUser(bob.id);
        await alice.until("bob online", () => user()?.presence === "online");
        await bob.client.setSyncPresence("unavailable");
        await bob.client.setPresence({ presence: "unavailable", status_msg: "out fishing" });
        await alice.until("bob away", () => user().presence === "unavailable");
        expect(user().presenceStatusMsg === "out fishing", `the status message is ${user().presenceStatusMsg}`);
        await bob.client.setSyncPresence("online");
        await bob.client.setPresence({ presence: "online" });
        await alice.until("bob back", () => user().presence === "online");
    });

    await step.run("display name", async () => {
        await bob.client.setDisplayName("Bob the keeper");
        await alice.until("the new name", () => seen().name === "Bob the keeper");
    });
}
