// What passes, as it happens, and a search in what has passed.

import * as api from "../api.js";
import { state } from "../live.js";
import {
  AgentLink, Badge, count, Empty, Failed, gist, html, Panel, Time, to, Type, useCell, useState,
} from "../parts.js";

const TYPES = ["COMMAND", "STATUS", "RESULT", "ERROR"];

function Outcome({ line }) {
  if (line.what === "accepted") return html`<${Badge} kind="off">accepted<//>`;
  const kind = line.outcome === "done" ? "good" : line.outcome === "dead" ? "bad" : "warn";
  return html`<${Badge} kind=${kind}>${line.outcome}<//>`;
}

/** Lines of traffic, the newest first. */
export function Lines({ lines }) {
  return html`<ol class="lines">${lines.map((line) => {
    const { envelope } = line;
    const side = line.what === "settled" ? line.agents[0] : envelope.from;
    return html`<li key=${line.key}>
      <${Time} ms=${line.at} />
      <${Type} type=${envelope.type} />
      <span class="route"><${AgentLink} name=${envelope.from} /> → <${AgentLink} name=${envelope.to || line.agents[0]} /></span>
      <${Outcome} line=${line} />
      <a class="gist" href=${to("messages", side === "hub" ? line.agents[0] || "hub" : side, envelope.id || "")}>${
        gist(envelope.payload) || envelope.id}</a>
    </li>`;
  })}</ol>`;
}

function matches(line, wanted) {
  const { envelope } = line;
  return (!wanted.type || envelope.type === wanted.type)
    && (!wanted.agent || envelope.from === wanted.agent || envelope.to === wanted.agent
      || line.agents.includes(wanted.agent))
    && (!wanted.text || JSON.stringify(envelope).toLowerCase().includes(wanted.text.toLowerCase()))
    && (wanted.settled || line.what === "accepted");
}

function Search() {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const said = Object.fromEntries(new FormData(event.target));
    setBusy(true);
    setError(null);
    try { setFound({ ...await api.search(said), since: said.since }); } catch (failure) { setError(failure); }
    setBusy(false);
  };
  return html`<${Panel} title="Search the archive" wide>
    <form class="row" role="search" onSubmit=${submit}>
      <label>Text <input name="text" type="search" /></label>
      <label>From <input name="from" /></label>
      <label>To <input name="to" /></label>
      <label>Type <select name="type"><option value="">any</option>${TYPES.map((type) => html`<option value=${type}>${type}</option>`)}</select></label>
      <label>Since, UTC <input name="since" placeholder="24 hours ago" title="2026-01-31T03:00" /></label>
      <label>Until, UTC <input name="until" placeholder="now" title="2026-01-31T04:00" /></label>
      <button class="main" disabled=${busy}>${busy ? "Searching…" : "Search"}</button>
    </form>
    <${Failed} error=${error} />
    ${found ? found.records.length ? html`<ol class="lines">${found.records.map((record) => html`<li key=${record.hash || record.id}>
        <time>${record.at}</time>
        <${Type} type=${record.type || "?"} />
        <span class="route"><${AgentLink} name=${record.from} /> → <${AgentLink} name=${record.to} /></span>
        <a class="gist" href=${to("messages", record.from, record.id)}>${gist(record.body && record.body.payload) || record.id}</a>
      </li>`)}</ol>${found.next ? html`<p class="faint">There are more: narrow it.</p>` : null}`
      : html`<${Empty}>Nothing was found${found.since ? "" : " in the last 24 hours; say since when for more"}.<//>` : null}
  <//>`;
}

export function Traffic() {
  const traffic = useCell(state.traffic);
  const missed = useCell(state.missed);
  const agents = useCell(state.agents);
  const [wanted, setWanted] = useState({ type: "", agent: "", text: "", settled: true });
  const [held, setHeld] = useState(null);
  const set = (name) => (event) => setWanted({
    ...wanted, [name]: event.target.type === "checkbox" ? event.target.checked : event.target.value,
  });
  const lines = (held || traffic).filter((line) => matches(line, wanted));
  return html`
    <h1>Traffic</h1>
    <${Panel} title="Live" wide aside=${html`<button onClick=${() => setHeld(held ? null : traffic)} aria-pressed=${Boolean(held)}>
        ${held ? "Go on" : "Hold still"}</button>`}>
      <div class="row">
        <label>Agent <input list="agents" value=${wanted.agent} onInput=${set("agent")} />
          <datalist id="agents">${agents ? [...agents.keys()].map((name) => html`<option value=${name} />`) : null}</datalist></label>
        <label>Type <select value=${wanted.type} onChange=${set("type")}>
          <option value="">any</option>${TYPES.map((type) => html`<option value=${type}>${type}</option>`)}</select></label>
        <label>Text <input type="search" value=${wanted.text} onInput=${set("text")} /></label>
        <label class="check"><input type="checkbox" checked=${wanted.settled} onChange=${set("settled")} /> also what is settled</label>
      </div>
      ${missed ? html`<p class="faint">${count(missed)} could not be shown: more passed than a page is told.</p>` : null}
      ${lines.length ? html`<${Lines} lines=${lines.slice(0, 200)} />`
        : html`<${Empty}>${traffic.length ? "Nothing fits." : "Nothing has passed since this page was opened."}<//>`}
    <//>
    <${Search} />`;
}
