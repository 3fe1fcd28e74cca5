"""A user of one of the servers, on the plain client-server API: what a test needs of a client, and nothing that hides a fault."""

import itertools
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from servers import Server

REQUEST_SECONDS = 60
FILTER = '{"room":{"timeline":{"limit":100}}}'


class Refused(Exception):
    def __init__(self, status: int, body: dict, what: str) -> None:
        super().__init__(f"{what}: {status} {body}")
        self.status, self.errcode, self.body = status, body.get("errcode"), body


def quote(part: str) -> str:
    return urllib.parse.quote(part, safe="")


class Person:
    _numbers = itertools.count(1)

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, f"{name}{next(self._numbers)}"
        self.context = server.authority.context()
        self.since: str | None = None
        #: Everything sync has told of a room: timeline in the order of arrival, newest state, ephemeral content.
        self.rooms: dict[str, dict] = {}
        self.invited: dict[str, list] = {}
        self.knocked: dict[str, list] = {}
        self.left: set[str] = set()
        self.presence: dict[str, dict] = {}
        self.to_device: list[dict] = []
        self.device_changed: set[str] = set()
        self.device_left: set[str] = set()
        self.token: str | None = None
        answer = self.call("POST", "v3/register", {"username": self.name, "password": "correct horse battery",
                                                   "auth": {"type": "m.login.dummy"}})
        self.token, self.id = answer["access_token"], answer["user_id"]

    def __str__(self) -> str:
        return f"{self.id} on {self.server.label}"

    def call(self, method: str, path: str, body: dict | None = None, seconds: float = REQUEST_SECONDS) -> dict:
        if body is None and method in ("POST", "PUT"):
            body = {}
        request = urllib.request.Request(f"{self.server.url}/_matrix/client/{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=seconds, context=self.context) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raw = error.read()
            try:
                parsed = json.loads(raw)
            except ValueError:
                parsed = {"raw": raw[:200].decode(errors="replace")}
            raise Refused(error.code, parsed, f"{method} {path}") from None

    # --- what sync tells ---

    def sync(self, timeout_ms: int) -> None:
        query = f"timeout={timeout_ms}&filter={quote(FILTER)}" + (f"&since={quote(self.since)}" if self.since else "")
        news = self.call("GET", f"v3/sync?{query}", seconds=REQUEST_SECONDS + timeout_ms / 1000)
        self.since = news["next_batch"]
        rooms = news.get("rooms", {})
        for room_id, told in rooms.get("join", {}).items():
            self._note(room_id, told)
            self.left.discard(room_id)
        for room_id, told in rooms.get("leave", {}).items():
            self._note(room_id, told)
            self.left.add(room_id)
            self.invited.pop(room_id, None)
        for room_id, told in rooms.get("invite", {}).items():
            self.invited[room_id] = told["invite_state"]["events"]
            self.left.discard(room_id)
        for room_id, told in rooms.get("knock", {}).items():
            self.knocked[room_id] = told["knock_state"]["events"]
        for event in news.get("presence", {}).get("events", []):
            self.presence[event["sender"]] = event["content"]
        self.to_device += news.get("to_device", {}).get("events", [])
        self.device_changed |= set(news.get("device_lists", {}).get("changed", []))
        self.device_left |= set(news.get("device_lists", {}).get("left", []))

    def _note(self, room_id: str, told: dict) -> None:
        room = self.rooms.setdefault(room_id, {"timeline": [], "state": {}, "ephemeral": {}, "limited": False})
        timeline = told.get("timeline", {})
        room["limited"] |= timeline.get("limited", False)
        for event in told.get("state", {}).get("events", []):
            room["state"][event["type"], event["state_key"]] = event
        for event in timeline.get("events", []):
            room["timeline"].append(event)
            if "state_key" in event:
                room["state"][event["type"], event["state_key"]] = event
        for event in told.get("ephemeral", {}).get("events", []):
            room["ephemeral"].setdefault(event["type"], []).append(event["content"])

    def wait(self, what: str, holds: Callable[["Person"], object], seconds: float = 30):
        """Syncs until it holds; returns what the condition returned."""
        deadline = time.monotonic() + seconds
        while not (found := holds(self)):
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"{self} did not see {what} within {seconds:.0f} s")
            self.sync(int(min(left, 5) * 1000))
        return found

    def event(self, room_id: str, event_id: str) -> dict | None:
        room = self.rooms.get(room_id, {"timeline": []})
        return next((event for event in room["timeline"] if event["event_id"] == event_id), None)

    def wait_for_event(self, room_id: str, event_id: str, seconds: float = 30) -> dict:
        return self.wait(f"event {event_id} in {room_id}", lambda me: me.event(room_id, event_id), seconds)

    def membership(self, room_id: str, user_id: str) -> str | None:
        event = self.rooms.get(room_id, {"state": {}})["state"].get(("m.room.member", user_id))
        return event and event["content"].get("membership")

    def wait_for_membership(self, room_id: str, user_id: str, membership: str, seconds: float = 30) -> None:
        self.wait(f"{user_id} with membership {membership}", lambda me: me.membership(room_id, user_id) == membership, seconds)

    def wait_for_invite(self, room_id: str, seconds: float = 30) -> list:
        return self.wait(f"an invite to {room_id}", lambda me: me.invited.get(room_id), seconds)

    # --- what a person does ---

    def create(self, **request) -> str:
        return self.call("POST", "v3/createRoom", request)["room_id"]

    def join(self, room: str, via: list[str] = ()) -> str:
        query = "&".join(f"via={quote(server)}&server_name={quote(server)}" for server in via)
        return self.call("POST", f"v3/join/{quote(room)}?{query}")["room_id"]

    def knock(self, room: str, via: list[str]) -> str:
        query = "&".join(f"via={quote(server)}&server_name={quote(server)}" for server in via)
        return self.call("POST", f"v3/knock/{quote(room)}?{query}")["room_id"]

    def membership_call(self, verb: str, room_id: str, user_id: str | None = None) -> None:
        self.call("POST", f"v3/rooms/{quote(room_id)}/{verb}", {} if user_id is None else {"user_id": user_id})

    def send(self, room_id: str, content: dict | str, event_type: str = "m.room.message") -> str:
        if isinstance(content, str):
            content = {"msgtype": "m.text", "body": content}
        path = f"v3/rooms/{quote(room_id)}/send/{quote(event_type)}/{next(self._numbers)}"
        return self.call("PUT", path, content)["event_id"]

    def set_state(self, room_id: str, event_type: str, content: dict, state_key: str = "") -> str:
        path = f"v3/rooms/{quote(room_id)}/state/{quote(event_type)}/{quote(state_key)}"
        return self.call("PUT", path, content)["event_id"]

    def redact(self, room_id: str, event_id: str) -> str:
        path = f"v3/rooms/{quote(room_id)}/redact/{quote(event_id)}/{next(self._numbers)}"
        return self.call("PUT", path, {"reason": "a test"})["event_id"]

    def history(self, room_id: str, pages: int = 100) -> list[dict]:
        """Everything that can be read backwards, newest first."""
        events, token = [], ""
        for _page in range(pages):
            page = self.call("GET", f"v3/rooms/{quote(room_id)}/messages?dir=b&limit=50" + (f"&from={quote(token)}" if token else ""))
            events += page["chunk"]
            token = page.get("end", "")
            if not token or (not page["chunk"] and events and events[-1]["type"] == "m.room.create"):
                return events
        raise AssertionError(f"{pages} pages of history and no end")
