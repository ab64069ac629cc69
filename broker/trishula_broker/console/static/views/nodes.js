// The hubs: which are alive, which leads, how each part of this one is.

import * as api from "../api.js";
import { state } from "../live.js";
import { ago, Badge, count, Empty, Failed, html, Json, Panel, Table, useAnswer, useCell, useSecond } from "../parts.js";

const COMPONENTS = ["store", "redis", "audit", "disk", "websocket"];
const KINDS = { ok: "good", degraded: "bad", off: "off" };

function Component({ name, turn }) {
  const { value, error } = useAnswer(() => api.health(name), [name, turn]);
  return html`<section class="copy"><h3>${name} ${value ? html`<${Badge} kind=${KINDS[value.status] || "warn"}>${value.status}<//>` : null}</h3>
    <${Failed} error=${error} />
    ${value && value.why ? html`<p>${value.why}</p>` : null}
    ${value ? html`<details><summary>Particulars</summary><${Json} value=${value.details} /></details>` : null}</section>`;
}

export function Nodes() {
  const known = useCell(state.nodes);
  const health = useCell(state.health);
  useSecond();
  return html`
    <h1>Nodes</h1>
    <${Panel} title="Hubs of this namespace" wide>
      ${known ? html`<${Table} label="Nodes" name=${(node) => node.node} rows=${known.nodes} columns=${[
        ["Node", (node) => html`${node.node}${node.node === known.node ? html` <span class="faint">(answers this page)</span>` : null}`],
        ["Role", (node) => node.role],
        ["State", (node) => html`<${Badge} kind=${node.alive ? "good" : "bad"}>${node.alive ? "alive" : "away"}<//>`],
        ["Lease", (node) => node.leads ? html`<${Badge} kind="good">leads<//>` : ""],
        ["Agents", (node) => count(node.agents), "number"],
        ["Up for", (node) => ago(node.since), "number"],
        ["Last beat", (node) => `${ago(node.beat_at)} ago`, "number"],
        ["Address", (node) => node.address],
      ]} />` : html`<${Empty}>…<//>`}
    <//>
    <${Panel} title="Parts of ${known ? known.node : "this hub"}" wide>
      <div class="copies">${COMPONENTS.map((name) => html`<${Component} key=${name} name=${name} turn=${health} />`)}</div>
    <//>`;
}
