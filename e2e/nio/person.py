"""One user of matrix-nio: a client that syncs in the background and a record of what it was told."""

import asyncio
from collections import Counter
from collections.abc import Callable

from nio import (AsyncClient, AsyncClientConfig, BadEvent, Event, PresenceEvent, ReceiptEvent, SyncError, TypingNoticeEvent,
                 UnknownBadEvent)

from steps import expect

# The first retry of nio is immediate; after that it must not wait longer than a restart takes.
CONFIG = AsyncClientConfig(backoff_factor=0.1, max_timeout_retry_wait_time=1, request_timeout=30)
# A whole outage must fit in one sync: nio does not fill gaps by itself.
SYNC_FILTER = {"room": {"timeline": {"limit": 100}}}
PASSWORD = "correct horse battery staple"


class Person:
    def __init__(self, server: str, name: str, device: str = "e2e") -> None:
        self.client = AsyncClient(server, name, config=CONFIG)
        self.device = device
        self.timelines: dict[str, list[Event]] = {}
        self.typing: dict[str, list[str]] = {}
        self.receipts: list[tuple[str, str, str]] = []
        self.presence: dict[str, PresenceEvent] = {}
        self.malformed: list[str] = []
        self._changed = asyncio.Event()
        self._syncing: asyncio.Task | None = None
        self._listen()

    @property
    def id(self) -> str:
        return self.client.user_id

    def _listen(self) -> None:
        def told(record: Callable) -> Callable:
            async def callback(*arguments) -> None:
                record(*arguments)
                self._changed.set()
            return callback

        client = self.client
        client.add_event_callback(told(lambda room, event: self.timelines.setdefault(room.room_id, []).append(event)), Event)
        client.add_ephemeral_callback(told(lambda room, event: self.typing.__setitem__(room.room_id, event.users)),
                                      TypingNoticeEvent)
        client.add_ephemeral_callback(told(lambda room, event: self.receipts.extend(
            (room.room_id, receipt.user_id, receipt.event_id) for receipt in event.receipts)), ReceiptEvent)
        client.add_presence_callback(told(lambda event: self.presence.__setitem__(event.user_id, event)), PresenceEvent)
        client.add_event_callback(told(lambda room, event: self.malformed.append(f"bad event: {event.source}")),
                                  (BadEvent, UnknownBadEvent))
        # A sync that nio can't parse is a finding even when the next one is fine.
        client.add_response_callback(told(lambda response: self.malformed.append(str(response))), SyncError)
        # Invites and summaries have no event of their own: look again after each sync.
        client.add_response_callback(told(lambda response: None))

    async def log_in(self) -> None:
        response = await self.client.login(PASSWORD, device_name=self.device)
        expect(self.client.access_token, response)

    def start(self) -> None:
        self._syncing = asyncio.create_task(self.client.sync_forever(timeout=20_000, sync_filter=SYNC_FILTER))

    async def stop(self) -> None:
        """Stops in the middle of a sync, as an application that is closed does."""
        if self._syncing:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
            self._syncing = None

    async def close(self) -> None:
        await self.stop()
        await self.client.close()

    async def until(self, what: str, holds: Callable[[], object]):
        """Waits for the fact, however many syncs it takes; the step bounds the time."""
        try:
            while not (value := holds()):
                if self._syncing and self._syncing.done():
                    raise AssertionError(f"the sync loop ended: {self._syncing.exception()}")
                self._changed.clear()
                await self._changed.wait()
            return value
        except asyncio.CancelledError as cancelled:
            detail = f"; malformed: {self.malformed[:3]}" if self.malformed else ""
            raise TimeoutError(f"{self.client.user} never saw {what}{detail}") from cancelled

    def timeline(self, room_id: str) -> list[Event]:
        return self.timelines.get(room_id, [])

    def saw(self, room_id: str, event_id: str) -> Event | None:
        return next((event for event in self.timeline(room_id) if event.event_id == event_id), None)

    def bodies(self, room_id: str, prefix: str) -> list[str]:
        texts = (event.source.get("content", {}).get("body", "") for event in self.timeline(room_id))
        return [text for text in texts if text.startswith(prefix)]

    def duplicates(self) -> list[str]:
        counts = Counter(event.event_id for events in self.timelines.values() for event in events)
        return [event_id for event_id, count in counts.items() if count > 1]
