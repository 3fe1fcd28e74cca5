"""Three users of matrix-nio live through a day on a homeserver: rooms, messages, history, a crash, log-out."""

import argparse
import asyncio
import logging
import secrets
import sys
from pathlib import Path

from nio import AsyncClient, MessageDirection, ReactionEvent, RedactionEvent, RoomCreateEvent, RoomMemberEvent, RoomPreset

from person import PASSWORD, Person
from steps import ScenarioOver, Steps, expect

BACKLOG = 40


class Scenario:
    def __init__(self, server: str, restart_command: str | None) -> None:
        self.server = server
        self.restart_command = restart_command
        self.step = Steps()
        suffix = secrets.token_hex(5)
        self.alice, self.bob, self.carol = self.people = [
            Person(server, f"{name}-nio-{suffix}") for name in ("alice", "bob", "carol")]
        self.direct = self.group = ""
        self.backlog: list[str] = []

    async def run(self) -> int:
        try:
            await self.arrive()
            await self.make_rooms()
            await self.talk()
            await self.read_history()
            await self.notice_each_other()
            await self.survive_a_restart()
            await self.leave()
        except ScenarioOver:
            pass
        finally:
            for person in self.people:
                await person.close()
        return self.step.failures

    async def say(self, person: Person, room_id: str, body: str, **content) -> str:
        return await self.send(person, room_id, "m.room.message", {"msgtype": "m.text", "body": body, **content})

    async def send(self, person: Person, room_id: str, kind: str, content: dict) -> str:
        response = await person.client.room_send(room_id, kind, content)
        expect(getattr(response, "event_id", None), response)
        return response.event_id

    async def arrive(self) -> None:
        async def register() -> None:
            for person in self.people:
                # nio sends the dummy stage at once, without asking for a session first.
                response = await person.client.register(person.client.user, PASSWORD, "registration")
                expect(getattr(response, "access_token", None), response)

        async def refuse_a_wrong_password() -> None:
            stranger = AsyncClient(self.server, self.alice.client.user)
            try:
                response = await stranger.login("wrong")
                expect(getattr(response, "status_code", None) == "M_FORBIDDEN", response)
            finally:
                await stranger.close()

        async def log_in() -> None:
            for person in self.people:
                registered = person.client.access_token
                person.client.device_id = None
                await person.log_in()
                expect(person.client.access_token != registered, "the log-in gave the token of the registration")
                person.start()

        await self.step("register three users", register, essential=True)
        await self.step("a wrong password is refused", refuse_a_wrong_password)
        await self.step("log in", log_in, essential=True)

    async def make_rooms(self) -> None:
        alice, bob, carol = self.people

        async def create_direct() -> None:
            response = await alice.client.room_create(is_direct=True, preset=RoomPreset.trusted_private_chat, invite=[bob.id])
            expect(getattr(response, "room_id", None), response)
            self.direct = response.room_id
            await bob.until("the invite", lambda: self.direct in bob.client.invited_rooms)
            invite = bob.client.invited_rooms[self.direct]
            expect(invite.inviter == alice.id, f"the inviter is {invite.inviter}")

        async def accept_direct() -> None:
            response = await bob.client.join(self.direct)
            expect(getattr(response, "room_id", None) == self.direct, response)
            await alice.until("bob's join", lambda: self.joined(alice, self.direct, bob))
            invite = next(event for event in alice.timeline(self.direct)
                          if isinstance(event, RoomMemberEvent) and event.state_key == bob.id and event.membership == "invite")
            expect(invite.content.get("is_direct") is True, f"is_direct is missing in {invite.content}")
            levels = alice.client.rooms[self.direct].power_levels
            expect(levels.get_user_level(bob.id) == 100 or levels.get_user_level(bob.id) == levels.get_user_level(alice.id)
                   or alice.client.rooms[self.direct].room_version >= "12",
                   f"a trusted private chat leaves bob at {levels.get_user_level(bob.id)}")

        async def create_group() -> None:
            response = await alice.client.room_create(name="The lighthouse", topic="Keepers only", invite=[bob.id],
                                                      preset=RoomPreset.private_chat)
            expect(getattr(response, "room_id", None), response)
            self.group = response.room_id
            response = await alice.client.room_invite(self.group, carol.id)
            expect(not hasattr(response, "status_code"), response)
            for person in (bob, carol):
                await person.until("the invite", lambda person=person: self.group in person.client.invited_rooms)
                name = person.client.invited_rooms[self.group].name
                expect(name == "The lighthouse", f"the invite shows the name {name!r}")

        async def join_group() -> None:
            for person in (bob, carol):
                response = await person.client.join(self.group)
                expect(getattr(response, "room_id", None) == self.group, response)
            for person in self.people:
                await person.until("three members", lambda person=person: self.group in person.client.rooms
                                   and person.client.rooms[self.group].joined_count == 3)
            expect(self.group not in carol.client.invited_rooms, "a joined room is still an invite")

        await self.step("create a direct room; the other is invited", create_direct, essential=True)
        await self.step("accept the direct invite", accept_direct, essential=True)
        await self.step("create a group room; two are invited", create_group, essential=True)
        await self.step("accept the group invites; all see three members", join_group, essential=True)

    @staticmethod
    def joined(observer: Person, room_id: str, person: Person) -> bool:
        return any(isinstance(event, RoomMemberEvent) and event.state_key == person.id and event.membership == "join"
                   for event in observer.timeline(room_id))

    async def talk(self) -> None:
        alice, bob, carol = self.people

        async def send_direct() -> None:
            event_id = await self.say(alice, self.direct, "only for you")
            event = await bob.until("the message", lambda: bob.saw(self.direct, event_id))
            expect(event.body == "only for you" and event.sender == alice.id, event)

        async def send_group() -> str:
            event_id = await self.say(alice, self.group, "Who keeps the lamp tonihgt?")
            for person in self.people:
                await person.until("the message", lambda person=person: person.saw(self.group, event_id))
            return event_id

        async def edit(original: str) -> None:
            text = {"msgtype": "m.text", "body": "Who keeps the lamp tonight?"}
            event_id = await self.say(alice, self.group, f"* {text['body']}", **{
                "m.new_content": text, "m.relates_to": {"rel_type": "m.replace", "event_id": original}})
            event = await bob.until("the edit", lambda: bob.saw(self.group, event_id))
            expect(event.source["content"]["m.new_content"] == text, event)

        async def react(original: str) -> None:
            event_id = await self.send(bob, self.group, "m.reaction", {
                "m.relates_to": {"rel_type": "m.annotation", "event_id": original, "key": "\N{TURTLE}"}})
            event = await alice.until("the reaction", lambda: alice.saw(self.group, event_id))
            expect(isinstance(event, ReactionEvent) and event.reacts_to == original and event.key == "\N{TURTLE}", event)

        async def redact() -> None:
            mistake = await self.say(carol, self.group, "wrong room")
            response = await carol.client.room_redact(self.group, mistake, reason="a slip")
            expect(getattr(response, "event_id", None), response)
            event = await bob.until("the redaction", lambda: bob.saw(self.group, response.event_id))
            # nio drops a redaction without the top-level `redacts` that clients of old expect.
            expect(isinstance(event, RedactionEvent) and event.redacts == mistake and event.reason == "a slip", event)
            answer = await bob.client.room_get_event(self.group, mistake)
            expect("body" not in answer.event.source["content"], f"the content is still there: {answer.event.source}")

        async def chatter() -> None:
            for number in range(BACKLOG):
                body = f"backlog {number}"
                await self.say(self.people[number % 3], self.group, body)
                self.backlog.append(body)
            for person in self.people:
                await person.until("the whole backlog", lambda person=person: len(person.bodies(self.group, "backlog ")) >= BACKLOG)
                expect(person.bodies(self.group, "backlog ") == self.backlog, "the backlog is out of order or doubled")

        await self.step("send in the direct room", send_direct)
        first = await self.step("send in the group room", send_group, essential=True)
        await self.step("edit", lambda: edit(first))
        await self.step("react", lambda: react(first))
        await self.step("redact", redact)
        await self.step(f"{BACKLOG} messages arrive in order", chatter)

    async def read_history(self) -> None:
        newcomer = Person(self.server, self.carol.client.user, device="second")

        async def read() -> None:
            await newcomer.log_in()
            sync = await newcomer.client.sync(sync_filter={"room": {"timeline": {"limit": 5}}})
            timeline = sync.rooms.join[self.group].timeline
            expect(timeline.limited and len(timeline.events) == 5, f"limited={timeline.limited}, {len(timeline.events)} events")
            events, start = list(reversed(timeline.events)), timeline.prev_batch
            while start:
                page = await newcomer.client.room_messages(self.group, start, limit=7, direction=MessageDirection.back)
                expect(hasattr(page, "chunk"), page)
                events += page.chunk
                start = page.end
            expect(isinstance(events[-1], RoomCreateEvent), f"the history ends with {events[-1]}")
            ids = [event.event_id for event in events]
            expect(len(ids) == len(set(ids)), "a page repeats an event of another")
            bodies = [body for event in reversed(events) if (body := event.source["content"].get("body", "")).startswith("backlog ")]
            expect(bodies == self.backlog, f"the history holds {len(bodies)} of {len(self.backlog)} messages, or in another order")
            live = {event.event_id for event in self.alice.timeline(self.group)}
            expect(live <= set(ids), f"missing in the history: {live - set(ids)}")

        try:
            await self.step("a new device reads back to the creation of the room", read)
        finally:
            await newcomer.close()

    async def notice_each_other(self) -> None:
        alice, bob = self.alice, self.bob

        async def typing() -> None:
            await bob.client.room_typing(self.group, True)
            await alice.until("bob typing", lambda: alice.typing.get(self.group) == [bob.id])
            await bob.client.room_typing(self.group, False)
            await alice.until("bob not typing", lambda: alice.typing.get(self.group) == [])

        async def receipt() -> None:
            event_id = await self.say(alice, self.group, "read this")
            await bob.until("the message", lambda: bob.saw(self.group, event_id))
            response = await bob.client.update_receipt_marker(self.group, event_id)
            expect(not hasattr(response, "status_code"), response)
            await alice.until("bob's receipt", lambda: (self.group, bob.id, event_id) in alice.receipts)

        async def presence() -> None:
            await alice.until("bob online", lambda: bob.id in alice.presence and alice.presence[bob.id].presence == "online")
            response = await bob.client.set_presence("unavailable", "out fishing")
            expect(not hasattr(response, "status_code"), response)
            await alice.until("bob away", lambda: alice.presence[bob.id].presence == "unavailable")
            expect(alice.presence[bob.id].status_msg == "out fishing", alice.presence[bob.id])
            await bob.client.set_presence("online")
            await alice.until("bob back", lambda: alice.presence[bob.id].presence == "online")

        async def display_name() -> None:
            response = await bob.client.set_displayname("Bob the keeper")
            expect(not hasattr(response, "status_code"), response)
            await alice.until("the new name", lambda: alice.client.rooms[self.group].user_name(bob.id) == "Bob the keeper")

        await self.step("typing starts and stops", typing)
        await self.step("read receipt", receipt)
        await self.step("presence with a status message", presence)
        await self.step("display name", display_name)

    async def survive_a_restart(self) -> None:
        alice, bob, carol = self.people
        expected = ([f"storm before {number}" for number in range(5)] + [f"storm during {number}" for number in range(5)]
                    + [f"storm after {number}" for number in range(5)])

        async def say_all(part: list[str]) -> None:
            for body in part:
                await self.say(bob, self.group, body)

        async def crash() -> None:
            await carol.stop()
            await say_all(expected[:5])
            restart = await asyncio.create_subprocess_shell(self.restart_command, stdin=asyncio.subprocess.DEVNULL)
            # nio retries a message whose connection broke, with the same transaction id.
            await say_all(expected[5:10])
            expect(await restart.wait() == 0, "the restart command failed")
            await say_all(expected[10:])

        async def arrive(person: Person) -> None:
            await person.until("all messages", lambda: len(person.bodies(self.group, "storm ")) >= len(expected))
            expect(person.bodies(self.group, "storm ") == expected, person.bodies(self.group, "storm "))

        async def resume() -> None:
            carol.start()  # from the token that she had before the crash
            await arrive(carol)

        async def nothing_twice() -> None:
            for person in self.people:
                expect(not person.duplicates(), f"{person.id} got {person.duplicates()} more than once")
                expect(not person.malformed, f"{person.id} got malformed events or syncs: {person.malformed[:3]}")

        if self.restart_command:
            await self.step("send before, during and after a crash of the server", crash, seconds=90)
            await self.step("who synced through the crash missed nothing", lambda: arrive(alice))
            await self.step("who came back with an old token missed nothing", resume)
        await self.step("no event was delivered twice, every sync was well-formed", nothing_twice)

    async def leave(self) -> None:
        async def log_out() -> None:
            token = self.bob.client.access_token
            await self.bob.stop()
            response = await self.bob.client.logout()
            expect(not hasattr(response, "status_code"), response)
            ghost = AsyncClient(self.server, self.bob.client.user)
            ghost.access_token = token
            try:
                answer = await ghost.whoami()
                expect(getattr(answer, "status_code", None) == "M_UNKNOWN_TOKEN", answer)
            finally:
                await ghost.close()

        await self.step("log out; the token is dead", log_out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--restart-cmd")
    parser.add_argument("--artifacts", type=Path, help="where nio's own log goes")
    args = parser.parse_args()
    if args.artifacts:
        logging.basicConfig(filename=args.artifacts / "nio.log", filemode="w", level=logging.INFO,
                            format="%(asctime)s %(levelname)s %(name)s %(message)s")
    return 1 if asyncio.run(Scenario(args.server.rstrip("/"), args.restart_cmd).run()) else 0


if __name__ == "__main__":
    sys.exit(main())
