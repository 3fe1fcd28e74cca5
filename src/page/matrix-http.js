// The HTTP side of the reference client: one request of the client-server API, the errors of both transports,
// and what a request of the WebSocket is when it has to go over HTTP.

export const CLIENT_API = "/_matrix/client/v3";

const encode = encodeURIComponent;

/** What each durable or fleeting request is over HTTP. The id is the transaction id on both sides. */
const HTTP_FORM = {
  send: (p, id) => [
    "PUT",
    `/rooms/${encode(p.room_id)}/send/${encode(p.event_type)}/${encode(id)}`,
    p.content,
  ],
  state: (p) => [
    "PUT",
    `/rooms/${encode(p.room_id)}/state/${encode(p.event_type)}/${encode(p.state_key)}`,
    p.content,
  ],
  redact: (p, id) => [
    "PUT",
    `/rooms/${encode(p.room_id)}/redact/${encode(p.event_id)}/${encode(id)}`,
    p.reason === undefined ? {} : { reason: p.reason },
  ],
  to_device: (p, id) => [
    "PUT",
    `/sendToDevice/${encode(p.event_type)}/${encode(id)}`,
    { messages: p.messages },
  ],
  receipt: (p) => [
    "POST",
    `/rooms/${encode(p.room_id)}/receipt/${encode(p.type)}/${encode(p.event_id)}`,
    p.thread_id === undefined ? {} : { thread_id: p.thread_id },
  ],
  read_markers: ({ room_id, ...markers }) => [
    "POST",
    `/rooms/${encode(room_id)}/read_markers`,
    markers,
  ],
  typing: ({ room_id, ...body }, _id, userId) => [
    "PUT",
    `/rooms/${encode(room_id)}/typing/${encode(userId)}`,
    body,
  ],
};

/** An error that the server gave, over either transport. `status` is 0 when it came in a frame. */
export class MatrixError extends Error {
  constructor(body, status = 0) {
    super(body?.error || body?.errcode || `HTTP ${status}`);
    this.name = "MatrixError";
    this.status = status;
    this.errcode = body?.errcode ?? "M_UNKNOWN";
    this.retryAfterMs = body?.retry_after_ms;
    this.softLogout = body?.soft_logout === true;
    this.body = body ?? {};
  }
}

/** No answer came: the server is away, or the network is. */
export class ConnectionLost extends Error {
  constructor(message = "The server could not be reached") {
    super(message);
    this.name = "ConnectionLost";
  }
}

/** One request of the HTTP API. */
export async function matrixFetch(base, method, path, { token, query = {}, body, signal } = {}) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  let text;
  try {
    response = await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
    });
    text = await response.text();
  } catch (error) {
    throw new ConnectionLost(error.message);
  }
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  if (!response.ok) throw new MatrixError(json, response.status);
  // A proxy's own page with status 200 is not an answer of the homeserver.
  if (json === undefined) throw new ConnectionLost("The answer was not JSON");
  return json;
}

/** The verb, path and body of a WebSocket request sent over HTTP instead. */
export function httpForm(method, params, id, userId) {
  const [verb, path, body] = HTTP_FORM[method](params, id, userId);
  return { verb, path: CLIENT_API + path, body };
}
