// Records of the archive: who did what, when.

import * as api from "../api.js";
import { AgentLink, Empty, Failed, gist, html, Panel, useState } from "../parts.js";

const EVENTS = [
  "accepted", "delivered", "read", "done", "requeued",
  "rejected", "expired", "dead-lettered", "recalled", "dropped", "assigned", "unassigned", "retried",
  "registered", "left", "forgotten", "node-ended", "paused", "resumed", "introduced", "revoked",
  "folder-mode",
  "connected", "disconnected", "renewed", "refused", "operator", "pulse",
  "segment", "sealed", "removed", "gap", "rewound", "lost", "altered",
];

/** What the line does not say already. */
function particulars({ n, at, node, ns, event, by, agent, prev, hash, ...rest }) {
  return rest;
}

export function Audit() {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    const said = Object.fromEntries(new FormData(event.target));
    try { setFound({ ...await api.audit(said), since: said.since }); } catch (failure) { setError(failure); }
    setBusy(false);
  };
  return html`
    <h1>Audit</h1>
    <${Panel} title="Search the records" wide>
      <form class="row" role="search" onSubmit=${submit}>
        <label>Event <select name="event"><option value="">any</option>${EVENTS.map((event) => html`<option value=${event}>${event}</option>`)}</select></label>
        <label>Agent <input name="agent" /></label>
        <label>Text <input name="text" type="search" /></label>
        <label>Since, UTC <input name="since" placeholder="24 hours ago" title="2026-01-31T03:00" /></label>
        <label>Until, UTC <input name="until" placeholder="now" title="2026-01-31T04:00" /></label>
        <button class="main" disabled=${busy}>${busy ? "Searching…" : "Search"}</button>
      </form>
      <${Failed} error=${error} />
      ${found ? found.records.length ? html`<ol class="lines">${found.records.map((record, n) => html`<li key=${n}>
        <time>${record.at}</time> <span class="chip">${record.event}</span>
        <${AgentLink} name=${record.agent || record.from || record.by || ""} />
        <details class="gist"><summary>${gist(particulars(record), 140)}</summary><pre class="json" tabindex="0">${JSON.stringify(record, null, 2)}</pre></details>
      </li>`)}</ol>${found.next ? html`<p class="faint">There are more: narrow it.</p>` : null}` : html`<${Empty}>Nothing was found${found.since ? "" : " in the last 24 hours; say since when for more"}.<//>` : null}
      <p class="faint">Whether the archive was changed is found by <code>broker audit verify</code>, best on another machine.</p>
    <//>`;
}
