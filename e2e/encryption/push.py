"""A phone that is told of encrypted messages from the other region, also after its push gateway was away."""

import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from devices import Device
from servers import Authority
from steps import Steps, expect
from talk import Person, meet

PUSHKEY = "a-phone"
AT_ONCE_SECONDS = 1.0
CAUGHT_UP_SECONDS = 90
MESSAGES = 10


class Gateway:
    """A push gateway: keeps what it is told. While it is away its port refuses."""

    def __init__(self, authority: Authority, port: int) -> None:
        self.authority, self.port = authority, port
        self.url = f"https://127.0.0.1:{port}/_matrix/push/v1/notify"
        self._news = threading.Condition()
        self.told: list[dict] = []
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with gateway._news:
                    gateway.told.append(body["notification"])
                    gateway._news.notify_all()
                answer = b'{"rejected": []}'
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_arguments) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority.leaf, self.authority.leaf_key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def events(self) -> list[str]:
        return [notification["event_id"] for notification in self.told if "event_id" in notification]

    def wait_for(self, events: set[str], seconds: float) -> None:
        with self._news:
            arrived = self._news.wait_for(lambda: events <= set(self.events()), seconds)
        expect(arrived, f"{len(events - set(self.events()))} of {len(events)} are missing after {seconds} s")


def run(steps: Steps, gateway: Gateway, alice: Person, bob: Person, away_seconds: float) -> Callable[[], None]:
    """`alice` has the phone; `bob` writes from the other region. The gateway goes away at the end, and comes back by
    itself: what is returned looks at what it was told then, and may be called when there is nothing else to do."""
    def arrive() -> str:
        for person in (alice, bob):
            person.arrive()
        gateway.start()
        alice.first.do("setPusher", url=gateway.url, pushkey=PUSHKEY)
        return meet(alice, bob)

    room = steps("push: an encrypted room of two regions, and a phone", arrive)
    if room is None:
        return lambda: None
    phone, writer = alice.first, bob.first
    steps(f"push: within {AT_ONCE_SECONDS:.0f} s of an encrypted message", lambda: at_once(gateway, phone, writer, room))
    away = steps("push: encrypted messages while the gateway is away", lambda: Away(gateway, writer, room, away_seconds))
    if away is None:
        return lambda: None
    title = f"push: a gateway that was away for {away_seconds:.0f} s misses nothing"
    return lambda: steps(title, away.is_over)


def at_once(gateway: Gateway, phone: Device, writer: Device, room: str) -> None:
    for number in range(MESSAGES):
        body = f"ring {number}"
        started = time.monotonic()
        event = writer.do("say", room=room, body=body)["event"]
        gateway.wait_for({event}, AT_ONCE_SECONDS - (time.monotonic() - started))
        told = next(notification for notification in gateway.told if notification.get("event_id") == event)
        expect(told["room_id"] == room and told["devices"][0]["pushkey"] == PUSHKEY, f"{told}")
        expect("content" not in told and body not in str(told), f"the gateway was told {told}")
        # What the phone does with it: fetches the event on a connection of its own, and shows the text.
        shown = phone.do("notification", room=room, event=event)
        expect(shown["body"] == body and shown["sender"] == writer.user, f"the phone shows {shown}")


class Away:
    """A gateway is not there for some time, in which things are said."""

    def __init__(self, gateway: Gateway, writer: Device, room: str, seconds: float) -> None:
        self.gateway, self.seconds = gateway, seconds
        gateway.stop()
        self.gone_at = time.monotonic()
        self.back = threading.Timer(seconds, self._come_back)
        self.back.daemon = True
        self.back_at: float | None = None
        self.back.start()
        self.said = {writer.do("say", room=room, body=f"while away {number}")["event"] for number in range(MESSAGES)}
        expect(self.back_at is None, "the gateway was back before everything was said")

    def _come_back(self) -> None:
        self.gateway.start()
        self.back_at = time.monotonic()

    def is_over(self) -> None:
        self.back.join()
        expect(self.back_at is not None and self.back_at - self.gone_at >= self.seconds, "the gateway is not back")
        self.gateway.wait_for(self.said, CAUGHT_UP_SECONDS)
        told = [event for event in self.gateway.events() if event in self.said]
        expect(len(told) == len(self.said), f"{len(told)} notifications for {len(self.said)} messages")
