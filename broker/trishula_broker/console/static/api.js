// The hub's HTTP API, and nothing of how things look. See docs/http-api.md.

const BASE = "api/v1";
const TOKEN = "trishula.token";
const NAME = "trishula.as";
const ANSWER_MS = 40000;  // the hub's own limits for a request are shorter
const SILENT_MS = 30000;  // a stream says something three times as often

// Neither is ever put into an address: those are logged and kept.
export const identity = {
  get token() { return sessionStorage.getItem(TOKEN) || ""; },
  get name() { return sessionStorage.getItem(NAME) || ""; },
  set(token, name) {
    sessionStorage.setItem(TOKEN, token);
    sessionStorage.setItem(NAME, name);
  },
  clear() {
    sessionStorage.removeItem(TOKEN);
    sessionStorage.removeItem(NAME);
  },
};

/** What is open to everybody: `keys`, whether the hub wants a token. */
export const hub = await fetch(new URL("console/hub.json", document.baseURI))
  .then((response) => response.json())
  .catch(() => ({ keys: true }));

/** What the hub refused, in its own words. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/** The hub cannot be reached. */
export class Unreachable extends Error {}

function request(method, path, query, body, signal) {
  const url = new URL(`${BASE}${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query || {}))
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  if (!identity.token && identity.name) url.searchParams.set("as", identity.name);
  const headers = { Accept: "application/json" };
  if (identity.token) headers.Authorization = `Bearer ${identity.token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return fetch(url, {
    method, headers,
    signal: signal || AbortSignal.timeout(ANSWER_MS),
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "omit", cache: "no-store", redirect: "error",
  }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Unreachable("The hub does not answer.");
  });
}

async function refusal(response) {
  let problem = {};
  try { problem = await response.json(); } catch { /* an answer of something in between */ }
  return new Refused(response.status, problem);
}

async function call(method, path, { query, body, signal } = {}) {
  const response = await request(method, path, query, body, signal);
  if (!response.ok) throw await refusal(response);
  return response.status === 204 ? null : response.json();
}

const part = encodeURIComponent;

export const get = (path, query, signal) => call("GET", path, { query, signal });

/** All pages of a list, `next` being the `after` of the following one; at most `most` entries. */
export async function all(path, field, query = {}, most = 5000) {
  const found = [];
  let after;
  do {
    const page = await get(path, { ...query, after });
    found.push(...page[field]);
    after = page.next;
  } while (after !== null && after !== undefined && found.length < most);
  return found;
}

export const agents = () => all("/agents", "agents");
export const nodes = () => get("/nodes");
export const series = () => get("/series");
export const health = (component) => get(component ? `/health/${part(component)}` : "/health");
export const mailbox = (agent) => get(`/mailboxes/${part(agent)}`);
export const history = (query) => get("/messages", query);
export const search = (query) => get("/search", query);
export const follow = (agent, id) => get(`/messages/${part(agent)}/${part(id)}`);
export const send = (message) => call("POST", "/messages", { body: message });
export const pause = (agent, reason) =>
  call("POST", `/agents/${part(agent)}/pause`, { body: { reason } });
export const resume = (agent) => call("POST", `/agents/${part(agent)}/resume`);
export const deadletters = (query) => all("/deadletters", "deadletters", query, 1000);
export const retry = (agent, seq) => call("POST", `/deadletters/${part(agent)}/${seq}/retry`);
export const drop = (agent, seq) => call("DELETE", `/deadletters/${part(agent)}/${seq}`);
export const tokens = () => all("/tokens", "tokens", {}, 1000);
export const revoke = (body) => call("POST", "/tokens/revoke", { body });
export const audit = (query) => get("/audit", query);

/**
 * What passes, as it happens: calls `heard(event, data)` until `signal` ends it, or the hub is
 * silent for longer than one that is there ever is.
 * Reads the server-sent events itself: an EventSource could not carry the token in a header.
 */
export async function live(query, heard, signal) {
  const over = new AbortController();
  signal.addEventListener("abort", () => over.abort(), { once: true });
  let timer = 0;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => over.abort(), SILENT_MS);
  };
  wait();
  try {
    const response = await request("GET", "/live", query, undefined, over.signal);
    if (!response.ok) throw await refusal(response);
    heard("open", null);
    await listen(response.body.pipeThrough(new TextDecoderStream()).getReader(), heard, wait);
  } finally { clearTimeout(timer); }
}

async function listen(reader, heard, alive) {
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const blocks = (rest + value).replace(/\r\n/g, "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      let event = "message";
      const data = [];
      for (const line of block.split("\n")) {
        if (line.startsWith("event:")) event = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
      }
      if (data.length) heard(event, JSON.parse(data.join("\n")));
    }
  }
}
