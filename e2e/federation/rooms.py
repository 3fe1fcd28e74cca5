"""One room over three servers: everything that federates about it, for one room version and one creating server."""

import media
from person import Person, Refused
from servers import Server
from steps import Steps, expect


def run(steps: Steps, version: str, home: Server, others: list[Server]) -> None:
    label = f"v{version} {home.label}"
    owner = Person(home, "owner")
    guests = [Person(server, "guest") for server in others]
    first, second = guests
    room = steps(f"{label}: create", lambda: owner.create(
        room_version=version, preset="private_chat", name="Two regions", topic="one conversation"))
    if room is None:
        return

    def invite_and_join(guest: Person) -> None:
        owner.membership_call("invite", room, guest.id)
        state = guest.wait_for_invite(room)
        expect(any(event["type"] == "m.room.name" for event in state), "the invite says the room's name")
        guest.join(room)
        guest.wait_for_membership(room, guest.id, "join")
        owner.wait_for_membership(room, guest.id, "join")

    for guest in guests:
        if steps(f"{label}: invite {guest.server.label}, who joins", lambda guest=guest: invite_and_join(guest)) is None:
            return
    people = [owner, *guests]
    messages(steps, label, room, people)
    redaction(steps, label, room, owner, first, second)
    notices(steps, label, room, people)
    media.run(steps, label, people)
    to_device(steps, label, owner, first)
    to_device(steps, label, first, second)
    profile(steps, label, room, first, [owner, second])
    kick_ban(steps, label, room, owner, first, second)
    history(steps, label, room, owner, first)
    if int(version) >= 7:
        knocking(steps, label, version, home, others[0])
    if int(version) >= 8:
        restricted(steps, label, version, home, others[0])
    directory(steps, label, version, home, others[0])


def messages(steps: Steps, label: str, room: str, people: list[Person]) -> None:
    def everybody_hears(sender: Person) -> None:
        event_id = sender.send(room, f"hello from {sender.server.label}")
        for person in people:
            event = person.wait_for_event(room, event_id)
            expect(event["content"]["body"] == f"hello from {sender.server.label}", "the content arrives as it was sent")

    for sender in people:
        steps(f"{label}: a message of {sender.server.label} reaches all", lambda sender=sender: everybody_hears(sender))

    def in_order() -> None:
        sent = [people[number % 3].send(room, f"number {number}") for number in range(12)]
        for person in people:
            person.wait_for_event(room, sent[-1])
            for event_id in sent:
                person.wait_for_event(room, event_id)
        for sender in people:
            own = [event_id for number, event_id in enumerate(sent) if people[number % 3] is sender]
            for person in people:
                seen = [event["event_id"] for event in person.rooms[room]["timeline"] if event["event_id"] in own]
                expect(seen == own, f"{person} has the messages of {sender} once and in order")

    steps(f"{label}: twelve messages in turn, once and in order", in_order)

    def state() -> None:
        event_id = people[0].set_state(room, "m.room.topic", {"topic": "changed"})
        for person in people[1:]:
            person.wait_for_event(room, event_id)
            current = person.call("GET", f"v3/rooms/{room}/state/m.room.topic/")
            expect(current["topic"] == "changed", "the state is the same everywhere")

    steps(f"{label}: a state change reaches all", state)


def redaction(steps: Steps, label: str, room: str, owner: Person, first: Person, second: Person) -> None:
    def redact(actor: Person) -> None:
        secret = first.send(room, "a secret")
        second.wait_for_event(room, secret)
        actor.wait_for_event(room, secret)
        redaction_id = actor.redact(room, secret)
        for person in (owner, first, second):
            person.wait_for_event(room, redaction_id)
            event = person.call("GET", f"v3/rooms/{room}/event/{secret}")
            expect("body" not in event["content"], f"{person} reads a redacted event")

    steps(f"{label}: a sender redacts", lambda: redact(first))
    steps(f"{label}: an admin redacts", lambda: redact(owner))


def notices(steps: Steps, label: str, room: str, people: list[Person]) -> None:
    writer, reader = people[0], people[1]

    def typing(who: Person, who_sees: list[Person]) -> None:
        who.call("PUT", f"v3/rooms/{room}/typing/{who.id}", {"typing": True, "timeout": 30000})
        for person in who_sees:
            person.wait("typing", lambda me: any(
                who.id in content["user_ids"] for content in me.rooms[room]["ephemeral"].get("m.typing", [])), 15)
        who.call("PUT", f"v3/rooms/{room}/typing/{who.id}", {"typing": False})

    def receipt(who: Person, who_sees: list[Person]) -> None:
        event_id = writer.send(room, "read me")
        who.wait_for_event(room, event_id)
        who.call("POST", f"v3/rooms/{room}/receipt/m.read/{event_id}")
        for person in who_sees:
            person.wait("a receipt", lambda me: any(
                who.id in content.get(event_id, {}).get("m.read", {})
                for content in me.rooms[room]["ephemeral"].get("m.receipt", [])), 15)

    def presence(who: Person, who_sees: list[Person]) -> None:
        text = f"busy with {room}"
        who.call("PUT", f"v3/presence/{who.id}/status", {"presence": "online", "status_msg": text})
        for person in who_sees:
            person.wait("presence", lambda me: me.presence.get(who.id, {}).get("status_msg") == text, 40)

    for person in (writer, reader):
        rest = [other for other in people if other is not person]
        steps(f"{label}: typing of {person.server.label} shows", lambda p=person, r=rest: typing(p, r))
        steps(f"{label}: a receipt of {person.server.label} shows", lambda p=person, r=rest: receipt(p, r))
        steps(f"{label}: presence of {person.server.label} shows", lambda p=person, r=rest: presence(p, r))


def to_device(steps: Steps, label: str, sender: Person, receiver: Person) -> None:
    def send() -> None:
        content = {"words": f"for your eyes only, {receiver.id}"}
        path = f"v3/sendToDevice/org.example.note/{sender.name}{receiver.name}"
        for _repeated in range(2):
            sender.call("PUT", path, {"messages": {receiver.id: {"*": content}}})
        receiver.wait("a message to its device", lambda me: any(
            event["content"] == content and event["sender"] == sender.id for event in me.to_device))
        expect(len([event for event in receiver.to_device if event["content"] == content]) == 1, "it arrives once")

    steps(f"{label}: a message from device to device, {sender.server.label} to {receiver.server.label}", send)


def profile(steps: Steps, label: str, room: str, who: Person, others: list[Person]) -> None:
    def change() -> None:
        who.call("PUT", f"v3/profile/{who.id}/displayname", {"displayname": "A new name"})
        for person in others:
            person.wait("the new name", lambda me: me.rooms[room]["state"].get(
                ("m.room.member", who.id), {"content": {}})["content"].get("displayname") == "A new name")
            answer = person.call("GET", f"v3/profile/{who.id}")
            expect(answer.get("displayname") == "A new name", "the profile is asked of its server")

    steps(f"{label}: a profile changes", change)


def kick_ban(steps: Steps, label: str, room: str, owner: Person, first: Person, second: Person) -> None:
    def kick() -> None:
        owner.membership_call("kick", room, second.id)
        second.wait("the kick", lambda me: room in me.left)
        first.wait_for_membership(room, second.id, "leave")
        try:
            second.send(room, "still here?")
        except Refused as refused:
            expect(refused.status == 403, "who was kicked gets 403")
        else:
            raise AssertionError("who was kicked can send")

    def come_back() -> None:
        owner.membership_call("invite", room, second.id)
        second.wait_for_invite(room)
        second.join(room)
        for person in (owner, first, second):
            person.wait_for_membership(room, second.id, "join")
        event_id = second.send(room, "back again")
        owner.wait_for_event(room, event_id)
        first.wait_for_event(room, event_id)

    def ban() -> None:
        owner.membership_call("ban", room, second.id)
        second.wait("the ban", lambda me: room in me.left)
        first.wait_for_membership(room, second.id, "ban")
        try:
            second.join(room, [owner.server.name])
        except Refused as refused:
            expect(refused.status == 403, f"who is banned gets 403, not {refused}")
        else:
            raise AssertionError("who is banned can join")
        owner.membership_call("unban", room, second.id)
        first.wait_for_membership(room, second.id, "leave")

    def reject() -> None:
        owner.membership_call("invite", room, second.id)
        second.wait_for_invite(room)
        for person in (owner, first):
            person.wait_for_membership(room, second.id, "invite")
        second.membership_call("leave", room)
        for person in (owner, first):
            person.wait_for_membership(room, second.id, "leave")

    def leave() -> None:
        owner.membership_call("invite", room, second.id)
        second.wait_for_invite(room)
        second.join(room)
        for person in (owner, first):
            person.wait_for_membership(room, second.id, "join")
        second.membership_call("leave", room)
        for person in (owner, first):
            person.wait_for_membership(room, second.id, "leave")

    steps(f"{label}: kick", kick)
    steps(f"{label}: invited again, joins again", come_back)
    steps(f"{label}: ban and unban", ban)
    steps(f"{label}: an invite is rejected", reject)
    steps(f"{label}: leave", leave)


def history(steps: Steps, label: str, room: str, owner: Person, first: Person) -> None:
    def shared() -> None:
        mine = [event["event_id"] for event in owner.history(room)]
        theirs = [event["event_id"] for event in first.history(room)]
        missing = [event for event in owner.history(room) if event["event_id"] not in theirs]
        expect(not missing, f"{first} reads the whole history: of {len(mine)} events there are missing "
               f"{[(event['type'], event.get('state_key'), event['content']) for event in missing]}")
        expect(len(set(theirs)) == len(theirs), "no event is there twice")

    steps(f"{label}: history is read back across", shared)


def knocking(steps: Steps, label: str, version: str, home: Server, other: Server) -> None:
    owner, stranger = Person(home, "owner"), Person(other, "stranger")

    def knock() -> None:
        room = owner.create(room_version=version, preset="private_chat", name="Knock first", initial_state=[
            {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}])
        stranger.knock(room, [home.name])
        stranger.wait("the knock", lambda me: me.knocked.get(room))
        owner.wait_for_membership(room, stranger.id, "knock")
        owner.membership_call("invite", room, stranger.id)
        stranger.wait_for_invite(room)
        stranger.join(room)
        owner.wait_for_membership(room, stranger.id, "join")

    steps(f"{label}: knock, invite, join", knock)


def restricted(steps: Steps, label: str, version: str, home: Server, other: Server) -> None:
    owner, member = Person(home, "owner"), Person(other, "member")
    space = steps(f"{label}: a space", lambda: owner.create(
        room_version=version, preset="public_chat", name="A space", creation_content={"type": "m.space"}))
    if space is None:
        return

    def join() -> None:
        allow = [{"type": "m.room_membership", "room_id": space}]
        room = owner.create(room_version=version, preset="private_chat", name="Members only", initial_state=[
            {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "restricted", "allow": allow}}])
        owner.set_state(space, "m.space.child", {"via": [home.name]}, room)
        try:
            member.join(room, [home.name])
        except Refused as refused:
            expect(refused.status == 403, f"who is not in the space gets 403, not {refused}")
        else:
            raise AssertionError("who is not in the space can join")
        member.join(space, [home.name])
        hierarchy = member.call("GET", f"v1/rooms/{space}/hierarchy")
        expect(room in [child["room_id"] for child in hierarchy["rooms"]], f"the hierarchy shows the room: {hierarchy}")
        member.join(room, [home.name])
        owner.wait_for_membership(room, member.id, "join")
        event_id = member.send(room, "let in")
        owner.wait_for_event(room, event_id)

    steps(f"{label}: restricted join, and the hierarchy", join)


def directory(steps: Steps, label: str, version: str, home: Server, other: Server) -> None:
    owner, stranger = Person(home, "owner"), Person(other, "stranger")

    def public() -> None:
        alias = f"#town{owner.name}:{home.name}"
        room = owner.create(room_version=version, preset="public_chat", name=f"Town square {owner.name}", visibility="public",
                            room_alias_name=f"town{owner.name}")
        found = stranger.call("POST", f"v3/publicRooms?server={home.name}", {
            "limit": 100, "filter": {"generic_search_term": owner.name}})
        expect(room in [chunk["room_id"] for chunk in found["chunk"]], "the public list of the other server has the room")
        resolved = stranger.call("GET", f"v3/directory/room/{alias.replace('#', '%23')}")
        expect(resolved["room_id"] == room, "the alias is resolved across")
        expect(stranger.join(alias) == room, "the alias can be joined")
        owner.wait_for_membership(room, stranger.id, "join")
        event_id = owner.send(room, "welcome")
        stranger.wait_for_event(room, event_id)

    steps(f"{label}: public list, alias, join by alias", public)
