"""Devices of real SDKs, told what to do line by line: a page of matrix-js-sdk, or a process of matrix-rust-sdk."""

import contextlib
import itertools
import json
import queue
import subprocess
import threading
import urllib.request
from pathlib import Path

from servers import Server

HERE = Path(__file__).resolve().parent
COMMAND_SECONDS = 60
PASSWORD = "correct horse battery staple"


def register(server: Server, name: str) -> None:
    body = {"username": name, "password": PASSWORD, "inhibit_login": True, "auth": {"type": "m.login.dummy"}}
    call(server, "POST", "v3/register", body)


def call(server: Server, method: str, path: str, body: dict | None = None, token: str = "") -> dict:
    request = urllib.request.Request(f"{server.url}/_matrix/client/{path}", method=method,
                                     data=None if body is None else json.dumps(body).encode())
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30, context=server.authority.context()) as answer:
        return json.load(answer)


class Host:
    """A process that takes commands as lines of JSON and answers each with one."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._answers: dict[int, queue.Queue] = {}
        self._ids = itertools.count(1)
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            answer = json.loads(line)
            waiting = self._answers.get(answer["id"])  # nobody waits for what came too late
            if waiting is not None:
                waiting.put(answer)
        for waiting in self._answers.values():
            waiting.put({"error": "the host of the device is gone"})

    def ask(self, device: str, line: dict) -> dict | None:
        number = next(self._ids)
        waiting = self._answers[number] = queue.Queue()
        self.process.stdin.write(json.dumps({"id": number, **line}) + "\n")
        self.process.stdin.flush()
        try:
            answer = waiting.get(timeout=COMMAND_SECONDS)
        except queue.Empty:
            raise AssertionError(f"{device}: no answer to {line['do']} within {COMMAND_SECONDS} s") from None
        finally:
            del self._answers[number]
        if "error" in answer:
            raise AssertionError(f"{device}: {line['do']}: {answer['error']}")
        return answer["ok"]

    def close(self) -> None:
        """Ends with its standard input, and so do its browser and its stores."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Device:
    """What a person holds in the hand. `sdk` says whose engine is inside."""

    sdk = ""
    _names = itertools.count(1)

    def __init__(self, server: Server, label: str) -> None:
        self.server, self.label = server, f"{label} ({self.sdk})"
        self.user = self.id = self.token = ""

    def __str__(self) -> str:
        return self.label

    def do(self, command: str, **parameters):
        raise NotImplementedError

    def log_in(self, name: str) -> None:
        self.authenticate(name)
        self.do("sync")

    def authenticate(self, name: str) -> None:
        answer = self.do("logIn", server=self.server.url, name=name)
        self.user, self.id, self.token = answer["user"], answer["device"], answer["token"]

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        """Asks the server with the device's token: for what it stores, beside what the SDK shows."""
        return call(self.server, method, path, body, self.token)


class JsDevice(Device):
    sdk = "js"
    host: Host | None = None

    def __init__(self, server: Server, label: str, artifacts: Path) -> None:
        super().__init__(server, label)
        self.page = f"{label}-{next(self._names)}"
        if JsDevice.host is None:
            command = ["node", str(HERE / "host.mjs"), str(artifacts / "encryption-js.log")]
            JsDevice.host = Host(command, artifacts / "encryption-js.stderr")

    def do(self, command: str, **parameters):
        return JsDevice.host.ask(self.label, {"device": self.page, "do": command, "with": parameters})

    def close(self) -> None:
        pass  # the page goes with the browser

    @classmethod
    def close_all(cls) -> None:
        if cls.host is not None:
            cls.host.close()
            cls.host = None


class RustDevice(Device):
    sdk = "rust"
    binary = HERE.parent / "target" / "debug" / "rust-sdk-device"
    _open: list["RustDevice"] = []

    def __init__(self, server: Server, label: str, artifacts: Path) -> None:
        super().__init__(server, label)
        # A store of its own: no two devices share keys.
        self.store = server.base / f"{label}-{next(self._names)}"
        self.log = artifacts / f"encryption-rust-{label}.log"
        self.log.unlink(missing_ok=True)
        self.open()

    def open(self) -> None:
        self.host = Host([str(self.binary), "--store", str(self.store), "--ca", str(self.server.authority.certificate)], self.log)
        RustDevice._open.append(self)

    def do(self, command: str, **parameters):
        return self.host.ask(self.label, {"do": command, "with": parameters})

    def resume(self) -> None:
        """After another `open`: the log-in of before, without a sync."""
        self.do("resume", server=self.server.url, user=self.user, device=self.id, token=self.token)

    def close(self) -> None:
        self.host.close()
        RustDevice._open.remove(self)

    @classmethod
    def close_all(cls) -> None:
        for device in list(cls._open):
            device.close()
