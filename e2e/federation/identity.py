"""Keys of a test's devices and users: real Ed25519 signatures over canonical JSON, made with openssl."""

import base64
import copy
import json
import os
import subprocess
import tempfile
from pathlib import Path

from person import Person, Refused

ALGORITHMS = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]


def unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def canonical(value: dict) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


class Key:
    """An Ed25519 key pair."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="meridian-key-")
        self._private = Path(self._directory.name) / "key.pem"
        self._openssl("genpkey", "-algorithm", "ed25519", "-out", str(self._private))
        # The key is the end of its DER encoding.
        self.public = unpadded(self._openssl("pkey", "-in", str(self._private), "-pubout", "-outform", "DER")[-32:])

    @staticmethod
    def _openssl(*arguments: str) -> bytes:
        return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout

    def sign(self, value: dict) -> str:
        message = Path(self._directory.name) / "message"
        message.write_bytes(canonical({key: part for key, part in value.items() if key not in ("signatures", "unsigned")}))
        return unpadded(self._openssl("pkeyutl", "-sign", "-rawin", "-inkey", str(self._private), "-in", str(message)))

    def signed(self, value: dict, user: str, key_id: str) -> dict:
        """The object with one more signature."""
        value = copy.deepcopy(value)
        value.setdefault("signatures", {}).setdefault(user, {})[f"ed25519:{key_id}"] = self.sign(value)
        return value


class Device:
    """A device that has uploaded its keys. `who` acts with its access token."""

    def __init__(self, who: Person, one_time_keys: int = 2) -> None:
        self.who, self.id, self.key = who, who.call("GET", "v3/account/whoami")["device_id"], Key()
        self.keys = self.key.signed({
            "user_id": who.id, "device_id": self.id, "algorithms": ALGORITHMS,
            "keys": {f"ed25519:{self.id}": self.key.public, f"curve25519:{self.id}": unpadded(os.urandom(32))},
        }, who.id, self.id)
        self.one_time = dict(self._curve_key(f"one{number}") for number in range(one_time_keys))
        self.fallback = dict([self._curve_key("fall", fallback=True)])
        who.call("POST", "v3/keys/upload", {"device_keys": self.keys, "one_time_keys": self.one_time, "fallback_keys": self.fallback})

    def _curve_key(self, name: str, **more) -> tuple[str, dict]:
        key = self.key.signed({"key": unpadded(os.urandom(32)), **more}, self.who.id, self.id)
        return f"signed_curve25519:{name}", key

    @classmethod
    def another_of(cls, person: Person, password: str = "correct horse battery") -> "Device":
        """A further login of the same user."""
        who = copy.copy(person)
        answer = person.call("POST", "v3/login", {"type": "m.login.password", "password": password,
                                                  "identifier": {"type": "m.id.user", "user": person.id}})
        who.token, who.since = answer["access_token"], None
        return cls(who)


class CrossSigning:
    """A user's cross-signing keys, which are uploaded, and the signature of a device by them."""

    def __init__(self, device: Device, password: str = "correct horse battery") -> None:
        self.device, self.master, self.self_signing = device, Key(), Key()
        user = device.who.id
        self.keys = {
            "master_key": device.key.signed(self._key("master", self.master), user, device.id),
            "self_signing_key": self._subkey("self_signing", self.self_signing),
            "user_signing_key": self._subkey("user_signing", Key()),
        }
        self._upload(password)
        signed = self.self_signing.signed(device.keys, user, self.self_signing.public)
        answer = device.who.call("POST", "v3/keys/signatures/upload", {user: {device.id: signed}})
        if answer.get("failures"):
            raise AssertionError(f"a good signature is refused: {answer['failures']}")

    def _key(self, usage: str, key: Key) -> dict:
        return {"user_id": self.device.who.id, "usage": [usage], "keys": {f"ed25519:{key.public}": key.public}}

    def _subkey(self, usage: str, key: Key) -> dict:
        return self.master.signed(self._key(usage, key), self.device.who.id, self.master.public)

    def _upload(self, password: str) -> None:
        who, path = self.device.who, "v3/keys/device_signing/upload"
        try:
            who.call("POST", path, self.keys)
        except Refused as refused:
            if refused.status != 401:
                raise
            auth = {"type": "m.login.password", "password": password, "session": refused.body["session"],
                    "identifier": {"type": "m.id.user", "user": who.id}}
            who.call("POST", path, {**self.keys, "auth": auth})
