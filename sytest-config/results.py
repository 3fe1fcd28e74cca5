#!/usr/bin/env python3
"""Sorts a TAP file of SyTest into results.txt: results.py FILE > results.txt

One line for each test, `pass`, `fail` or `skip` behind its name, so that what changed shows in a
diff. What is not passed says why; a failure of which nothing is known says so."""

import re
import sys

# The first that matches a test's name holds. Absent features come before defects.
REASONS = [
    (r"revocation of guest_access over federation", "now and then: the test waits for news of a room that have come before it looks"),
    (r"unbound 3pid over federation with users from both", "now and then: the test waits for an event that has come before it looks, see README.md"),
    (r"update goes missing, the server resyncs", "now and then: the test waits for a change that has come before it looks, see README.md"),
    (r"msc2625", "MSC2625 was given up"),
    (r"gapped incremental sync is for senders", "the change of a member in the gap is told as well; fails on Synapse too"),
    (r"must not overwrite a valid key", "a key that its server no longer names is forgotten with the server's next document"),
    (r"events with an unknown room version", "the template says it is of version 1 and is not, so there is no event to send"),
    (r"Remote banned user is kicked", "who was banned may see the state of that moment, as who has left may"),
    (r"peek", "MSC2753 is a proposal that is not in the specification; fails on Synapse too"),
    (r"[Ee]phemeral messages", "MSC2228 is a proposal that is not in the specification; Synapse has it behind a setting"),
    (r"non-joined user can call /events", "the stream of a room that is looked into has its events only"),
    (r"messages (returns a message|lazy loads)", "there is nothing before a timeline that begins with the room"),
]
# Of abilities that no test of SyTest proves.
LACKS = {
    "can_invite_presence": "the lists of whose presence one follows are gone from the specification",
    "can_upload_media": "quarantining the media of a room is an endpoint of Synapse's own",
}


def reason(name):
    for pattern, text in REASONS:
        if re.search(pattern, name):
            return text
    return "not looked into"


def main():
    lines = []
    for line in open(sys.argv[1], encoding="utf-8", errors="replace"):
        match = re.match(r"(ok|not ok) \d+ (.*)", line.rstrip("\n"))
        if not match:
            continue
        good, text = match.groups()
        name, _, directive = text.partition(" # ")
        name = re.sub(r" \(\d+ subtests\)| \(expected fail\)", "", name).strip()
        skipped = directive.lower().startswith("skip")
        if good == "ok" and not skipped:
            lines.append(f"{name}: pass")
        elif skipped:
            lacks = re.sub(r"^skip\s*", "", directive, flags=re.I)
            lacks = re.sub(r" at tests/.*| - .*", "", lacks)
            lacks = LACKS.get(lacks.removeprefix("lack of "), lacks)
            lines.append(f"{name}: skip ({lacks})")
        else:
            lines.append(f"{name}: fail ({reason(name)})")
    print("\n".join(sorted(lines)))


main()
