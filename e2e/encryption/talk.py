"""Two users of two regions with two devices each: cross-signed, verified, talking, and read back by a new device."""

import itertools
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from devices import Device, register
from servers import Server
from steps import Steps, expect

#: Makes a device of an SDK on a server.
Maker = Callable[[Server, str], Device]
_rounds = itertools.count(1)
#: matrix-js-sdk waits up to ten seconds before it hands a key to the backup.
BACKUP_SECONDS = 30


class Person:
    """A user with the devices that are logged in."""

    def __init__(self, server: Server, make: Maker, name: str) -> None:
        self.server, self.make, self.name = server, make, name
        self.account = f"{name}-{secrets.token_hex(4)}"
        self.devices: list[Device] = []
        self.recovery_key = ""

    def arrive(self) -> None:
        """Registers, and sets up encryption on the first device."""
        register(self.server, self.account)
        self.recovery_key = self.another().do("setUpEncryption")["recoveryKey"]

    def another(self) -> Device:
        device = self.make(self.server, f"{self.name}-{len(self.devices) + 1}")
        device.log_in(self.account)
        self.devices.append(device)
        return device

    @property
    def first(self) -> Device:
        return self.devices[0]

    @property
    def id(self) -> str:
        return self.first.user

    @property
    def device_ids(self) -> list[str]:
        return [device.id for device in self.devices]


def run(steps: Steps, label: str, alice: Person, bob: Person) -> None:
    people = (alice, bob)
    for person in people:
        if steps(f"{label}: {person.name} sets up cross-signing, secret storage and a backup", person.arrive) is None:
            return
    for person in people:
        steps(f"{label}: {person.name} verifies a second device by emojis", lambda person=person: second_device(person))
    if any(len(person.devices) < 2 for person in people):
        return
    room = steps(f"{label}: an encrypted room across the regions", lambda: meet(alice, bob))
    if room is None:
        return
    said: dict[str, str] = {}
    steps(f"{label}: messages both ways before anybody is verified", lambda: talk(people, room, said, warned=None))
    steps(f"{label}: the two users verify each other by emojis", lambda: verify_each_other(alice, bob, room))
    for of, by in ((alice, bob), (bob, alice)):
        steps(f"{label}: every device of {by.name} trusts every device of {of.name}", lambda of=of, by=by: trusted(of, by))
    steps(f"{label}: messages both ways between the verified, without a warning", lambda: talk(people, room, said, warned=False))
    steps(f"{label}: the servers have the ciphertext only", lambda: hidden(alice, room, said))
    for person in people:
        steps(f"{label}: a new device of {person.name} restores the history from the backup",
              lambda person=person: restore(person, room, said))
    steps(f"{label}: the new devices hear what is said from now on, and are trusted", lambda: newcomers(people, room, said))
    steps(f"{label}: who logs out does not get the next keys", lambda: farewell(alice, bob, room, said))


def compare_emojis(one: Device, other: Device) -> None:
    """From the request that was accepted to the end: what the two people see must be the same."""
    one.do("startSas")
    with ThreadPoolExecutor(2) as both:
        # The other side accepts as it looks.
        here, there = both.map(lambda device: device.do("emojis")["emojis"], (one, other))
        expect(len(here) == 7 and here == there, f"{here} here and {there} there")
        one.do("confirm")
        # An SDK that has said yes says that it is done as soon as the other's mac comes, even while its own mac is still under
        # way; where the server takes the two in that order, the other side waits for ever. So the mac is there first.
        other.do("untilMac")
        other.do("confirm")
        list(both.map(lambda device: device.do("untilVerified"), (one, other)))


def second_device(person: Person) -> None:
    second = person.another()
    person.first.do("untilKnows", user=person.id, device=second.id)
    flow = second.do("askToVerify", user=person.id)["flow"]
    person.first.do("answerVerification", user=person.id, flow=flow)
    compare_emojis(second, person.first)
    for device in person.devices:
        device.do("untilTrusts", user=person.id, devices=person.device_ids)


def meet(alice: Person, bob: Person) -> str:
    room = alice.first.do("createRoom", name=f"Cipher {next(_rounds)}", invite=bob.id)["room"]
    bob.first.do("join", room=room)
    for device in (*alice.devices, *bob.devices):
        device.do("untilJoined", room=room, members=2)
    return room


def talk(people: tuple[Person, Person], room: str, said: dict[str, str], warned: bool | None) -> None:
    """Each device says something; all the others hear it, of the right sender."""
    everybody = [device for person in people for device in person.devices]
    for device in everybody:
        body = f"{len(said)}: {secrets.token_hex(8)} from {device.id}"
        event = device.do("say", room=room, body=body)["event"]
        said[event] = body
        for listener in everybody:
            heard = listener.do("hear", room=room, event=event)
            expect(heard["body"] == body and heard["sender"] == device.user, f"{listener} heard {heard} of {device}")
            if warned is not None:
                expect(bool(heard["warning"]) == warned, f"{listener} is warned of {device}: {heard['warning']}")


def verify_each_other(alice: Person, bob: Person, room: str) -> None:
    flow = alice.first.do("askToVerify", user=bob.id, room=room)["flow"]
    bob.first.do("answerVerification", user=alice.id, flow=flow)
    compare_emojis(alice.first, bob.first)


def trusted(of: Person, by: Person) -> None:
    for device in by.devices:
        device.do("untilTrusts", user=of.id, devices=of.device_ids)


def hidden(person: Person, room: str, said: dict[str, str]) -> None:
    for event_id, body in said.items():
        event = person.first.call("GET", f"v3/rooms/{room}/event/{event_id}")
        expect(event["type"] == "m.room.encrypted" and event["content"]["algorithm"] == "m.megolm.v1.aes-sha2", str(event))
        expect(body.split()[1] not in str(event), f"the server knows the text of {event_id}")


def backed_up(person: Person, room: str, said: dict[str, str]) -> None:
    """Waits until the server has the key of each message: devices hand theirs in after a while."""
    ask = person.first.call
    used = {ask("GET", f"v3/rooms/{room}/event/{event}")["content"]["session_id"] for event in said}
    version = ask("GET", "v3/room_keys/version")["version"]
    deadline = time.monotonic() + BACKUP_SECONDS
    while missing := used - ask("GET", f"v3/room_keys/keys?version={version}")["rooms"].get(room, {"sessions": {}})["sessions"].keys():
        expect(time.monotonic() < deadline, f"{len(missing)} of {len(used)} keys are not in the backup of {person.name}")
        time.sleep(0.1)


def restore(person: Person, room: str, said: dict[str, str]) -> None:
    backed_up(person, room, said)
    # From nothing but the password and the recovery key: no other device has to be awake.
    newcomer = person.another()
    newcomer.do("recover", recoveryKey=person.recovery_key)
    read = {message["event"]: message["body"] for message in newcomer.do("readBack", room=room)["messages"]}
    lost = {event: body for event, body in said.items() if read.get(event) != body}
    expect(not lost, f"{len(lost)} of {len(said)} are not readable: {lost}")


def newcomers(people: tuple[Person, Person], room: str, said: dict[str, str]) -> None:
    for of, by in (people, people[::-1]):
        trusted(of, by)
    talk(people, room, said, warned=False)


def farewell(alice: Person, bob: Person, room: str, said: dict[str, str]) -> None:
    leaver = alice.devices.pop()
    leaver.do("logOut")
    leaver.close()
    talk((alice, bob), room, said, warned=False)
    answer = bob.first.call("POST", "v3/keys/query", {"device_keys": {alice.id: []}})
    expect(leaver.id not in answer["device_keys"][alice.id], "the server still lists the device that logged out")
