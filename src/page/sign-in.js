// Before there is a session: whether the region is up, signing up and logging in.

import { CLIENT_API, MatrixError, matrixFetch } from "./matrix-http.js";
import { byId, el } from "./dom.js";

const DEVICE = { initial_device_display_name: "Meridian page", refresh_token: true };
const LOOK_AGAIN_MS = 3_000;
/** The stages of user-interactive authentication that this page can pass. */
const STAGES = ["m.login.dummy", "m.login.terms", "m.login.registration_token"];

const WORDS = {
  M_USER_IN_USE: "That user name is taken.",
  M_INVALID_USERNAME: "A user name may have small letters, digits and the signs . _ = - / +",
  M_USER_DEACTIVATED: "That account has been deactivated.",
  M_LIMIT_EXCEEDED: "Too many attempts. Wait a moment and try again.",
};

/** Shows the form until `onSession` has been given a session. */
export function welcome(base, onSession, notice = "") {
  const done = new AbortController();
  const { signal } = done;
  const finish = (session) => {
    done.abort();
    byId("password").value = "";
    onSession(session);
  };
  byId("welcome").hidden = false;
  byId("sign-in-error").textContent = notice;
  watchRegion(base, signal);
  const registration = {};
  byId("sign-in").addEventListener(
    "submit",
    (event) => {
      event.preventDefault();
      const words = { ...WORDS, M_FORBIDDEN: "The user name or the password is wrong." };
      attempt(() => logIn(base), finish, words);
    },
    { signal },
  );
  byId("register").addEventListener(
    "click",
    () => {
      if (byId("sign-in").reportValidity()) attempt(() => signUp(base, registration), finish, WORDS);
    },
    { signal },
  );
}

async function watchRegion(base, signal) {
  const line = byId("region");
  while (!signal.aborted) {
    try {
      const answer = await matrixFetch(base, "GET", "/_matrix/client/versions", { signal });
      line.textContent = describeRegion(base, answer);
      line.dataset.up = "yes";
      return;
    } catch {
      if (signal.aborted) return;
      line.textContent = "The region does not answer. Looking again…";
      line.dataset.up = "no";
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}

function describeRegion(base, { versions = [], unstable_features = {}, ...rest }) {
  const name = rest["im.meridian.server_name"] ?? new URL(base).host;
  const known = versions.filter((version) => version.startsWith("v"));
  const range = known.length > 1 ? `${known[0]} to ${known.at(-1)}` : (known[0] ?? "");
  const parts = [`${name} is up`, `Matrix ${range}`.trim()];
  if (unstable_features["im.meridian.ws"]) parts.push("WebSocket");
  return parts.join(" · ");
}

async function attempt(act, finish, words) {
  const buttons = byId("sign-in").querySelectorAll("button");
  byId("sign-in-error").textContent = "";
  for (const button of buttons) button.disabled = true;
  try {
    finish(await act());
  } catch (error) {
    byId("sign-in-error").textContent = words[error.errcode] ?? error.message;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

function logIn(base) {
  const body = {
    type: "m.login.password",
    identifier: { type: "m.id.user", user: byId("username").value.trim() },
    password: byId("password").value,
    ...DEVICE,
  };
  return matrixFetch(base, "POST", `${CLIENT_API}/login`, { body });
}

/** `seen` remembers, from one press of the button to the next, the terms that were put before the user. */
async function signUp(base, seen) {
  const username = byId("username").value.trim().replace(/^@/, "").split(":")[0];
  const body = { username, password: byId("password").value, ...DEVICE };
  let challenge = await register(base, body);
  for (let steps = 0; challenge.flows && steps < 2 * STAGES.length; steps++) {
    const auth = answerStage(challenge, seen);
    challenge = await register(base, { ...body, auth: { ...auth, session: challenge.session } });
  }
  if (challenge.flows) throw new Error("The server did not accept the sign-up.");
  return challenge;
}

/** The session, or the 401 that asks for the next stage. */
async function register(base, body) {
  try {
    return await matrixFetch(base, "POST", `${CLIENT_API}/register`, { body });
  } catch (error) {
    if (error.status !== 401 || !error.body.flows) throw error;
    // With an errcode this 401 says that the last stage failed, not which is next.
    if (error.body.errcode) throw error;
    return error.body;
  }
}

function answerStage({ flows, completed = [], params = {} }, seen) {
  const flow = flows.find(({ stages }) => stages.every((stage) => STAGES.includes(stage)));
  if (!flow) throw new Error("Sign-up on this server needs a step that this page does not know.");
  const type = flow.stages.find((stage) => !completed.includes(stage));
  if (type === "m.login.registration_token") return { type, token: askForToken() };
  if (type === "m.login.terms") showTerms(params[type]?.policies ?? {}, seen);
  return { type };
}

function askForToken() {
  const token = byId("registration-token").value.trim();
  if (token) return token;
  byId("token-row").hidden = false;
  byId("registration-token").focus();
  throw new MatrixError({ error: "This server asks for a registration token." });
}

function showTerms(policies, seen) {
  if (seen.terms) return;
  seen.terms = true;
  const links = Object.values(policies).map((policy) => {
    const { name, url } = policy.en ?? Object.values(policy).find((value) => value?.url) ?? {};
    const safe = /^https?:/i.test(url ?? "");
    return el("a", { href: safe && url, target: "_blank", rel: "noopener noreferrer" }, name ?? "Terms");
  });
  byId("terms").replaceChildren("Please read: ", ...links.flatMap((link) => [link, " "]));
  byId("terms").hidden = false;
  throw new MatrixError({ error: "Signing up means agreeing to these terms. Press again to agree." });
}
