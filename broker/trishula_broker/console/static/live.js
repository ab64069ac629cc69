// What the page knows, kept current: one stream of events, and what is asked again in between.

import * as api from "./api.js";

const KEPT = 500;         // lines of traffic
const ASK_MS = 5000;      // what no event tells is asked so often
const DEAD_MS = 1000;
const AGAIN_MS = [500, 1000, 2000, 5000];

/** A value that views can watch. */
export class Cell {
  constructor(value) {
    this.value = value;
    this.watchers = new Set();
  }

  set(value) {
    this.value = value;
    for (const each of [...this.watchers]) each(value);
  }

  watch(watcher) {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }
}

export const state = {
  agents: new Cell(null),      // Map of name to agent
  nodes: new Cell(null),       // {nodes, node}
  health: new Cell(null),
  series: new Cell(null),
  dead: new Cell(null),        // how many dead letters the first pages hold
  traffic: new Cell([]),       // the newest first: {key, at, what, envelope, agents, outcome, node}
  missed: new Cell(0),
  link: new Cell("connecting"),  // connecting, live, away, refused
  trouble: new Cell(null),     // the error that ended it, when asking again does not help
};

let ending = null;
let counter = 0;
let redraw = 0;
let fresh = [];

function flush() {
  redraw = 0;
  if (!fresh.length) return;
  state.traffic.set([...fresh.reverse(), ...state.traffic.value].slice(0, KEPT));
  fresh = [];
}

function passed(what, told) {
  if (what === "missed") {
    state.missed.set(state.missed.value + told.missed);
    return;
  }
  // Given up, or the hub's own news of something that was.
  if (told.outcome === "rejected" || told.outcome === "dead" || told.envelope.from === "hub")
    askDead();
  fresh.push({
    key: ++counter,
    at: Date.now(),
    what,
    envelope: told.envelope,
    agents: told.agents || [],
    pool: told.pool || "",
    outcome: told.outcome || "",
    node: told.node || "",
  });
  if (fresh.length > KEPT) fresh.splice(0, fresh.length - KEPT);
  // At most a few times a second, however much passes; a hidden page draws nothing.
  if (!redraw) redraw = setTimeout(flush, 200);
}

const newest = new Map();  // of a cell, the number of the question whose answer it shows
let questions = 0;

/** Show an answer: unless a later question's has overtaken it, or nobody is signed in any more. */
async function show(cell, promise) {
  const mine = ++questions;
  const session = ending;
  try {
    const value = await promise;
    if (session !== ending || mine < (newest.get(cell) || 0)) return;
    newest.set(cell, mine);
    cell.set(value);
  } catch (error) { if (session === ending) failed(error); }
}

let asking = 0;

/** Ask for the agents soon; several reasons in a moment are one question. */
export function askAgents() {
  if (asking) return;
  asking = setTimeout(() => {
    asking = 0;
    // Without the passing names of commands that have ended.
    show(state.agents, api.agents().then((all) => new Map(all
      .filter((agent) => agent.online || !agent.ephemeral).map((agent) => [agent.id, agent]))));
  }, 150);
}

export const askNodes = () => show(state.nodes, api.nodes());

function askRest() {
  show(state.health, api.health());
  show(state.series, api.series());
}

let counting = 0;

/**
 * Count the dead letters soon. Who looks at them is in the audit, so only when there may be others,
 * and once a second however many die.
 */
export function askDead() {
  if (counting) return;
  counting = setTimeout(() => {
    counting = 0;
    show(state.dead, api.deadletters().then((letters) => letters.length));
  }, DEAD_MS);
}

function failed(error) {
  if (error.name === "AbortError") return;
  if (error instanceof api.Refused && (error.status === 401 || error.status === 403))
    state.trouble.set(error);
}

function heard(event, data) {
  if (event === "open") {
    state.link.set("live");
    askAgents();
    askNodes();
    askDead();
  } else if (event === "accepted" || event === "settled" || event === "missed") {
    passed(event, data);
  } else if (event !== "agents" && event !== "end") {
    askAgents();
  }
}

/** Begin; `stop()` ends it. */
export function start() {
  stop();
  const mine = ending = new AbortController();
  state.trouble.set(null);
  (async () => {
    let tries = 0;
    while (!mine.signal.aborted) {
      try {
        await api.live({ presence: true }, (event, data) => {
          tries = 0;
          heard(event, data);
        }, mine.signal);
      } catch (error) {
        failed(error);
      }
      if (mine.signal.aborted) return;
      state.link.set(state.trouble.value ? "refused" : "away");
      if (state.trouble.value) return;
      const wait = AGAIN_MS[Math.min(tries++, AGAIN_MS.length - 1)];
      await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random())));
    }
  })();
  const ask = () => {
    if (mine.signal.aborted) return;
    if (!document.hidden) {
      askRest();
      askNodes();
      askAgents();
    }
    setTimeout(ask, ASK_MS);
  };
  ask();
}

export function stop() {
  if (ending) ending.abort();
  ending = null;
  clearTimeout(counting);
  clearTimeout(asking);
  counting = asking = 0;
  fresh = [];
  for (const cell of [state.agents, state.nodes, state.health, state.series, state.dead])
    cell.set(null);
  state.traffic.set([]);
  state.missed.set(0);
  state.link.set("connecting");
}
