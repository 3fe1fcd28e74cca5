// The page: a session's rooms, people and actions, wired to the reference client. One tab is one session.

import { byId } from "./dom.js";
import { CLIENT_API } from "./matrix-http.js";
import { MeridianClient } from "./meridian-ws.js";
import { Rooms } from "./rooms.js";
import { SidePanels } from "./panels.js";
import { welcome } from "./sign-in.js";
import { TimelineView } from "./timeline.js";

const BASE = location.origin;
const TYPING_AGAIN_MS = 8_000;
const HISTORY_PAGE = 30;
/** Pages without one visible message are skipped, but not for ever on one press. */
const EMPTY_PAGES = 5;

/** What a reload must not lose. Session storage is one tab's own, so two tabs can be two users. */
const stored = {
  read: (name) => JSON.parse(sessionStorage.getItem(`meridian.${name}`) ?? "null"),
  write: (name, value) => sessionStorage.setItem(`meridian.${name}`, JSON.stringify(value)),
  clear: () => {
    for (const name of ["session", "room", "unsent"]) sessionStorage.removeItem(`meridian.${name}`);
  },
};

class Chat {
  #client;
  #rooms;
  #panels;
  #timeline;
  #open;
  /** A room just created or joined, to be opened when sync brings it. */
  #awaited = stored.read("room");
  #editing;
  #drafts = new Map();
  #typingSentAt = 0;
  #readSent = new Map();
  #loadingOlder = false;
  #drawing = false;
  #synced = false;
  #listeners = new AbortController();

  constructor(session, onEnd) {
    this.session = session;
    this.onEnd = onEnd;
    this.#rooms = new Rooms(session.user_id);
    this.#client = new MeridianClient({
      base: BASE,
      userId: session.user_id,
      accessToken: session.access_token,
      refreshToken: session.refresh_token,
      onSync: (data) => this.#synchronised(data),
      onTokens: (tokens) => stored.write("session", Object.assign(session, tokens)),
    });
    this.#panels = new SidePanels(this.#rooms, {
      open: (roomId) => this.#openRoom(this.#rooms.get(roomId)),
      join: (roomId) => this.#try(() => this.#join(roomId)),
      decline: (roomId) => this.#try(() => this.#post(`/rooms/${encodeURIComponent(roomId)}/leave`)),
    });
    this.#timeline = new TimelineView({
      react: (item, key) => this.#react(item, key),
      edit: (item) => this.#edit(item),
      remove: (item) => this.#redact(item.eventId),
      retry: (item) => this.#retry(item.key),
    });
    this.#listen();
    this.#follow();
    byId("welcome").hidden = true;
    byId("chat").hidden = false;
    this.#panels.drawSelf(session.user_id);
    this.#client.start();
  }

  // From the server.

  #follow() {
    this.#client.addEventListener("state", ({ detail }) => this.#panels.drawConnection(detail));
    this.#client.addEventListener("reset", () => {
      this.#awaited = this.#open?.id;
      this.#close();
      this.#rooms.reset();
    });
    this.#client.addEventListener("replaced", () =>
      this.#panels.toast("This session goes on in another tab.", "Use it here", () => this.#client.start()),
    );
    this.#client.addEventListener("loggedout", () => this.#end("You have been logged out."));
  }

  #synchronised(data) {
    this.#rooms.apply(data);
    if (!this.#synced) this.#sendUnsent();
    this.#synced = true;
    this.#draw();
  }

  /** Draws once for all that happens in one go. Not by animation frame: hidden tabs have none. */
  #draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    queueMicrotask(() => {
      this.#drawing = false;
      this.#drawNow();
    });
  }

  #drawNow() {
    if (this.#listeners.signal.aborted) return;
    const awaited = this.#rooms.get(this.#awaited);
    if (awaited?.membership === "join") this.#openRoom(awaited);
    if (this.#open && this.#rooms.get(this.#open.id) !== this.#open) {
      this.#panels.toast(`You are no longer in ${this.#open.name}.`);
      this.#close();
    }
    this.#panels.drawRooms(this.#open?.id, this.#synced);
    if (!this.#open) return;
    this.#panels.drawRoom(this.#open);
    this.#timeline.show(this.#open);
    this.#markRead();
  }

  /** Reading means: the tab is in sight, and so is the newest message. */
  #markRead() {
    const room = this.#open;
    if (!room || document.visibilityState !== "visible" || !this.#timeline.atEnd) return;
    const eventId = room.newestToRead();
    if (!eventId || this.#readSent.get(room.id) === eventId) return;
    this.#readSent.set(room.id, eventId);
    room.markReadHere(eventId);
    this.#client.receipt(room.id, eventId).catch((error) => console.warn("No receipt", error));
    this.#draw();
  }

  // Rooms.

  #openRoom(room) {
    this.#awaited = undefined;
    if (room === this.#open) return;
    this.#close();
    this.#open = room;
    stored.write("room", room.id);
    byId("composer").value = this.#drafts.get(room.id) ?? "";
    byId("nothing-open").hidden = true;
    byId("room").hidden = false;
    fitComposer();
    this.#draw();
  }

  #close() {
    if (!this.#open) return;
    this.#stopTyping();
    if (!this.#editing) this.#drafts.set(this.#open.id, byId("composer").value);
    this.#cancelEdit();
    this.#timeline.close();
    this.#open = undefined;
    byId("room").hidden = true;
    byId("nothing-open").hidden = false;
  }

  async #create(name) {
    const { room_id } = await this.#post("/createRoom", { name, preset: "private_chat" });
    this.#await(room_id);
  }

  /** Opens the room for two with somebody: the one there is, or a new one. */
  async #message(name) {
    const other = this.#userId(name);
    const known = this.#rooms.directWith(other);
    if (known) return this.#openRoom(known);
    const invitation = { preset: "trusted_private_chat", is_direct: true, invite: [other] };
    const { room_id } = await this.#post("/createRoom", invitation);
    this.#await(room_id);
    await this.#noteDirect(other, room_id);
  }

  /** Adds the room to the user's list, as it stands on the server: another client may have changed it. */
  async #noteDirect(other, roomId) {
    const path = `${CLIENT_API}/user/${encodeURIComponent(this.session.user_id)}/account_data/m.direct`;
    const direct = await this.#client.http("GET", path).catch((error) => {
      if (error.errcode !== "M_NOT_FOUND") throw error;
      return {};
    });
    const rooms = Array.isArray(direct[other]) ? direct[other] : [];
    if (rooms.includes(roomId)) return;
    await this.#client.http("PUT", path, { body: { ...direct, [other]: [...rooms, roomId] } });
  }

  async #join(address) {
    const invited = this.#rooms.get(address);
    const from = invited?.invitedAsDirect ? invited.inviter : undefined;
    const { room_id } = await this.#post(`/join/${encodeURIComponent(address)}`);
    this.#await(room_id);
    if (from) await this.#noteDirect(from, room_id);
  }

  #await(roomId) {
    this.#awaited = roomId;
    this.#draw();
  }

  /** Of a name as people write it: without a server it is on this one. */
  #userId(name) {
    const [, server] = this.session.user_id.match(/^[^:]*:(.*)$/);
    return name.includes(":") ? name : `@${name.replace(/^@/, "")}:${server}`;
  }

  async #invite(name) {
    const user_id = this.#userId(name);
    await this.#post(`/rooms/${encodeURIComponent(this.#open.id)}/invite`, { user_id });
  }

  async #loadOlder() {
    const room = this.#open;
    if (this.#loadingOlder || !room?.hasOlder) return;
    this.#loadingOlder = byId("load-older").disabled = true;
    try {
      const shown = room.items().length;
      for (let page = 0; page < EMPTY_PAGES && room.hasOlder && room.items().length === shown; page++) {
        const query = { dir: "b", from: room.prevBatch, limit: HISTORY_PAGE };
        const path = `${CLIENT_API}/rooms/${encodeURIComponent(room.id)}/messages`;
        room.prepend(query.from, await this.#client.http("GET", path, { query }));
      }
    } finally {
      this.#loadingOlder = byId("load-older").disabled = false;
    }
    if (room === this.#open) this.#timeline.showOlder();
  }

  // Messages.

  #submit() {
    const composer = byId("composer");
    const body = composer.value.trim();
    if (!body || !this.#open) return;
    const editing = this.#editing;
    composer.value = "";
    this.#cancelEdit();
    this.#stopTyping();
    fitComposer();
    if (editing === undefined) this.#say({ msgtype: "m.text", body });
    else if (body !== editing.body) this.#say(editOf(editing.eventId, body));
    this.#timeline.toEnd();
  }

  #say(content) {
    this.#sendEvent(this.#open.id, "m.room.message", content, this.#client.txnId());
  }

  /** Shows the event at once and sends it until it is answered, over reconnects and reloads alike. */
  async #sendEvent(roomId, type, content, txnId) {
    this.#rooms.get(roomId)?.addEcho(txnId, type, content);
    this.#remember(txnId, { roomId, type, content });
    this.#draw();
    await this.#deliver(roomId, type, txnId, () => this.#client.send(roomId, type, content, txnId));
    this.#remember(txnId, undefined);
  }

  async #deliver(roomId, type, txnId, send) {
    try {
      const { event_id } = await send();
      this.#rooms.get(roomId)?.confirmEcho(txnId, event_id);
    } catch (error) {
      const room = this.#rooms.get(roomId);
      if (type === "m.room.message") room?.markEcho(txnId, "failed");
      else room?.discardEcho(txnId);
      this.#panels.toast(error.message);
    }
    this.#draw();
  }

  async #retry(txnId) {
    const room = this.#open;
    const echo = room.echoes.find((e) => e.txnId === txnId);
    if (!echo) return;
    const { type, content } = echo.event;
    room.markEcho(txnId, "sending");
    this.#draw();
    await this.#deliver(room.id, type, txnId, () => this.#client.send(room.id, type, content, txnId));
  }

  #remember(txnId, message) {
    const unsent = { ...stored.read("unsent"), [txnId]: message };
    stored.write("unsent", unsent);
  }

  /** After a reload: the same transaction ids, so nothing that did arrive is sent a second time. */
  #sendUnsent() {
    for (const [txnId, { roomId, type, content }] of Object.entries(stored.read("unsent") ?? {})) {
      this.#sendEvent(roomId, type, content, txnId);
    }
  }

  #react(item, key) {
    const own = item.reactions.find((reaction) => reaction.key === key)?.ownEventId;
    // A reaction still on its way has no event id that could be redacted.
    if (own?.startsWith("~")) return;
    if (own) return this.#redact(own);
    const relation = { rel_type: "m.annotation", event_id: item.eventId, key };
    const txnId = this.#client.txnId();
    this.#sendEvent(this.#open.id, "m.reaction", { "m.relates_to": relation }, txnId);
  }

  #redact(eventId) {
    const room = this.#open;
    const txnId = this.#client.txnId();
    room.addEcho(txnId, "m.room.redaction", {}, { redacts: eventId });
    this.#draw();
    const send = () => this.#client.redact(room.id, eventId, undefined, txnId);
    this.#deliver(room.id, "m.room.redaction", txnId, send);
  }

  #edit(item) {
    if (!this.#editing) this.#drafts.set(this.#open.id, byId("composer").value);
    this.#editing = item;
    byId("editing").hidden = false;
    byId("composer").value = item.body;
    byId("composer").focus();
    fitComposer();
  }

  #cancelEdit() {
    if (!this.#editing) return;
    this.#editing = undefined;
    byId("editing").hidden = true;
    byId("composer").value = this.#drafts.get(this.#open?.id) ?? "";
    fitComposer();
  }

  #typed() {
    fitComposer();
    if (!this.#open || this.#editing) return;
    if (!byId("composer").value.trim()) return this.#stopTyping();
    if (Date.now() - this.#typingSentAt < TYPING_AGAIN_MS) return;
    this.#typingSentAt = Date.now();
    this.#client.typing(this.#open.id, true);
  }

  #stopTyping() {
    if (this.#typingSentAt > 0) this.#client.typing(this.#open.id, false);
    this.#typingSentAt = 0;
  }

  // From the user.

  #listen() {
    const { signal } = this.#listeners;
    const on = (target, type, act) => target.addEventListener(type, act, { signal });
    const form = (id, field, act) =>
      on(byId(id), "submit", (event) => {
        event.preventDefault();
        const value = byId(field).value.trim();
        if (value) this.#try(() => act(value), byId(id)).then((done) => done && byId(id).reset());
      });
    form("create", "room-name", (name) => this.#create(name));
    form("direct", "direct-user", (name) => this.#message(name));
    form("join-address", "address", (address) => this.#join(address));
    form("invite", "invite-user", (name) => this.#invite(name));
    on(byId("compose"), "submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    on(byId("composer"), "keydown", (event) => this.#key(event));
    on(byId("composer"), "input", () => this.#typed());
    on(byId("cancel-edit"), "click", () => this.#cancelEdit());
    on(byId("load-older"), "click", () => this.#try(() => this.#loadOlder()));
    on(byId("leave"), "click", () => this.#leave());
    on(byId("logout"), "click", () => this.#logOut());
    this.#listenToScrolling(on);
    this.#listenToPresence(on);
  }

  #listenToScrolling(on) {
    const scroller = byId("scroller");
    const older = () => scroller.scrollTop < 80 && this.#try(() => this.#loadOlder());
    on(scroller, "scroll", () => this.#markRead());
    on(scroller, "wheel", (event) => event.deltaY < 0 && older());
    on(scroller, "touchmove", older);
    on(scroller, "keydown", ({ key }) => ["PageUp", "Home", "ArrowUp"].includes(key) && older());
  }

  #listenToPresence(on) {
    const seen = () => document.visibilityState === "visible" && this.#client.userIsActive();
    for (const sign of ["pointerdown", "pointermove", "keydown", "wheel", "focus"]) on(window, sign, seen);
    on(window, "online", () => this.#client.nudge());
    on(document, "visibilitychange", () => {
      if (document.visibilityState !== "visible") return;
      this.#client.nudge();
      seen();
      this.#markRead();
    });
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "Escape") {
      this.#cancelEdit();
    } else if (event.key === "ArrowUp" && !byId("composer").value && this.#open) {
      const own = this.#open.items().filter((item) => item.mine && item.kind === "message");
      const last = own.findLast((item) => !item.redacted && item.status === "sent");
      if (last && !last.eventId.startsWith("~")) this.#edit(last);
    }
  }

  #leave() {
    const { id, name } = this.#open;
    if (!window.confirm(`Leave ${name}?`)) return;
    this.#try(() => this.#post(`/rooms/${encodeURIComponent(id)}/leave`));
  }

  #post(path, body = {}) {
    return this.#client.http("POST", CLIENT_API + path, { body });
  }

  /** Runs what the user asked for; a refusal is shown, and the buttons of `form` wait meanwhile. */
  async #try(act, form) {
    const buttons = form?.querySelectorAll("button") ?? [];
    for (const button of buttons) button.disabled = true;
    try {
      await act();
      return true;
    } catch (error) {
      this.#panels.toast(error.message);
      return false;
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  }

  async #logOut() {
    this.#stopTyping();
    // The session ends here even if the server cannot be told now.
    const told = this.#post("/logout").catch((error) => console.warn("Logout was not confirmed", error));
    this.#client.stop();
    await told;
    this.#end("");
  }

  #end(notice) {
    if (this.#listeners.signal.aborted) return;
    this.#close();
    this.#client.stop();
    this.#listeners.abort();
    stored.clear();
    this.#panels.clear();
    byId("chat").hidden = true;
    this.onEnd(notice);
  }
}

/** An edit carries the new text twice: once for clients that know edits, once for those that do not. */
const editOf = (eventId, body) => ({
  msgtype: "m.text",
  body: `* ${body}`,
  "m.new_content": { msgtype: "m.text", body },
  "m.relates_to": { rel_type: "m.replace", event_id: eventId },
});

function fitComposer() {
  const composer = byId("composer");
  composer.style.height = "auto";
  composer.style.height = `${Math.min(composer.scrollHeight + 2, 180)}px`;
}

function begin(notice) {
  const open = (session) => {
    stored.write("session", session);
    new Chat(session, begin);
  };
  const session = stored.read("session");
  if (session) open(session);
  else welcome(BASE, open, notice);
}

begin("");
