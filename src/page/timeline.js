// One room's messages on the screen: rows, the scroll position, and where one day ends and the next begins.

import { avatar, byId, el, reconcile } from "./dom.js";

const GROUP_WITHIN_MS = 5 * 60_000;
const NEAR_THE_END_PX = 60;
const QUICK_REACTIONS = ["👍", "❤️", "😄"];
const LINK = /(https?:\/\/[^\s<>"]*[^\s<>".,;:!?'()])/;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

export class TimelineView {
  #scroller = byId("scroller");
  #list = byId("timeline");
  #actions;
  #room;
  /** Whether the reader is at the end, and so has to stay there when the view changes its size. */
  #pinned = true;

  /** `actions`: `edit(item)`, `remove(item)`, `react(item, key)`, `retry(item)`. */
  constructor(actions) {
    this.#actions = actions;
    this.#scroller.onscroll = () => (this.#pinned = this.atEnd);
    new ResizeObserver(() => this.#pinned && this.toEnd()).observe(this.#scroller);
  }

  get atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_THE_END_PX;
  }

  /** Draws the room. Whoever was at the end stays at the end, whoever reads higher up is not moved. */
  show(room) {
    const opened = this.#room !== room;
    const stick = opened || this.#pinned;
    if (opened) this.#list.replaceChildren();
    this.#room = room;
    // A whole room that appears at once is not news to be read out.
    this.#list.setAttribute("aria-busy", opened);
    this.#draw();
    if (stick) this.toEnd();
    if (opened) setTimeout(() => this.#list.setAttribute("aria-busy", "false"));
  }

  /** Draws what was put before the known rows, and keeps those where they are on the screen. */
  showOlder() {
    const scroller = this.#scroller;
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    this.#list.setAttribute("aria-busy", "true");
    this.#draw();
    scroller.scrollTop = scroller.scrollHeight - fromEnd;
    setTimeout(() => this.#list.setAttribute("aria-busy", "false"));
  }

  toEnd() {
    this.#pinned = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  close() {
    this.#room = undefined;
    this.#list.replaceChildren();
  }

  #draw() {
    const room = this.#room;
    byId("load-older").hidden = !room.hasOlder;
    byId("beginning").hidden = room.hasOlder || room.order.length === 0;
    const rows = withDays(room.items(), (userId) => room.memberName(userId));
    reconcile(this.#list, rows, (row) => row.key, (row) => this.#row(row));
  }

  #row(row) {
    if (row.kind === "day") return el("li", { class: "day" }, el("span", {}, calendar.format(row.ts)));
    if (row.kind === "notice") {
      return el("li", { class: "notice", "data-test": "notice" }, row.body, receipts(row));
    }
    const classes = ["message", row.mine && "mine", row.grouped && "grouped", row.redacted && "redacted"];
    const props = {
      class: classes.filter(Boolean).join(" "),
      "data-test": "message",
      "data-event-id": row.eventId,
      "data-status": row.status,
      "data-kind": row.msgtype,
    };
    return el(
      "li",
      props,
      avatar(row.sender, row.name),
      el("div", { class: "content" }, this.#bubble(row), this.#reactions(row)),
      this.#buttons(row),
      receipts(row),
    );
  }

  #bubble(row) {
    const emote = row.msgtype === "m.emote" && !row.redacted;
    const body = emote ? [`${row.name} `, ...linked(row.body)] : linked(row.body);
    const time = new Date(row.ts);
    return el(
      "div",
      { class: "bubble" },
      el("div", { class: "who", title: row.sender }, row.name),
      el("div", { class: "body", "data-test": "message-body" }, body),
      el(
        "div",
        { class: "meta" },
        row.edited && el("span", { "data-test": "edited" }, "edited "),
        el("time", { datetime: time.toISOString(), title: time.toLocaleString() }, clock.format(time)),
        this.#status(row),
      ),
    );
  }

  #status(row) {
    if (row.status === "sending") return el("span", { class: "status" }, " · sending");
    if (row.status !== "failed") return undefined;
    const props = { type: "button", class: "retry", "data-action": "retry" };
    return [" · not sent ", el("button", { ...props, onclick: () => this.#actions.retry(row) }, "Try again")];
  }

  #reactions(row) {
    if (row.reactions.length === 0 || row.redacted) return undefined;
    const chips = row.reactions.map(({ key, senders, names, ownEventId }) =>
      el(
        "button",
        {
          type: "button",
          class: "chip",
          "data-test": "reaction",
          "data-action": `chip ${key}`,
          "aria-pressed": String(ownEventId !== undefined),
          "aria-label": `${key} from ${names.join(", ")}`,
          title: names.join(", "),
          onclick: () => this.#actions.react(row, key),
        },
        `${key} ${senders.length}`,
      ),
    );
    return el("div", { class: "reactions" }, chips);
  }

  #buttons(row) {
    if (row.redacted || row.status !== "sent" || row.eventId.startsWith("~")) return undefined;
    // The icon is drawn by the style sheet, so that a row's text is the message and nothing else.
    const button = (action, icon, label, act) =>
      el("button", {
        type: "button",
        class: "quiet icon",
        "data-test": action,
        "data-action": `${action} ${icon}`,
        "data-icon": icon,
        "aria-label": label,
        title: label,
        onclick: act,
      });
    const react = (key) => button("react", key, `React with ${key}`, () => this.#actions.react(row, key));
    return el(
      "div",
      { class: "actions" },
      QUICK_REACTIONS.map(react),
      row.mine && button("edit", "✎", "Edit", () => this.#actions.edit(row)),
      row.mine && button("delete", "✕", "Delete", () => this.#actions.remove(row)),
    );
  }
}

function receipts(row) {
  if (row.readers.length === 0) return undefined;
  const marks = row.readers.map(({ userId, name }) => {
    const mark = avatar(userId, name);
    mark.removeAttribute("aria-hidden");
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", `Read by ${name}`);
    mark.dataset.test = "receipt";
    mark.dataset.user = userId;
    mark.title = `Read by ${name}`;
    return mark;
  });
  return el("div", { class: "receipts" }, marks);
}

/** Adds the rows between days, and what a row takes from its neighbours: its place in a group. */
function withDays(items, nameOf) {
  const rows = [];
  let previous;
  for (const item of items) {
    const day = new Date(item.ts).toDateString();
    const newDay = day !== (previous && new Date(previous.ts).toDateString());
    if (newDay) rows.push({ kind: "day", key: `day ${day} ${item.key}`, ts: item.ts });
    const close = previous?.kind === "message" && item.ts - previous.ts < GROUP_WITHIN_MS;
    const grouped = !newDay && close && previous.sender === item.sender;
    const readers = item.receipts.map((userId) => ({ userId, name: nameOf(userId) }));
    const reactions = item.reactions.map((r) => ({ ...r, names: r.senders.map(nameOf) }));
    rows.push({ ...item, grouped, readers, reactions });
    previous = item;
  }
  return rows;
}

function linked(body) {
  return body.split(LINK).map((part, index) => {
    if (index % 2 === 0) return part;
    return el("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, part);
  });
}
