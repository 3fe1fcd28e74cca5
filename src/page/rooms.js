// What sync says, as rooms to look at: state, timelines, relations, receipts, presence. No DOM, no network.
// Received events are kept as they came; edits, reactions and redactions are applied when a timeline is read.

/** Past this many events a timeline gives up its oldest batches, which `load older` can fetch again. */
const MAX_TIMELINE = 1000;
const KEPT_ON_TRIM = 500;

const localpart = (userId) => userId.slice(1).split(":")[0];

export class Rooms {
  constructor(userId) {
    this.userId = userId;
    this.reset();
  }

  /** Forgets what the server said, not what it has yet to answer. */
  reset() {
    const rooms = this.byId?.values() ?? [];
    this.unanswered = new Map([...rooms].map((room) => [room.id, room.echoes]));
    this.byId = new Map();
    this.presence = new Map();
    this.direct = {};
  }

  /** Takes one sync body; answers whom it changed: room ids, and whether presence moved. */
  apply({ rooms = {}, presence, account_data }) {
    const changed = new Set();
    for (const { type, content } of account_data?.events ?? []) {
      if (type === "m.direct") this.direct = content;
    }
    for (const [id, update] of Object.entries(rooms.join ?? {})) {
      this.#room(id).applyJoined(update);
      changed.add(id);
    }
    for (const [id, update] of Object.entries(rooms.invite ?? {})) {
      this.#room(id).applyInvite(update);
      changed.add(id);
    }
    for (const id of Object.keys(rooms.leave ?? {})) {
      this.byId.delete(id);
      changed.add(id);
    }
    const people = presence?.events ?? [];
    for (const { sender, content } of people) {
      this.presence.set(sender, { ...content, at: Date.now() });
    }
    return { changed, presence: people.length > 0 };
  }

  #room(id) {
    if (!this.byId.has(id)) {
      const room = new Room(id, this.userId);
      room.echoes = this.unanswered.get(id) ?? [];
      this.byId.set(id, room);
    }
    return this.byId.get(id);
  }

  get(id) {
    return this.byId.get(id);
  }

  presenceOf(userId) {
    return this.presence.get(userId)?.presence ?? "offline";
  }

  /** A room that the user's `m.direct` calls direct with somebody, if both are in it or will be. */
  directWith(userId) {
    const rooms = listOf(this.direct[userId]).map((id) => this.get(id));
    const isLive = (room) => room?.membership === "join" && room.members().some((m) => m.userId === userId);
    return rooms.find(isLive);
  }

  isDirect(roomId) {
    return Object.values(this.direct).some((ids) => listOf(ids).includes(roomId));
  }

  invites() {
    return [...this.byId.values()].filter((room) => room.membership === "invite");
  }

  /** Joined rooms, the most recently used first. */
  joined() {
    const rooms = [...this.byId.values()].filter((room) => room.membership === "join");
    return rooms.sort((a, b) => b.lastActivity() - a.lastActivity() || (a.id < b.id ? -1 : 1));
  }
}

export class Room {
  /** The answer of `items()` until something changes it: the room list asks on every draw. */
  #items;

  constructor(id, userId) {
    this.id = id;
    this.userId = userId;
    this.membership = "leave";
    this.#forget();
    this.summary = {};
    this.unread = { notification_count: 0, highlight_count: 0 };
    this.typing = [];
    this.receipts = new Map();
    this.echoes = [];
  }

  #forget() {
    this.state = new Map();
    this.names = new Map();
    this.#clearTimeline();
  }

  #clearTimeline() {
    this.order = [];
    this.events = new Map();
    this.batchStarts = new Map();
    this.prevBatch = undefined;
  }

  applyJoined(update) {
    this.#items = undefined;
    // After an invitation the room comes in full, and the stripped state must not shine through.
    if (this.membership !== "join") this.#forget();
    this.membership = "join";
    for (const event of update.state?.events ?? []) this.#setState(event);
    if (update.timeline) this.#applyTimeline(update.timeline);
    Object.assign(this.summary, update.summary);
    Object.assign(this.unread, update.unread_notifications);
    for (const event of update.ephemeral?.events ?? []) this.#applyEphemeral(event);
  }

  applyInvite(update) {
    this.#items = undefined;
    this.#forget();
    this.membership = "invite";
    for (const event of update.invite_state?.events ?? []) this.#setState(event);
  }

  #applyTimeline({ events = [], limited, prev_batch }) {
    // A gap: what is shown so far does not connect to what follows, and paging back from here fills both.
    if (limited) this.#clearTimeline();
    if (this.order.length === 0) this.prevBatch = prev_batch;
    let first = true;
    for (const event of events) {
      if (event.state_key !== undefined) this.#setState(event);
      if (this.events.has(event.event_id)) continue;
      this.events.set(event.event_id, event);
      this.order.push(event.event_id);
      if (first && prev_batch) this.batchStarts.set(event.event_id, prev_batch);
      first = false;
      this.#dropEcho(event);
    }
    if (this.order.length > MAX_TIMELINE) this.#trim();
  }

  #trim() {
    const at = this.order.findIndex(
      (id, index) => index >= this.order.length - KEPT_ON_TRIM && this.batchStarts.has(id),
    );
    if (at <= 0) return;
    this.prevBatch = this.batchStarts.get(this.order[at]);
    for (const id of this.order.splice(0, at)) {
      this.events.delete(id);
      this.batchStarts.delete(id);
    }
  }

  #setState(event) {
    if (!this.state.has(event.type)) this.state.set(event.type, new Map());
    this.state.get(event.type).set(event.state_key, event);
    if (event.type === "m.room.member") this.names.clear();
  }

  #applyEphemeral({ type, content }) {
    if (type === "m.typing") this.typing = (content.user_ids ?? []).filter((u) => u !== this.userId);
    if (type !== "m.receipt") return;
    for (const [eventId, byType] of Object.entries(content)) {
      for (const [userId, { ts = 0, thread_id }] of Object.entries(byType["m.read"] ?? {})) {
        const known = this.receipts.get(userId);
        const inMain = thread_id === undefined || thread_id === "main";
        if (inMain && (!known || known.ts <= ts)) this.receipts.set(userId, { eventId, ts });
      }
    }
  }

  /** Puts one page of history before what is known. `from` guards against a gap that came in between. */
  prepend(from, { chunk = [], end }) {
    if (from !== this.prevBatch) return;
    this.#items = undefined;
    const older = [];
    for (const event of chunk) {
      if (this.events.has(event.event_id)) continue;
      this.events.set(event.event_id, event);
      older.unshift(event.event_id);
    }
    this.order.unshift(...older);
    this.prevBatch = end;
  }

  get hasOlder() {
    const first = this.events.get(this.order[0]);
    return this.prevBatch !== undefined && first?.type !== "m.room.create";
  }

  // Own messages on their way.

  addEcho(txnId, type, content, extra = {}) {
    const unsigned = { transaction_id: txnId };
    const event = { event_id: `~${txnId}`, type, content, sender: this.userId, unsigned, ...extra };
    event.origin_server_ts = Date.now();
    this.echoes.push({ txnId, event, status: "sending" });
    this.#items = undefined;
  }

  confirmEcho(txnId, eventId) {
    const echo = this.echoes.find((e) => e.txnId === txnId);
    if (!echo) return;
    this.#items = undefined;
    echo.eventId = eventId;
    echo.status = "sent";
    if (this.events.has(eventId)) this.#dropEcho(this.events.get(eventId));
  }

  markEcho(txnId, status) {
    const echo = this.echoes.find((e) => e.txnId === txnId);
    if (echo) echo.status = status;
    this.#items = undefined;
  }

  discardEcho(txnId) {
    this.echoes = this.echoes.filter((echo) => echo.txnId !== txnId);
    this.#items = undefined;
  }

  #dropEcho(event) {
    const txnId = event.unsigned?.transaction_id;
    const echo = this.echoes.find((e) => e.txnId === txnId || e.eventId === event.event_id);
    if (!echo) return;
    // The row on the screen keeps its identity when the server's event takes the echo's place.
    event.unsigned = { ...event.unsigned, transaction_id: echo.txnId };
    this.discardEcho(echo.txnId);
  }

  // Names.

  #content(type, stateKey = "") {
    return this.state.get(type)?.get(stateKey)?.content ?? {};
  }

  get topic() {
    return text(this.#content("m.room.topic").topic);
  }

  get name() {
    const name = text(this.#content("m.room.name").name);
    const alias = text(this.#content("m.room.canonical_alias").alias);
    return name || alias || this.#nameFromPeople();
  }

  #nameFromPeople() {
    const heroes = this.summary["m.heroes"] ?? [];
    const others = heroes.length > 0 ? heroes : this.members().map((member) => member.userId);
    const names = others.filter((u) => u !== this.userId).map((u) => this.memberName(u));
    if (names.length === 0) return this.inviter ? this.memberName(this.inviter) : "Empty room";
    if (names.length <= 3) return names.join(", ");
    return `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
  }

  get inviter() {
    const own = this.state.get("m.room.member")?.get(this.userId);
    return own?.content?.membership === "invite" ? own.sender : undefined;
  }

  /** Whether the invitation that is open says that the room is for two. */
  get invitedAsDirect() {
    const own = this.state.get("m.room.member")?.get(this.userId);
    return this.inviter !== undefined && own.content.is_direct === true;
  }

  get memberCount() {
    return this.summary["m.joined_member_count"] ?? this.members("join").length;
  }

  /** The other one, where there are only two. */
  get partner() {
    const others = this.members().filter((member) => member.userId !== this.userId);
    return others.length === 1 ? others[0].userId : undefined;
  }

  members(...memberships) {
    const wanted = memberships.length > 0 ? memberships : ["join", "invite"];
    const found = [];
    for (const [userId, { content }] of this.state.get("m.room.member") ?? []) {
      const membership = content?.membership;
      if (wanted.includes(membership)) {
        found.push({ userId, membership, name: this.memberName(userId) });
      }
    }
    return found.sort((a, b) => a.name.localeCompare(b.name));
  }

  /** Kept until a member changes: every row of a timeline asks, and the answer looks at all members. */
  memberName(userId) {
    if (!this.names.has(userId)) this.names.set(userId, this.#unambiguousName(userId));
    return this.names.get(userId);
  }

  #unambiguousName(userId) {
    const name = text(this.#content("m.room.member", userId).displayname);
    if (!name) return localpart(userId);
    for (const [other, { content }] of this.state.get("m.room.member")) {
      const here = content?.membership === "join" || content?.membership === "invite";
      // Two people of one name must not pass for each other.
      if (other !== userId && here && content.displayname === name) return `${name} (${userId})`;
    }
    return name;
  }

  // The timeline as it is to be shown.

  lastActivity() {
    const echo = this.echoes.at(-1)?.event.origin_server_ts ?? 0;
    const last = this.events.get(this.order.at(-1))?.origin_server_ts ?? 0;
    return Math.max(echo, last);
  }

  /** Messages and notices in order, each with what later events made of it. */
  items() {
    return (this.#items ??= this.#collectItems());
  }

  #collectItems() {
    const events = this.order.map((id) => this.events.get(id));
    const all = [...events, ...this.echoes.map((echo) => echo.event)];
    const relations = collectRelations(all, this.userId);
    const status = new Map(this.echoes.map((echo) => [echo.event.event_id, echo.status]));
    const receipts = new Map();
    for (const [userId, { eventId }] of this.receipts) {
      if (userId !== this.userId) receipts.set(eventId, [...(receipts.get(eventId) ?? []), userId]);
    }
    const items = [];
    for (const event of all) {
      const item = this.#item(event, relations);
      if (item) {
        item.status = status.get(event.event_id) ?? "sent";
        items.push(item);
      }
      // Somebody may have read up to an event that is not shown, a reaction say: the row before it tells.
      items.at(-1)?.receipts.push(...(receipts.get(event.event_id) ?? []));
    }
    return items;
  }

  #item(event, relations) {
    const item = {
      key: event.unsigned?.transaction_id ?? event.event_id,
      eventId: event.event_id,
      sender: event.sender,
      name: this.memberName(event.sender),
      mine: event.sender === this.userId,
      ts: event.origin_server_ts,
      receipts: [],
      reactions: relations.reactions.get(event.event_id) ?? [],
    };
    if (event.state_key !== undefined) {
      const notice = describe(event, (userId) => this.memberName(userId));
      return notice && { ...item, kind: "notice", body: notice };
    }
    if (event.type === "m.room.encrypted") {
      return { ...item, kind: "message", msgtype: "encrypted", body: "Encrypted message" };
    }
    if (event.type !== "m.room.message" || isEdit(event)) return undefined;
    const redacted = isRedacted(event, relations);
    const edit = redacted ? undefined : relations.edits.get(event.event_id);
    const content = edit?.content["m.new_content"] ?? event.content ?? {};
    const { msgtype } = content;
    const body = redacted ? "Message deleted" : bodyOf(content) || "Message without text";
    return { ...item, kind: "message", msgtype, body, redacted, edited: edit !== undefined };
  }

  /** The newest event that a receipt can be sent for, if it is somebody else's. */
  newestToRead() {
    const event = this.events.get(this.order.at(-1));
    return event && event.sender !== this.userId ? event.event_id : undefined;
  }

  get hasUnread() {
    const read = this.receipts.get(this.userId);
    for (let i = this.order.length - 1; i >= 0; i--) {
      const event = this.events.get(this.order[i]);
      if (event.event_id === read?.eventId || event.sender === this.userId) return false;
      if (event.type === "m.room.message") return !read || event.origin_server_ts > read.ts;
    }
    return false;
  }

  markReadHere(eventId) {
    this.receipts.set(this.userId, { eventId, ts: Date.now() });
    this.unread.notification_count = 0;
  }
}

/** Account data is what any client wrote. */
const listOf = (value) => (Array.isArray(value) ? value : []);

const text = (value) => (typeof value === "string" ? value.trim() : "");

const relationOf = (event) => event.content?.["m.relates_to"] ?? {};

const isEdit = (event) => relationOf(event).rel_type === "m.replace";

const isRedacted = (event, { redacted }) =>
  redacted.has(event.event_id) || event.unsigned?.redacted_because !== undefined;

function collectRelations(events, ownUserId) {
  const byId = new Map(events.map((event) => [event.event_id, event]));
  const redacted = new Set();
  for (const event of events) {
    // Room versions before 11 name the target beside the content.
    if (event.type === "m.room.redaction") redacted.add(event.redacts ?? event.content?.redacts);
  }
  const relations = { redacted, edits: new Map(), reactions: new Map() };
  for (const event of events) {
    if (isRedacted(event, relations)) continue;
    const bundled = event.unsigned?.["m.relations"]?.["m.replace"];
    if (bundled?.content) considerEdit(relations.edits, event, bundled);
    const { rel_type, event_id: target, key } = relationOf(event);
    if (rel_type === "m.replace" && byId.has(target)) {
      considerEdit(relations.edits, byId.get(target), event);
    } else if (event.type === "m.reaction" && rel_type === "m.annotation" && text(key)) {
      addReaction(relations.reactions, target, text(key), event, ownUserId);
    }
  }
  return relations;
}

/** Of several edits the newest counts, and only the author may edit. */
function considerEdit(edits, original, edit) {
  const known = edits.get(original.event_id);
  const newer = !known || edit.origin_server_ts >= known.origin_server_ts;
  if (newer && edit.sender === original.sender && edit.content["m.new_content"]) {
    edits.set(original.event_id, edit);
  }
}

function addReaction(reactions, target, key, event, ownUserId) {
  if (!reactions.has(target)) reactions.set(target, []);
  const groups = reactions.get(target);
  let group = groups.find((g) => g.key === key);
  if (!group) groups.push((group = { key, senders: [], ownEventId: undefined }));
  // The same key twice from one person is one reaction.
  if (!group.senders.includes(event.sender)) group.senders.push(event.sender);
  if (event.sender === ownUserId) group.ownEventId = event.event_id;
}

const ATTACHMENTS = {
  "m.image": "Image",
  "m.file": "File",
  "m.audio": "Audio",
  "m.video": "Video",
  "m.location": "Location",
};

function bodyOf(content) {
  const body = text(content.body);
  const attachment = ATTACHMENTS[content.msgtype];
  return attachment ? `${attachment}: ${body}` : body;
}

/** A state change in words; undefined for those that say nothing to a reader. */
function describe(event, nameOf) {
  const { type, content = {}, sender, unsigned = {} } = event;
  const who = nameOf(sender);
  switch (type) {
    case "m.room.create":
      return `${who} created the room`;
    case "m.room.name":
      return text(content.name) ? `${who} named the room “${text(content.name)}”` : undefined;
    case "m.room.topic":
      return text(content.topic)
        ? `${who} changed the topic to “${text(content.topic)}”`
        : `${who} removed the topic`;
    case "m.room.encryption":
      return `${who} turned on encryption, which this page does not speak`;
    case "m.room.tombstone":
      return `${who} moved the room: ${text(content.body)}`;
    case "m.room.member":
      return describeMember(event, who, nameOf(event.state_key), unsigned.prev_content ?? {});
    default:
      return undefined;
  }
}

function describeMember({ sender, state_key, content }, who, whom, before) {
  const own = sender === state_key;
  const reason = text(content.reason) ? `: ${text(content.reason)}` : "";
  switch (content.membership) {
    case "join":
      if (before.membership !== "join") return `${whom} joined`;
      return before.displayname !== content.displayname
        ? `${text(before.displayname) || localpart(state_key)} is now ${whom}`
        : undefined;
    case "invite":
      return `${who} invited ${whom}`;
    case "knock":
      return `${whom} asks to join${reason}`;
    case "ban":
      return `${who} banned ${whom}${reason}`;
    case "leave":
      if (own) return before.membership === "invite" ? `${whom} declined` : `${whom} left`;
      return before.membership === "ban" ? `${who} unbanned ${whom}` : `${who} removed ${whom}${reason}`;
    default:
      return undefined;
  }
}
