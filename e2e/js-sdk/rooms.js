// Rooms: a direct one and a group, invites, joins, and what the SDK makes of them.

import { expect } from "../steps.mjs";

const isInvited = (person, roomId) => person.room(roomId)?.getMyMembership() === "invite";

export async function makeRooms(step, [alice, bob, carol]) {
    const direct = await step.essential("create a direct room; the other is invited", async () => {
        const { room_id } = await alice.client.createRoom({
            is_direct: true,
            preset: "trusted_private_chat",
            invite: [bob.id],
        });
        await alice.client.setAccountData("m.direct", { [bob.id]: [room_id] });
        await bob.until("the invite", () => isInvited(bob, room_id));
        expect(bob.room(room_id).getDMInviter() === alice.id, "the invite does not say that the room is direct");
        return room_id;
    });

    await step.essential("accept the direct invite", async () => {
        await bob.client.joinRoom(direct);
        await alice.until("bob's join", () => alice.room(direct)?.getMember(bob.id)?.membership === "join");
        await bob.until("the joined room", () => bob.room(direct)?.getMyMembership() === "join");
        const { powerLevel } = alice.room(direct).getMember(bob.id);
        expect(powerLevel >= 100, `a trusted private chat leaves the other at ${powerLevel}`);
        await alice.until("m.direct", () => alice.client.getAccountData("m.direct")?.getContent()[bob.id]?.[0] === direct);
    });

    const group = await step.essential("create a group room; two are invited", async () => {
        const { room_id } = await alice.client.createRoom({
            name: "The lighthouse",
            topic: "Keepers only",
            preset: "private_chat",
            invite: [bob.id],
        });
        await alice.client.invite(room_id, carol.id);
        for (const person of [bob, carol]) {
            await person.until("the invite", () => isInvited(person, room_id));
            expect(person.room(room_id).name === "The lighthouse", `the invite shows the name ${person.room(room_id).name}`);
        }
        return room_id;
    });

    await step.essential("accept the group invites; all see three members", async () => {
        await bob.client.joinRoom(group);
        await carol.client.joinRoom(group);
        for (const person of [alice, bob, carol]) {
            await person.until("three members", () => person.room(group)?.getJoinedMemberCount() === 3);
            await person.room(group).loadMembersIfNeeded();
            const members = person.room(group).getJoinedMembers().length;
            expect(members === 3, `${person.name} lists ${members} members`);
        }
    });
    return { direct, group };
}
