"""Media over three servers: what one uploads the others download, whole and as a thumbnail, with its type and its name."""

import json
import os
import struct
import urllib.error
import urllib.request
import zlib

from person import Person, Refused, quote
from steps import Steps, expect


def request(person: Person, method: str, path: str, body: bytes | None = None, content_type: str | None = None):
    """The headers and the bytes of an answer."""
    asked = urllib.request.Request(f"{person.server.url}/_matrix/{path}", method=method, data=body)
    asked.add_header("Authorization", f"Bearer {person.token}")
    if content_type:
        asked.add_header("Content-Type", content_type)
    try:
        with urllib.request.urlopen(asked, timeout=60, context=person.context) as answer:
            return answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        try:
            said = json.loads(error.read())
        except ValueError:
            said = {}
        raise Refused(error.code, said, f"{method} {path}") from None


def upload(person: Person, content: bytes, content_type: str, name: str) -> str:
    """Returns `server/id`."""
    path = f"media/v3/upload?filename={quote(name)}"
    uri = json.loads(request(person, "POST", path, content, content_type)[1])["content_uri"]
    return uri.removeprefix("mxc://")


def png(width: int, height: int) -> bytes:
    """Left half red, right half blue."""
    line = b"\0" + b"\xff\0\0" * (width // 2) + b"\0\0\xff" * (width - width // 2)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(line * height)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)


def size_of(image: bytes) -> tuple[int, int]:
    expect(image.startswith(b"\x89PNG"), f"a PNG becomes a PNG, not {image[:8]!r}")
    return struct.unpack(">II", image[16:24])


def run(steps: Steps, label: str, people: list[Person]) -> None:
    def file(sender: Person, readers: list[Person]) -> None:
        content = os.urandom(300_000)
        where = upload(sender, content, "application/x-strange", "ünïcödé name.bin")
        for reader in readers:
            for _again in range(2):
                headers, found = request(reader, "GET", f"client/v1/media/download/{where}")
                expect(found == content, f"{reader} downloads what {sender} uploaded")
                expect(headers["Content-Type"] == "application/x-strange", f"with its type, not {headers['Content-Type']}")
                shown = headers["Content-Disposition"]
                expect(shown.startswith("attachment") and "%C3%BC" in shown.upper(), f"with its name: {shown}")

    def picture(sender: Person, readers: list[Person]) -> None:
        where = upload(sender, png(1000, 500), "image/png", "halves.png")
        for reader in readers:
            for query, size in [("width=320&height=240&method=scale", (320, 160)), ("width=32&height=32&method=crop", (32, 32))]:
                _headers, found = request(reader, "GET", f"client/v1/media/thumbnail/{where}?{query}")
                expect(size_of(found) == size, f"{reader} has a thumbnail of {size}, not {size_of(found)}")

    def nothing(sender: Person, readers: list[Person]) -> None:
        for reader in readers:
            try:
                request(reader, "GET", f"client/v1/media/download/{sender.server.name}/doesnotexist")
            except Refused as refused:
                expect(refused.status == 404, f"what does not exist is 404 for {reader}, not {refused}")
            else:
                raise AssertionError("what does not exist is downloaded")

    for sender in people:
        rest = [person for person in people if person is not sender]
        steps(f"{label}: a file of {sender.server.label} is downloaded by all", lambda s=sender, r=rest: file(s, r))
        steps(f"{label}: thumbnails of a picture of {sender.server.label}", lambda s=sender, r=rest: picture(s, r))
        steps(f"{label}: what {sender.server.label} does not have", lambda s=sender, r=rest: nothing(s, r))
