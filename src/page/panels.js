// What stands around the timeline: room list, invitations, people, presence, typing, the connection, notices.

import { avatar, byId, el, reconcile } from "./dom.js";

const TOAST_MS = 8_000;

export class SidePanels {
  #rooms;
  #actions;
  #toastTimer;

  /** `actions`: `open(roomId)`, `join(roomId)`, `decline(roomId)`. */
  constructor(rooms, actions) {
    this.#rooms = rooms;
    this.#actions = actions;
    byId("toast-close").onclick = () => (byId("toast").hidden = true);
  }

  drawSelf(userId) {
    const name = userId.slice(1).split(":")[0];
    const picture = avatar(userId, name);
    picture.id = "own-avatar";
    byId("own-avatar").replaceWith(picture);
    byId("own-name").textContent = name;
    byId("own-id").textContent = userId;
  }

  drawConnection({ state, transport }) {
    const line = byId("connection");
    line.textContent = state;
    line.dataset.state = state;
    line.dataset.transport = transport;
    const over = { websocket: "Over the WebSocket", http: "Over HTTP long-polling", none: "Not connected" };
    byId("connection-chip").title = over[transport];
  }

  drawRooms(openId, synced) {
    const invites = this.#rooms.invites().map((room) => this.#inviteView(room));
    byId("invites").hidden = invites.length === 0;
    reconcile(byId("invite-list"), invites, (view) => view.id, (view) => this.#inviteRow(view));
    const rooms = this.#rooms.joined().map((room) => this.#roomView(room, room.id === openId));
    byId("no-rooms").hidden = rooms.length > 0 || !synced;
    reconcile(byId("room-list"), rooms, (view) => view.id, (view) => this.#roomRow(view));
    const unread = rooms.filter((view) => view.unread).length + invites.length;
    document.title = unread > 0 ? `(${unread}) Meridian` : "Meridian";
  }

  #inviteView(room) {
    const from = room.inviter && room.memberName(room.inviter);
    return { id: room.id, name: room.name, from };
  }

  #inviteRow({ id, name, from }) {
    const button = (test, label, act) =>
      el("button", { type: "button", class: test === "join" && "primary", "data-test": test, onclick: act }, label);
    return el(
      "li",
      { class: "invite", "data-test": "invite-item", "data-room-id": id },
      avatar(id, name),
      el("span", { class: "what" }, el("strong", {}, name), el("small", {}, from ? `from ${from}` : "")),
      el(
        "span",
        { class: "buttons" },
        button("join", "Accept", () => this.#actions.join(id)),
        button("decline", "Decline", () => this.#actions.decline(id)),
      ),
    );
  }

  #roomView(room, open) {
    const last = room.items().findLast((item) => item.kind === "message");
    const preview = last && `${last.mine ? "You" : last.name}: ${last.body}`.slice(0, 120);
    const count = open ? 0 : room.unread.notification_count;
    const unread = !open && (count > 0 || room.hasUnread);
    const partner = room.partner && this.#rooms.presenceOf(room.partner);
    const direct = this.#rooms.isDirect(room.id);
    return { id: room.id, name: room.name, preview, count, unread, open, partner, direct };
  }

  #roomRow({ id, name, preview, count, unread, open, partner, direct }) {
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          class: unread ? "room-item unread" : "room-item",
          "data-test": "room-item",
          "data-room-id": id,
          "data-direct": direct && "yes",
          "data-action": "open",
          "aria-current": open && "true",
          onclick: () => this.#actions.open(id),
        },
        el("span", { class: "face" }, avatar(id, name), partner && dot(partner)),
        el("span", { class: "what" }, el("strong", {}, name), el("small", {}, preview ?? "")),
        unread && el("span", { class: "badge", "aria-label": "unread" }, count > 0 ? String(count) : ""),
      ),
    );
  }

  drawRoom(room) {
    setText("room-title", room.name);
    setText("room-topic", room.topic);
    setText("people-title", `People · ${room.memberCount}`);
    const people = room.members().map((member) => this.#personView(member, room));
    reconcile(byId("people"), people, (view) => view.userId, personRow);
    setText("typing", sentence(room.typing.map((userId) => room.memberName(userId))));
  }

  #personView({ userId, name, membership }, room) {
    const known = this.#rooms.presence.get(userId) ?? {};
    const own = userId === room.userId;
    const { presence = "offline", status_msg, currently_active } = known;
    return { userId, name, membership, own, presence, status_msg, active: currently_active === true };
  }

  /** An action makes the notice stay until it is taken. */
  toast(message, label, act) {
    clearTimeout(this.#toastTimer);
    const button = byId("toast-action");
    byId("toast-text").textContent = message;
    button.hidden = !act;
    button.textContent = label ?? "";
    button.onclick = () => {
      byId("toast").hidden = true;
      act();
    };
    byId("toast").hidden = false;
    if (!act) this.#toastTimer = setTimeout(() => (byId("toast").hidden = true), TOAST_MS);
  }

  clear() {
    clearTimeout(this.#toastTimer);
    byId("toast").hidden = true;
    for (const id of ["invite-list", "room-list", "people"]) byId(id).replaceChildren();
    document.title = "Meridian";
  }
}

const dot = (presence) => el("span", { class: "dot", "data-presence": presence, title: presence });

function personRow({ userId, name, membership, own, presence, status_msg, active }) {
  const mark = dot(presence);
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", active ? `${presence}, active now` : presence);
  mark.dataset.user = userId;
  // One's own dot is no news, and tests look for the others'.
  if (!own) mark.dataset.test = "presence-dot";
  const note = membership === "invite" ? "invited" : own ? "you" : (status_msg ?? "");
  return el(
    "li",
    { class: "person", title: userId, "data-test": "person", "data-membership": membership },
    el("span", { class: "face" }, avatar(userId, name), mark),
    el("span", { class: "what" }, el("span", {}, name), el("small", {}, note)),
  );
}

function sentence(names) {
  if (names.length === 0) return "";
  if (names.length === 1) return `${names[0]} is typing…`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are typing…`;
  return `${names.length} people are typing…`;
}

/** Writing the same text again would make a screen reader say it again. */
function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}
