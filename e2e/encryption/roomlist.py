"""The room list of Element X for a user with many rooms: windows, order, an old position, an expired one."""

import itertools
import secrets
from concurrent.futures import ThreadPoolExecutor

from devices import PASSWORD, RustDevice, call, register
from servers import Server
from steps import Steps, expect

ROOMS = 500
#: Of the SDK's list: the first window, and by how much it grows.
FIRST, GROWTH = 20, 100
CONNECTION = "room-list"
SLIDING_SYNC = "unstable/org.matrix.simplified_msc3575/sync"


class Owner:
    """The same user on the plain API, who makes the rooms and talks in them."""

    _transactions = itertools.count(1)

    def __init__(self, server: Server) -> None:
        self.server, self.name = server, f"owner-{secrets.token_hex(4)}"
        register(server, self.name)
        login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": self.name}, "password": PASSWORD}
        self.token = self.call("POST", "v3/login", login)["access_token"]
        self.rooms: list[str] = []

    def call(self, method: str, path: str, body: dict) -> dict:
        return call(self.server, method, path, body, getattr(self, "token", ""))

    def make_rooms(self) -> None:
        def make(number: int) -> str:
            return self.call("POST", "v3/createRoom", {"name": f"Room {number}", "preset": "private_chat"})["room_id"]

        with ThreadPoolExecutor(8) as workers:
            self.rooms = list(workers.map(make, range(ROOMS)))

    def say(self, room: str) -> None:
        self.call("PUT", f"v3/rooms/{room}/send/m.room.message/{next(self._transactions)}", {"msgtype": "m.text", "body": "news"})


def run(steps: Steps, server: Server, make) -> None:
    owner = Owner(server)
    if steps(f"room list: {ROOMS} rooms", owner.make_rooms) is None:
        return
    device: RustDevice = make(server, "owner")
    steps("room list: the newest rooms come with the first request, the others as the window grows", lambda: grow(owner, device))
    steps("room list: a room jumps to the top as a message arrives", lambda: jump(owner, device))
    steps("room list: an old position brings what changed since, and no more", lambda: reconnect(owner, device))
    steps("room list: a position that expired begins again", lambda: expire(owner, device))


def grow(owner: Owner, device: RustDevice) -> None:
    # What was said last is what comes first.
    newest = owner.rooms[100:100 + FIRST]
    for room in newest:
        owner.say(room)
    device.authenticate(owner.name)
    walk = device.do("walkRoomList")
    first, *others = walk["requests"]
    expect(walk["knownBefore"] == 0, f"{walk['knownBefore']} rooms were known before")
    expect(first["state"] == "settingUp" and first["count"] == ROOMS, f"the first answer: {first}")
    expect(sorted(first["rooms"]) == sorted(newest), f"the first window has {len(set(first['rooms']) & set(newest))} of the newest")
    # Each window shows what the ones before did not.
    windows = [len(answer["rooms"]) for answer in others]
    expect(windows[:5] == [GROWTH - FIRST] + [GROWTH] * 4, f"the windows brought {windows}")
    expect(all(answer["error"] is None for answer in walk["requests"]), f"{walk['requests']}")
    expect(others[-1]["known"] == ROOMS, f"{others[-1]['known']} rooms are known in the end")


def jump(owner: Owner, device: RustDevice) -> None:
    device.do("sync")
    for room in (owner.rooms[0], owner.rooms[ROOMS // 2], owner.rooms[-1]):
        owner.say(room)
        device.do("untilTop", room=room)


def reconnect(owner: Owner, device: RustDevice) -> None:
    device.close()
    changed = [owner.rooms[7], owner.rooms[77], owner.rooms[477]]
    for room in changed:
        owner.say(room)
    device.open()
    device.resume()
    walk = device.do("walkRoomList")
    expect(walk["knownBefore"] == ROOMS, f"the store knows {walk['knownBefore']} rooms")
    expect(sorted(walk["requests"][0]["rooms"]) == sorted(changed), f"the first answer has {walk['requests'][0]['rooms']}")
    again = [answer["rooms"] for answer in walk["requests"][1:]]
    expect(not any(again), f"rooms without news came again: {[len(rooms) for rooms in again]}")
    device.do("sync")
    device.do("untilTop", room=changed[-1])


def expire(owner: Owner, device: RustDevice) -> None:
    device.close()
    # A new start of the connection is the end of the old one.
    window = {"ranges": [[0, 0]], "timeline_limit": 1, "required_state": []}
    device.call("POST", SLIDING_SYNC, {"conn_id": CONNECTION, "lists": {"all_rooms": window}})
    owner.say(owner.rooms[33])
    device.open()
    device.resume()
    walk = device.do("walkRoomList")
    refused, first = walk["requests"][:2]
    expect("M_UNKNOWN_POS" in (refused["error"] or ""), f"the old position is answered with {refused}")
    expect(first["error"] is None and len(first["rooms"]) == FIRST, f"the new beginning brings {first}")
    brought = {room for answer in walk["requests"] for room in answer["rooms"]}
    expect(brought == set(owner.rooms), f"{len(brought)} rooms came")
    device.do("sync")
    device.do("untilTop", room=owner.rooms[33])
    owner.say(owner.rooms[34])
    device.do("untilTop", room=owner.rooms[34])
