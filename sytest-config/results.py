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
    (r"rooms you've muted", "waits for a push of a text that looks like a mention: those rules were removed in version 1.17"),
    (r"Rejected events are not pushed|are correctly pushed|rejected pushers|Notifications can be viewed", "a listener that the test of muted rooms leaves behind takes its push"),
    (r"msc2625", "MSC2625 was given up"),
    (r"gapped incremental sync is for senders", "the change of a member in the gap is told as well"),
    (r"global push rule (for room|before|after)|(delete|disable) a push rule|New rules appear before", "SyTest names a room rule by an alias; it takes a room's id"),
    (r"remote user leaves room we no longer", "the test ends at the first answer that has device lists"),
    (r"on display name change", "the user directory is not built"),
    (r"redacts events from erased users", "events of erased users are not hidden yet"),
    (r"[Kk]ey notary", "a notary asks a server once in five minutes, whoever wants that"),
    (r"rejects invite response which include invalid JSON", "what another server answers is no fault of the client: 502"),
    (r"rejects invite rejections which include invalid JSON", "that the path has no event id is seen first"),
    (r"events with an unknown room version", "the template is refused, before there is an event"),
    (r"Banned servers cannot /invite", "an invite for a user who does not exist is refused"),
    (r"Banned servers cannot get missing events", "a body without what the specification requires is refused"),
    (r"Remote banned user is kicked", "who was banned may see the state of that moment, as who has left may"),
    (r"recaptcha", "recaptcha is not built"),
    (r"SSO|CAS|login/cas", "single sign-on is not built"),
    (r"user directory|User in|Users? (appear|stay)|User joining then leaving public room|User appears", "the user directory is not built"),
    (r"[Pp]usher|pushed|/notifications|pushes|msc2625", "pushing is not built"),
    (r"peek", "MSC2753 was given up"),
    (r"[Ee]phemeral messages", "MSC2228 was given up"),
    (r"erase", "events of erased users are not hidden yet"),
    (r"[Bb]ackup|[Kk]ey|device_list|device change|sign|device list|Device|devices|resync", "end-to-end keys are being built"),
    (r"whois", "whois is not built"),
    (r"URL preview|media|thumbnail|configuration endpoint|quarantine", "not built"),
    (r"Current state appears in timeline", "what a user may not see is in `state`, not in the timeline"),
    (r"non-joined user can call /events", "the stream of a room that is looked into has its events only"),
    (r"correct timeline in incremental sync", "a room's whole history is not a limited timeline"),
    (r"messages (returns a message|lazy loads)", "there is nothing before a timeline that begins with the room"),
]


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
            lines.append(f"{name}: skip ({lacks})")
        else:
            lines.append(f"{name}: fail ({reason(name)})")
    print("\n".join(sorted(lines)))


main()
