"""Each server is away for a while, and hears everything that was said meanwhile."""

import time

from person import Person
from servers import Server
from steps import Steps, expect

ROOMS = 10
MESSAGES = 3


def run(steps: Steps, away: Server, there: list[Server]) -> None:
    label = f"{away.label} away"
    owner, other = Person(there[0], "stayer"), Person(there[1], "stayer")
    absent = Person(away, "absent")
    rooms: list[str] = []

    def gather() -> None:
        for number in range(ROOMS):
            room = owner.create(preset="public_chat", name=f"Room {number}", room_version=("6", "10", "11", "12")[number % 4])
            other.join(room, [owner.server.name])
            absent.join(room, [owner.server.name])
            rooms.append(room)
        for room in rooms:
            for person in (owner, other):
                person.wait_for_membership(room, absent.id, "join")

    if steps(f"{label}: ten rooms of three servers", gather) is None:
        return
    absent.sync(0)
    sent: dict[str, list[str]] = {room: [] for room in rooms}

    def talk() -> None:
        away.kill()
        for number in range(MESSAGES):
            for room in rooms:
                speaker = owner if number % 2 == 0 else other
                event_id = speaker.send(room, f"said while you were away: {number}")
                (other if speaker is owner else owner).wait_for_event(room, event_id)
                sent[room].append(event_id)

    steps(f"{label}: the others talk on", talk)

    def catch_up() -> None:
        away.start()
        started = time.monotonic()
        for room in rooms:
            # A word from there: who is back is heard of at once.
            for event_id in sent[room]:
                if absent.event(room, event_id) is None:
                    absent.wait(f"what was said in {room}", lambda me, e=event_id, r=room: me.event(r, e) or told(me, r, e), 120)
            seen = [event["event_id"] for event in reversed(absent.history(room)) if event["event_id"] in sent[room]]
            expect(seen == sent[room], f"{room}: {len(seen)} of {len(sent[room])} in order")
        print(f"# {label}: caught up {time.monotonic() - started:.1f} s after the start", flush=True)

    def told(me: Person, room: str, event_id: str) -> bool:
        """A limited timeline leaves out what history has."""
        return me.rooms.get(room, {}).get("limited") and any(event["event_id"] == event_id for event in me.history(room))

    steps(f"{label}: all of it arrives, in order", catch_up)

    def talk_back() -> None:
        for room in rooms:
            event_id = absent.send(room, "I am back")
            for person in (owner, other):
                person.wait_for_event(room, event_id)

    steps(f"{label}: and can answer", talk_back)
