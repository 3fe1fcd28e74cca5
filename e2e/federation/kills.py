"""A server is killed again and again while others send to it: what it has answered it must have."""

import random
import threading

from person import Person
from servers import Server
from steps import Steps, expect

SEED = 7


def run(steps: Steps, victim: Server, sender: Server, kills: int) -> None:
    label = f"{victim.label} killed {kills} times"
    writers = [Person(sender, "writer") for _ in range(4)]
    reader = Person(victim, "reader")
    rooms: list[str] = []
    sent: dict[str, list[str]] = {}

    def gather() -> None:
        for writer in writers:
            room = writer.create(preset="public_chat")
            reader.join(room, [sender.name])
            rooms.append(room)
            sent[room] = []

    if steps(f"{label}: rooms of two servers", gather) is None:
        return
    over = threading.Event()

    def write(writer: Person, room: str) -> None:
        while not over.is_set():
            sent[room].append(writer.send(room, f"number {len(sent[room])}"))

    def kill_and_kill() -> None:
        chance = random.Random(SEED)
        threads = [threading.Thread(target=write, args=pair) for pair in zip(writers, rooms)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(kills):
                over.wait(chance.uniform(0.01, 0.25))
                victim.kill()
                victim.start()
        finally:
            over.set()
            for thread in threads:
                thread.join()

    steps(f"{label}: while four write", kill_and_kill)

    def complete() -> None:
        for room in rooms:
            last = sent[room][-1]
            reader.wait(f"the last message of {room}", lambda me, r=room, e=last: me.event(r, e), 60)
            told = [event["event_id"] for event in reversed(reader.history(room, 500)) if event["type"] == "m.room.message"]
            expect(told == sent[room], f"{room}: {len(sent[room])} messages were sent, the reader has {len(told)}, "
                   f"{len(set(told) & set(sent[room]))} of them once and the same")
        print(f"# {label}: {sum(map(len, sent.values()))} messages, all there, once and in order", flush=True)

    steps(f"{label}: all messages are there, once and in order", complete)
