// The page: who is signed in, where one is, and the frame around the views.

import { render } from "./vendor/preact-htm.js";
import { health, hub, identity, Refused } from "./api.js";
import { start, state, stop } from "./live.js";
import {
  AgentLink, count, Failed, html, Time, useCell, useEffect, useRef, useState,
} from "./parts.js";
import { Agent, Agents } from "./views/agents.js";
import { Audit } from "./views/audit.js";
import { DeadLetters } from "./views/deadletters.js";
import { Message } from "./views/message.js";
import { Nodes } from "./views/nodes.js";
import { Overview } from "./views/overview.js";
import { Thread } from "./views/thread.js";
import { Tokens } from "./views/tokens.js";
import { Traffic } from "./views/traffic.js";

const PLACES = [
  ["", "Overview", Overview],
  ["agents", "Agents", Agents],
  ["traffic", "Traffic", Traffic],
  ["deadletters", "Dead letters", DeadLetters],
  ["nodes", "Nodes", Nodes],
  ["tokens", "Tokens", Tokens],
  ["audit", "Audit", Audit],
];
const DETAILS = {
  agents: (parts) => html`<${Agent} key=${parts[1]} name=${parts[1]} />`,
  threads: (parts) => html`<${Thread} key=${parts[2]} agent=${parts[1]} thread=${parts[2]} />`,
  messages: (parts) => html`<${Message} key=${parts[2]} agent=${parts[1]} id=${parts[2]} />`,
};
const THEME = "trishula.theme";
const NAMED = 20;  // agents without a folder

function useHash() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return hash.replace(/^#\/?/, "").split("/").map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
}

function useTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const [theme, setTheme] = useState(localStorage.getItem(THEME) || (dark.matches ? "dark" : "light"));
  useEffect(() => { document.documentElement.dataset.theme = theme; }, [theme]);
  return [theme, () => {
    const other = theme === "dark" ? "light" : "dark";
    localStorage.setItem(THEME, other);
    document.documentElement.dataset.theme = other;
    setTheme(other);
  }];
}

function SignIn({ entered, why }) {
  const [error, setError] = useState(why);
  const first = useRef(null);
  useEffect(() => first.current.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    const said = new FormData(event.target);
    identity.set((said.get("token") || "").trim(), (said.get("name") || "").trim());
    try {
      await health();  // which wants the role that all views want
      entered();
    } catch (failure) {
      identity.clear();
      setError(failure);
    }
  };
  return html`<main class="signin">
    <form onSubmit=${submit} class="panel">
      <h1><img src="console/icon.svg" alt="" width="36" height="36" /> trishula</h1>
      ${hub.keys
        ? html`<label for="token">Token of an operator or observer</label>
          <textarea id="token" name="token" rows="4" required autocomplete="off" spellcheck="false"
            ref=${first}></textarea>
          <p class="faint">On the hub's host: <code>broker token create you --role operator</code>.
            It is kept for this tab only.</p>`
        : html`<p>This hub has no keys: whoever is on its host may look and act.</p>
          <label for="name">Your name among the agents</label>
          <input id="name" name="name" value="console" required autocomplete="off" ref=${first}
            pattern="[a-z0-9]([a-z0-9_.\\-]){0,63}" title="lower-case letters, digits, - _ ." />`}
      <${Failed} error=${error} />
      <button class="main" type="submit">Sign in</button>
    </form>
  </main>`;
}

function Bar({ here, theme, turn, leave }) {
  const places = PLACES.filter(([place]) => place !== "tokens" || hub.keys);
  const link = useCell(state.link);
  const health = useCell(state.health);
  const dead = useCell(state.dead);
  const words = { live: "live", connecting: "connecting", away: "no hub answers", refused: "not allowed" };
  const light = link !== "live" ? "bad" : health && health.status !== "ok" ? "warn" : "good";
  return html`<header class="bar">
    <a class="brand" href="#/"><img src="console/icon.svg" alt="" width="24" height="24" /> trishula</a>
    <nav aria-label="Places">
      ${places.map(([place, title]) => html`<a href=${`#/${place}`}
        aria-current=${here === place ? "page" : null}>${title}${
          place === "deadletters" && dead ? html` <span class="pill">${count(dead)}</span>` : null}</a>`)}
    </nav>
    <div class="end">
      <span class="link" role="status"><span class="dot ${light}" aria-hidden="true"></span>${words[link]}</span>
      <button class="plain" onClick=${turn} aria-label=${`Use the ${theme === "dark" ? "light" : "dark"} colours`}>
        ${theme === "dark" ? "☀" : "☾"}</button>
      <button class="plain" onClick=${leave}>Sign out</button>
    </div>
  </header>`;
}

/** That all agents are ordered to their shared folder: whatever is looked at, this comes first. */
function FolderMode() {
  const nodes = useCell(state.nodes);
  const agents = useCell(state.agents);
  const order = nodes && nodes.folder_mode;
  const staying = agents ? [...agents.values()].filter((agent) => agent.online && !agent.folder) : [];
  // What is said aloud is what comes into an element that is there already.
  return html`<div aria-live="polite">${order ? html`<section class="ordered" aria-label="Folder mode">
    <p><strong>Folder mode: all agents are ordered to their shared folder</strong>, since <${Time} ms=${order.since} date />${order.reason ? html`: “${order.reason}”` : null}</p>
    <p>Who has a folder goes by files.${staying.length ? html` Still by hub:${
      staying.slice(0, NAMED).map((agent) => html` <${AgentLink} name=${agent.id} />`)}${
      staying.length > NAMED ? ` and ${count(staying.length - NAMED)} more` : null}.` : null} Who
      ordered it is in the <a href="#/audit">audit</a>, event <code>operator</code>; it ends
      with <code>broker folder-mode off</code>.</p>
  </section>` : null}</div>`;
}

function App() {
  const [inside, setInside] = useState(Boolean(identity.token || identity.name));
  const [theme, turn] = useTheme();
  const parts = useHash();
  const trouble = useCell(state.trouble);
  useEffect(() => {
    if (!inside) return undefined;
    start();
    return stop;
  }, [inside]);
  useEffect(() => {
    if (inside && trouble instanceof Refused && trouble.status === 401) {
      identity.clear();
      setInside(false);
    }
  }, [trouble]);
  useEffect(() => {
    const heading = document.querySelector("main h1");
    document.title = heading ? `${heading.textContent} · trishula` : "trishula";
    scrollTo(0, 0);
  }, [parts.join("/")]);
  if (!inside) return html`<${SignIn} entered=${() => setInside(true)} why=${trouble} />`;
  const leave = () => {
    identity.clear();
    setInside(false);
  };
  const place = PLACES.find(([name]) => name === parts[0]);
  const detail = parts.length > 1 && DETAILS[parts[0]];
  const here = parts[0] === "threads" || parts[0] === "messages" ? "traffic" : parts[0];
  return html`
    <a class="skip" href="#main" onClick=${(event) => {
      event.preventDefault();
      document.getElementById("main").focus();
    }}>To the content</a>
    <${Bar} here=${here} theme=${theme} turn=${turn} leave=${leave} />
    <main id="main" tabindex="-1">
      <${FolderMode} />
      ${trouble ? html`<${Failed} error=${trouble} />` : null}
      ${detail ? detail(parts) : place ? html`<${place[2]} theme=${theme} />`
        : html`<h1>Nothing here</h1><p><a href="#/">To the overview</a></p>`}
    </main>`;
}

render(html`<${App} />`, document.getElementById("app"));
