// The reference client of Meridian's WebSocket transport, whose protocol docs/websocket.md describes:
// one connection, its resumption, an outbox that delivers exactly once, and the fallback to HTTP.
// It knows neither the page nor the rooms, so a client author can lift this file as it is.

import { CLIENT_API, MatrixError, ConnectionLost, httpForm, matrixFetch } from "./matrix-http.js";

const SOCKET_PATH = "/_matrix/client/unstable/im.meridian/sync/ws";
const SUBPROTOCOL = "im.meridian.v1.json";

const MAX_FRAME_BYTES = 65536 + 1024;
/** The server allows 20; the rest is left for pings, typing and presence, which do not queue. */
const MAX_IN_FLIGHT = 16;
const HEARTBEAT_MS = 60_000;
const OPEN_WITHIN_MS = 10_000;
/** A browser hides WebSocket-level pings from scripts, so silence has to be probed by our own. */
const QUIET_MS = 30_000;
const ANSWER_WITHIN_MS = 10_000;
const LONG_POLL_MS = 30_000;
const MAX_BACKOFF_MS = 30_000;
const MAX_UPGRADE_RETRY_MS = 600_000;

/** Between half and the whole of an exponentially growing step: many clients must not return at once. */
function backoff(failures) {
  const step = Math.min(MAX_BACKOFF_MS, 500 * 2 ** failures);
  return step / 2 + (Math.random() * step) / 2;
}

/** One WebSocket from open to close: frames, answers matched by id, pings in both directions. */
class Connection {
  #socket;
  #onNotification;
  #calls = new Map();
  #serial = 0;
  #heardAt = Date.now();
  #probedAt = undefined;
  #timers = [];
  #finish;
  opened = false;
  /** Told by `goodbye`, for the wait before the next connection. */
  retryAfterMs = undefined;

  constructor(socket, onNotification) {
    this.#socket = socket;
    this.#onNotification = onNotification;
    this.whenClosed = new Promise((resolve) => (this.#finish = resolve));
    this.whenOpen = new Promise((resolve) => {
      socket.onopen = () => {
        this.opened = true;
        this.#timers.push(setInterval(() => this.#watch(), 5_000));
        resolve(true);
      };
      this.whenClosed.then(() => resolve(false));
    });
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code }) => this.drop(code);
    this.#timers.push(setTimeout(() => this.opened || this.drop(), OPEN_WITHIN_MS));
  }

  get protocol() {
    return this.#socket.protocol;
  }

  /** Answers with the result, or throws MatrixError, or ConnectionLost if the socket closes first. */
  call(method, params, id = `c${++this.#serial}`) {
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.write({ id, method, params });
    });
  }

  write(frame) {
    if (this.#socket.readyState === 1) this.#socket.send(JSON.stringify(frame));
  }

  /** Ends at once. A dead peer never completes the closing handshake, so nobody waits for it. */
  drop(code = 1006) {
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
    if (socket.readyState < 2) socket.close(1000);
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    this.#finish(code);
    for (const { reject } of calls) reject(new ConnectionLost());
  }

  /** Asks for a sign of life. Judged by the answer, not by the silence: a hidden tab's timers run late. */
  probe() {
    if (!this.opened || this.#probedAt !== undefined) return;
    this.#probedAt = Date.now();
    this.call("ping", {}).catch(() => {});
  }

  #watch() {
    const now = Date.now();
    const patience = this.#calls.size > 0 ? ANSWER_WITHIN_MS : QUIET_MS;
    if (this.#probedAt === undefined && now - this.#heardAt > patience) this.probe();
    else if (now - this.#probedAt > ANSWER_WITHIN_MS) this.drop();
  }

  #receive(text) {
    this.#heardAt = Date.now();
    this.#probedAt = undefined;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.drop(4000);
    }
    if (frame.method === undefined) return this.#answer(frame);
    if (frame.method === "ping") return this.write({ id: frame.id });
    if (frame.method === "goodbye") this.retryAfterMs = frame.retry_after_ms;
    this.#onNotification(frame);
  }

  #answer({ id, result, error }) {
    const call = this.#calls.get(id);
    if (!call) {
      // `id` is null when the server could not even read our frame: a fault of this file.
      if (id === null && error) console.error("The server refused a frame", error);
      return;
    }
    this.#calls.delete(id);
    if (error) call.reject(new MatrixError(error));
    else call.resolve(result ?? {});
  }
}

/**
 * A session that stays in sync. Events: `state` ("online", "reconnecting", "offline" in `detail.state`, and
 * `detail.transport`), `reset` (forget all rooms: the position is unknown to the server, a full sync follows),
 * `replaced` (another connection took this session's place; `start()` takes it back), `goodbye`, `loggedout`.
 */
export class MeridianClient extends EventTarget {
  #base;
  #userId;
  #accessToken;
  #refreshToken;
  #since;
  #options;
  #onSync;
  #onTokens;

  #running = false;
  #connection;
  #ready = false;
  #transport = "none";
  #state = "offline";
  #batches = Promise.resolve();
  #outbox = new Map();
  #wake = () => {};
  #refreshing;
  #heartbeatAt = 0;
  #upgradeFailures = 0;
  #pollAbort;
  #txnPrefix;
  #txnSerial = 0;

  /**
   * `onSync(data)` gets each sync body in order and may be asynchronous: a batch is acknowledged once it returns.
   * `onTokens({ access_token, refresh_token })` is told of refreshed tokens. `auth` is "frame" or "ticket".
   */
  constructor({ base, userId, accessToken, refreshToken, since, onSync, onTokens, ...options }) {
    super();
    this.#base = base;
    this.#userId = userId;
    this.#accessToken = accessToken;
    this.#refreshToken = refreshToken;
    this.#since = since;
    this.#onSync = onSync;
    this.#onTokens = onTokens ?? (() => {});
    this.#options = { window: 2, auth: "frame", WebSocket: globalThis.WebSocket, ...options };
    const random = crypto.getRandomValues(new Uint32Array(2));
    this.#txnPrefix = `m${random[0].toString(36)}${random[1].toString(36)}`;
  }

  get state() {
    return this.#state;
  }

  get transport() {
    return this.#transport;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#run().catch((error) => console.error("The connection loop failed", error));
  }

  stop() {
    this.#running = false;
    this.#connection?.drop();
    this.#pollAbort?.abort();
    this.#wake();
    this.#setState("offline", "none");
  }

  /** The network is back, or the user is: try now what waits for its backoff, and trust no old socket. */
  nudge() {
    this.#wake();
    this.#connection?.probe();
  }

  /** A fresh transaction id. Keep it with the message: a retry under the same id cannot make a second event. */
  txnId() {
    return `${this.#txnPrefix}.${++this.#txnSerial}`;
  }

  // Durable requests: kept until answered, on whichever connection or transport the answer comes.

  send(roomId, eventType, content, id) {
    return this.#enqueue("send", { room_id: roomId, event_type: eventType, content }, roomId, id);
  }

  sendState(roomId, eventType, stateKey, content, id) {
    const params = { room_id: roomId, event_type: eventType, state_key: stateKey, content };
    return this.#enqueue("state", params, roomId, id);
  }

  redact(roomId, eventId, reason, id) {
    return this.#enqueue("redact", { room_id: roomId, event_id: eventId, reason }, roomId, id);
  }

  toDevice(eventType, messages, id) {
    return this.#enqueue("to_device", { event_type: eventType, messages }, "to_device", id);
  }

  receipt(roomId, eventId, type = "m.read") {
    const lane = `receipt ${roomId} ${type}`;
    for (const [id, entry] of this.#outbox) {
      // A receipt covers all before it, so one that still waits is not worth sending any more.
      if (entry.lane !== lane || entry.via) continue;
      this.#outbox.delete(id);
      entry.resolve({});
    }
    return this.#enqueue("receipt", { room_id: roomId, type, event_id: eventId }, lane);
  }

  // Fleeting requests: worth nothing later, so dropped while there is no connection.

  typing(roomId, typing, timeout = 20_000) {
    this.#fleeting("typing", { room_id: roomId, typing, ...(typing && { timeout }) });
  }

  /** Call on every sign of the user; at most one heartbeat a minute leaves. */
  userIsActive() {
    if (!this.#ready || Date.now() - this.#heartbeatAt < HEARTBEAT_MS) return;
    this.#heartbeatAt = Date.now();
    // A long-poll says the same by being open, so this has no HTTP form.
    this.#fleeting("presence", { active: true });
  }

  /** Any endpoint of the client-server API, with the session's token, its refresh and its rate limits. */
  async http(method, path, { query, body, signal } = {}) {
    for (let tries = 0; ; tries++) {
      try {
        const token = this.#accessToken;
        return await matrixFetch(this.#base, method, path, { token, query, body, signal });
      } catch (error) {
        const expired = error.errcode === "M_UNKNOWN_TOKEN" && error.status === 401;
        if (expired && tries === 0 && (await this.#renewTokens(error))) continue;
        if (expired) this.#loggedOut(error);
        if (error.errcode !== "M_LIMIT_EXCEEDED" || tries >= 3) throw error;
        await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs ?? 1000));
      }
    }
  }

  // The connection: socket after socket, with HTTP where no socket can be had.

  async #run() {
    let failures = 0;
    while (this.#running) {
      const end = await this.#runSocket();
      if (!this.#running || !(await this.#mayReturn(end))) return;
      // An upgrade that fails once more says nothing against the long-polls that work beside it.
      if (end.opened || this.#transport !== "http") this.#setDown();
      if (end.ready) failures = 0;
      if (!end.opened && (await this.#pollForAWhile())) {
        failures = 0;
        continue;
      }
      if (!this.#running) return;
      this.#setDown();
      // The server knows better than a formula when it will be back; the jitter is still ours to add.
      const told = end.retryAfterMs ?? (end.code === 4029 ? 5_000 : undefined);
      await this.#pause(told === undefined ? backoff(failures++) : told * (1 + Math.random() / 2));
    }
  }

  async #runSocket() {
    const end = { opened: false, ready: false, code: 1006, retryAfterMs: undefined };
    let connection;
    try {
      const socket = new this.#options.WebSocket(await this.#socketUrl(), [SUBPROTOCOL]);
      connection = new Connection(socket, (frame) => this.#notified(connection, frame));
    } catch (error) {
      end.code = closeCodeOf(error);
      return end;
    }
    this.#connection = connection;
    if (await connection.whenOpen) {
      end.opened = connection.protocol === SUBPROTOCOL;
      if (!end.opened) connection.drop();
      this.#greet(connection, end).catch((error) => connection.drop(closeCodeOf(error)));
    }
    end.code = await connection.whenClosed;
    end.retryAfterMs = connection.retryAfterMs;
    if (this.#connection === connection) this.#connection = undefined;
    this.#ready = false;
    this.#releaseUnanswered(connection, end.code);
    return end;
  }

  async #socketUrl() {
    const url = new URL(SOCKET_PATH, this.#base);
    if (this.#options.auth === "ticket") {
      const { ticket } = await this.http("POST", `${SOCKET_PATH}/ticket`, { body: {} });
      url.searchParams.set("ticket", ticket);
    }
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return url;
  }

  async #greet(connection, end) {
    if (this.#options.auth !== "ticket") {
      await connection.call("auth", { access_token: this.#accessToken });
    }
    // A batch still in hand moves the position, so it is finished before the position is named.
    await this.#batches;
    await this.#startSync(connection);
    end.ready = this.#ready = true;
    this.#upgradeFailures = 0;
    this.#setState("online", "websocket");
    this.#pump();
  }

  async #startSync(connection) {
    const { window, filter } = this.#options;
    const params = { mode: "v3", window, set_presence: "online" };
    if (filter !== undefined) params.filter = filter;
    if (this.#since !== undefined) params.since = this.#since;
    try {
      await connection.call("sync.start", params);
    } catch (error) {
      if (!this.#forgetPosition(error)) throw error;
      delete params.since;
      await connection.call("sync.start", params);
    }
  }

  /** The server does not know our position (it was restored from a backup, say): begin anew. */
  #forgetPosition(error) {
    const unknown = error.errcode === "M_UNKNOWN_POS" || error.errcode === "M_INVALID_PARAM";
    if (this.#since === undefined || !unknown) return false;
    this.#since = undefined;
    this.#emit("reset");
    return true;
  }

  /** Whether the loop goes on after this close code. */
  async #mayReturn({ code }) {
    switch (code) {
      case 4001:
        // Returning by itself would throw the other connection out, which would return in turn.
        this.stop();
        this.#emit("replaced");
        return false;
      case 4003:
      case 4004:
        this.#loggedOut({ softLogout: false });
        return false;
      case 4005:
        if (await this.#renewTokens({ softLogout: true })) return true;
        this.#loggedOut({ softLogout: true });
        return false;
      default:
        // 4008 (we were too slow), 4029, 1012 and a lost network alike: resume from the last position.
        return true;
    }
  }

  #notified(connection, frame) {
    if (frame.method === "sync") {
      this.#batches = this.#batches.then(() => this.#takeBatch(connection, frame));
    } else if (frame.method === "token_expiring") {
      this.#renewTokens({ softLogout: true });
    } else if (frame.method === "goodbye") {
      this.#emit("goodbye", { reason: frame.reason, retryAfterMs: frame.retry_after_ms });
    }
  }

  async #takeBatch(connection, { seq, data }) {
    // Unacknowledged batches of a closed socket come again; taking them here would take them twice.
    if (connection !== this.#connection) return;
    await this.#process(data);
    connection.write({ method: "sync.ack", params: { seq } });
  }

  async #process(data) {
    try {
      await this.#onSync(data);
    } catch (error) {
      // One batch that the application cannot digest must not stop all later ones.
      console.error("A sync batch could not be processed", error);
    }
    this.#since = data.next_batch;
  }

  /**
   * Sync by long-polling: the answer to a network that lets no WebSocket through. Returns false at once if
   * HTTP does not work either (the server is away), true when it is time to try the upgrade again.
   */
  async #pollForAWhile() {
    const patience = Math.min(MAX_UPGRADE_RETRY_MS, 30_000 * 2 ** this.#upgradeFailures);
    const until = Date.now() + patience;
    let worked = false;
    while (this.#running && (!worked || Date.now() < until)) {
      try {
        await this.#pollOnce(worked ? LONG_POLL_MS : 0);
      } catch (error) {
        if (this.#forgetPosition(error)) continue;
        return worked && error.name !== "ConnectionLost";
      }
      if (!worked) {
        worked = true;
        this.#upgradeFailures++;
        this.#setState("online", "http");
        this.#pump();
      }
    }
    return worked;
  }

  async #pollOnce(timeout) {
    const { filter } = this.#options;
    const query = {
      timeout,
      since: this.#since,
      filter: typeof filter === "object" ? JSON.stringify(filter) : filter,
      set_presence: "online",
    };
    this.#pollAbort = new AbortController();
    const { signal } = this.#pollAbort;
    await this.#process(await this.http("GET", `${CLIENT_API}/sync`, { query, signal }));
  }

  // The outbox.

  #enqueue(method, params, lane, id = this.txnId()) {
    const known = this.#outbox.get(id);
    if (known) return known.promise;
    const entry = { id, method, params, lane, via: undefined, notBefore: 0, refusals: 0 };
    const bytes = new TextEncoder().encode(JSON.stringify({ id, method, params })).length;
    if (bytes > MAX_FRAME_BYTES) {
      const error = "This is larger than an event may be";
      return Promise.reject(new MatrixError({ errcode: "M_TOO_LARGE", error }));
    }
    entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    this.#outbox.set(id, entry);
    this.#pump();
    return entry.promise;
  }

  /**
   * Sends what may be sent. The server works on requests of one connection side by side, so requests whose
   * order matters (all of one room: a lane) go one after the other.
   */
  #pump() {
    if (!this.#ready && this.#transport !== "http") return;
    const busyLanes = new Set();
    let inFlight = 0;
    for (const entry of this.#outbox.values()) if (entry.via) inFlight++;
    for (const entry of this.#outbox.values()) {
      const free = !entry.via && !busyLanes.has(entry.lane) && entry.notBefore <= Date.now();
      busyLanes.add(entry.lane);
      if (!free || inFlight >= MAX_IN_FLIGHT) continue;
      inFlight++;
      this.#dispatch(entry);
    }
  }

  async #dispatch(entry) {
    const { id, method, params } = entry;
    const via = this.#ready ? this.#connection : "http";
    entry.via = via;
    try {
      const result =
        via === "http"
          ? await this.#overHttp(method, params, id)
          : await via.call(method, params, id);
      this.#outbox.delete(id);
      entry.resolve(result);
    } catch (error) {
      this.#unanswered(entry, via, error);
    }
    this.#pump();
  }

  #unanswered(entry, via, error) {
    if (entry.via === via) entry.via = undefined;
    if (error.name === "ConnectionLost") {
      // Over a socket the loop notices and pumps again; over HTTP nobody would.
      if (via === "http") this.#pumpIn(entry, backoff(entry.refusals++));
    } else if (error.errcode === "M_LIMIT_EXCEEDED") {
      this.#pumpIn(entry, error.retryAfterMs ?? 1000);
    } else {
      this.#outbox.delete(entry.id);
      entry.reject(error);
    }
  }

  #pumpIn(entry, ms) {
    entry.notBefore = Date.now() + ms;
    setTimeout(() => this.#pump(), ms + 1);
  }

  /** What a closed socket left unanswered goes out again, under the same id, on the next one. */
  #releaseUnanswered(connection, code) {
    const refused = code === 1009 || code === 4000;
    for (const entry of this.#outbox.values()) {
      if (entry.via !== connection) continue;
      entry.via = undefined;
      // A request that keeps breaking the connection would break it for ever.
      if (refused && ++entry.refusals > 2) {
        this.#outbox.delete(entry.id);
        entry.reject(new MatrixError({ errcode: "M_UNKNOWN", error: `Closed with ${code}` }));
      }
    }
  }

  #fleeting(method, params) {
    if (this.#ready) this.#connection.call(method, params).catch(() => {});
    else if (this.#transport === "http") this.#overHttp(method, params).catch(() => {});
  }

  #overHttp(method, params, id) {
    const { verb, path, body } = httpForm(method, params, id, this.#userId);
    return this.http(verb, path, { body });
  }

  // The session.

  /** False if the session is over. True too if the server is away: then the next attempt will tell. */
  #renewTokens({ softLogout }) {
    if (!softLogout || !this.#refreshToken) return Promise.resolve(false);
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined));
    return this.#refreshing;
  }

  async #refresh() {
    let tokens;
    try {
      const body = { refresh_token: this.#refreshToken };
      tokens = await matrixFetch(this.#base, "POST", `${CLIENT_API}/refresh`, { body });
    } catch (error) {
      return error.name === "ConnectionLost" || error.status >= 500 || error.status === 429;
    }
    this.#accessToken = tokens.access_token;
    this.#refreshToken = tokens.refresh_token ?? this.#refreshToken;
    this.#onTokens({ access_token: this.#accessToken, refresh_token: this.#refreshToken });
    // The connection carries the old token, which ends; the new one is swapped in without a reconnect.
    if (this.#ready) {
      const connection = this.#connection;
      const params = { access_token: this.#accessToken };
      connection.call("auth", params).catch((error) => connection.drop(closeCodeOf(error)));
    }
    return true;
  }

  #loggedOut({ softLogout }) {
    if (!this.#running) return;
    this.stop();
    this.#emit("loggedout", { softLogout });
  }

  #setDown() {
    this.#setState(globalThis.navigator?.onLine === false ? "offline" : "reconnecting", "none");
  }

  #setState(state, transport) {
    if (state === this.#state && transport === this.#transport) return;
    this.#state = state;
    this.#transport = transport;
    this.#emit("state", { state, transport });
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** The close code that says the same as an error met while connecting. */
function closeCodeOf(error) {
  if (error.errcode === "M_UNKNOWN_TOKEN") return error.softLogout ? 4005 : 4004;
  if (error.errcode === "M_MISSING_TOKEN") return 4003;
  if (error.errcode === "M_LIMIT_EXCEEDED") return 4029;
  return 1006;
}
