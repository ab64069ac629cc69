// Who there is; and one agent: what it does, what waits for it, what it said.

import * as api from "../api.js";
import { askAgents, state } from "../live.js";
import {
  ago, AgentLink, count, Empty, Failed, gist, html, Json, Online, Panel, Sure, Table, Time, to, Type,
  useAnswer, useCell, useEffect, useSecond, useState,
} from "../parts.js";

const says = (agent) => {
  const { status } = agent;
  if (status === null || status === undefined) return "";
  return typeof status === "object" && status.text ? status.text : gist(status, 80);
};

export function Agents() {
  const agents = useCell(state.agents);
  const [wanted, setWanted] = useState("");
  const [only, setOnly] = useState(false);
  useSecond();
  if (!agents) return html`<h1>Agents</h1><${Empty}>…<//>`;
  const rows = [...agents.values()].filter((agent) => (!only || agent.online)
    && (!wanted || [agent.id, ...agent.capabilities.map((c) => `@${c}`), ...agent.groups.map((g) => `#${g}`)]
      .some((word) => word.includes(wanted))));
  return html`
    <h1>Agents</h1>
    <${Panel} title="${count(rows.length)} of ${count(agents.size)}" wide>
      <div class="row">
        <label>Name, @capability or #group <input type="search" value=${wanted} onInput=${(event) => setWanted(event.target.value)} /></label>
        <label class="check"><input type="checkbox" checked=${only} onChange=${(event) => setOnly(event.target.checked)} /> online only</label>
      </div>
      ${rows.length ? html`<${Table} label="Agents" name=${(agent) => agent.id} rows=${rows.slice(0, 500)} columns=${[
        ["Agent", (agent) => html`<${AgentLink} name=${agent.id} />`],
        ["State", (agent) => html`<${Online} agent=${agent} />`],
        ["For", (agent) => ago(agent.since), "number"],
        ["Says", says, "grow"],
        ["Node", (agent) => agent.node],
        ["Unsettled", (agent) => count(agent.unsettled), "number"],
        ["Offers", (agent) => [...agent.capabilities.map((c) => `@${c}`), ...agent.groups.map((g) => `#${g}`)].join(" ")],
      ]} />` : html`<${Empty}>${agents.size ? "None fits." : "No agent has registered yet."}<//>`}
      ${rows.length > 500 ? html`<p class="faint">The first 500; narrow it.</p>` : null}
    <//>`;
}

function Send({ name }) {
  const [answer, setAnswer] = useState(null);
  const [error, setError] = useState(null);
  const [sent, setSent] = useState(null);
  useEffect(() => {
    if (!sent || answer) return undefined;
    // The answer passes like any other message; the stream has it as soon as the hub does.
    const look = (lines) => {
      const found = lines.find((line) => line.what === "accepted" && line.envelope.reply_to === sent.id
        && (line.envelope.type === "RESULT" || line.envelope.type === "ERROR"));
      if (found) setAnswer(found.envelope);
    };
    look(state.traffic.value);
    return state.traffic.watch(look);
  }, [sent, answer]);
  const submit = async (event) => {
    event.preventDefault();
    const said = new FormData(event.target);
    setAnswer(null);
    setError(null);
    setSent(null);
    let payload;
    try { payload = JSON.parse(said.get("payload") || "null"); } catch (failure) {
      setError(new Error(`Payload: not JSON (${failure.message})`));
      return;
    }
    const message = { type: said.get("type"), to: name, payload, priority: Number(said.get("priority")) };
    if (!api.identity.token) message.from = api.identity.name;
    try { setSent(await api.send(message)); } catch (failure) { setError(failure); }
  };
  return html`<${Panel} title="Send to ${name}">
    <form onSubmit=${submit}>
      <div class="row">
        <label>Type <select name="type"><option value="COMMAND">COMMAND</option><option value="STATUS">STATUS</option></select></label>
        <label>Priority <select name="priority">${[1, 2, 3, 4, 5].map((n) => html`<option value=${n} selected=${n === 3}>${n}</option>`)}</select></label>
      </div>
      <label>Payload, JSON <textarea name="payload" rows="4" spellcheck="false">{"text": ""}</textarea></label>
      <button class="main">Send</button>
    </form>
    <${Failed} error=${error} />
    <div aria-live="polite">
      ${sent ? html`<p>Stored as <a href=${to("messages", sent.from, sent.id)}>${sent.id}</a>.</p>` : null}
      ${answer ? html`<h3><${Type} type=${answer.type} /> from ${answer.from}</h3><${Json} value=${answer.payload} />` : null}
    </div>
  <//>`;
}

function Mailbox({ name, agent }) {
  const { value, error } = useAnswer(() => api.mailbox(name), [name, agent && agent.unsettled]);
  return html`<${Panel} title="Mailbox">
    <${Failed} error=${error} />
    ${value ? html`
      <p>${count(value.count)} waiting or unsettled, ${count(value.bytes)} bytes${value.oldest ? html`; the oldest since ${ago(value.oldest)}` : null}.
        ${Object.entries(value.by_priority).filter(([, n]) => n).map(([priority, n]) => html` <span class="chip">priority ${priority}: ${count(n)}</span>`)}</p>
      ${value.heads.length ? html`<ol class="lines">${value.heads.map((head) => html`<li key=${head.seq}>
        <span class="number">${head.seq}</span><${Type} type=${head.type} />
        <span class="route">from <${AgentLink} name=${head.from} /></span>
        <a class="gist" href=${to("messages", name, head.id)}>${gist(head.payload) || head.id}</a></li>`)}</ol>` : null}` : null}
  <//>`;
}

function History({ name }) {
  const traffic = useCell(state.traffic);
  const newest = traffic.find((line) => line.what === "accepted"
    && (line.envelope.from === name || line.agents.includes(name)));
  const { value, error } = useAnswer(() => api.all("/messages", "messages", { agent: name }, 2000), [name, newest && newest.key]);
  const lines = value ? value.slice(-100).reverse() : [];
  return html`<${Panel} title="Its messages" wide>
    <${Failed} error=${error} />
    ${lines.length ? html`<ol class="lines">${lines.map((message) => html`<li key=${message.seq}>
      <${Time} ms=${message.accepted_at} date />
      <${Type} type=${message.type} />
      <span class="route"><${AgentLink} name=${message.from} /> → <${AgentLink} name=${message.to} /></span>
      <a class="gist" href=${to("messages", name, message.id)}>${gist(message.payload) || message.id}</a>
      <a href=${to("threads", name, message.thread)}>thread</a>
    </li>`)}</ol>` : value ? html`<${Empty}>None in the log.<//>` : null}
  <//>`;
}

export function Agent({ name }) {
  const agents = useCell(state.agents);
  const [asked, setAsked] = useState("");
  useSecond();
  const agent = agents && agents.get(name);
  if (agents && !agent)
    return html`<h1>${name}</h1><${Empty}>The hub knows no agent of this name.<//>`;
  const close = () => setAsked("");
  return html`
    <h1>${name}</h1>
    ${agent ? html`<p class="summary"><${Online} agent=${agent} />${agent.paused
      ? agent.paused.reason ? html`: ${agent.paused.reason}` : null : html` for ${ago(agent.since)}`}${agent.online ? html` on node ${agent.node}` : null}
      ${agent.capabilities.map((each) => html` <span class="chip">@${each}</span>`)}
      ${agent.groups.map((each) => html` <span class="chip">#${each}</span>`)}
      ${says(agent) ? html` “${says(agent)}”` : null}
      <span class="buttons">
        ${agent.paused ? html`<button onClick=${() => setAsked("resume")}>Resume…</button>`
          : html`<button onClick=${() => setAsked("pause")}>Pause…</button>`}
        ${api.hub.keys ? html`<button class="danger" onClick=${() => setAsked("revoke")}>Revoke its tokens…</button>` : null}
      </span></p>` : null}
    <div class="grid">
      <${Send} name=${name} />
      <${Mailbox} name=${name} agent=${agent} />
      <${History} name=${name} />
    </div>
    <${Sure} open=${asked === "pause"} title="Pause ${name}?" action="Pause" close=${close}
      act=${async (said) => { await api.pause(name, said.get("reason")); askAgents(); }}>
      <p>It is handed no more mail, on any hub, until it is resumed. Its mailbox goes on filling.</p>
      <label>Why <input name="reason" maxlength="1024" /></label><//>
    <${Sure} open=${asked === "resume"} title="Resume ${name}?" action="Resume" close=${close}
      act=${async () => { await api.resume(name); askAgents(); }}>
      <p>It is handed its mail again.</p><//>
    <${Sure} open=${asked === "revoke"} title="Revoke all tokens of ${name}?" action="Revoke" danger close=${close}
      act=${async () => { await api.revoke({ agent: name }); askAgents(); }}>
      <p>Every token it was given until now counts no more; its sessions end within seconds. It needs a new token to come back.</p><//>`;
}
