// All at a glance: is it well, how much passes, who is there, what wants attention.

import { Chart } from "../chart.js";
import { state } from "../live.js";
import { AgentLink, Badge, count, Empty, html, Panel, to, useCell } from "../parts.js";
import { Lines } from "./traffic.js";

const DEEP = 1000;

function Figure({ label, value, unit, href, kind }) {
  const body = html`<span class="value ${kind || ""}">${value}${unit ? html`<small> ${unit}</small>` : null}</span>
    <span class="label">${label}</span>`;
  return href ? html`<a class="figure" href=${href}>${body}</a>` : html`<div class="figure">${body}</div>`;
}

const newest = (values) => (values ? values.findLast((value) => value !== null) : undefined);

function Attention({ health, agents, dead, nodes }) {
  const found = [];
  if (health && health.status !== "ok")
    found.push(html`<li><${Badge} kind="bad">${health.status}<//> ${health.why || "see the nodes' health"}</li>`);
  for (const node of nodes ? nodes.nodes : [])
    if (!node.alive) found.push(html`<li><${Badge} kind="bad">node away<//> <a href="#/nodes">${node.node}</a></li>`);
  if (nodes && !nodes.nodes.some((node) => node.leads))
    found.push(html`<li><${Badge} kind="warn">no leader<//> nobody has the lease: expiry and dead letters wait</li>`);
  if (dead) found.push(html`<li><${Badge} kind="warn">dead letters<//> <a href="#/deadletters">${count(dead)} to look at</a></li>`);
  for (const agent of agents) {
    if (agent.paused)
      found.push(html`<li><${Badge} kind="warn">paused<//> <${AgentLink} name=${agent.id} /> ${agent.paused.reason}</li>`);
    else if (agent.unsettled >= DEEP)
      found.push(html`<li><${Badge} kind="warn">deep mailbox<//> <${AgentLink} name=${agent.id} />: ${count(agent.unsettled)} waiting</li>`);
  }
  return found.length ? html`<ul class="plainlist">${found}</ul>` : html`<${Empty}>Nothing. All is well.<//>`;
}

export function Overview({ theme }) {
  const known = useCell(state.agents);
  const health = useCell(state.health);
  const series = useCell(state.series);
  const dead = useCell(state.dead);
  const nodes = useCell(state.nodes);
  const traffic = useCell(state.traffic);
  const agents = known ? [...known.values()] : [];
  const online = agents.filter((agent) => agent.online).length;
  const waiting = agents.reduce((sum, agent) => sum + agent.unsettled, 0);
  const rate = series && newest(series.accepted);
  const p99 = series && newest(series.p99_ms);
  const times = series
    ? series.accepted.map((_, n) => (series.end - (series.accepted.length - 1 - n) * series.step_s * 1000) / 1000) : [];
  return html`
    <h1>Overview</h1>
    <div class="figures">
      <${Figure} label="agents online" value=${known ? count(online) : "–"} unit=${known ? `of ${count(agents.length)}` : ""} href="#/agents" />
      <${Figure} label="messages a second" value=${rate === undefined || rate === null ? "–" : count(Math.round(rate * 10) / 10)} />
      <${Figure} label="delivered within, 99 %" value=${p99 === undefined || p99 === null ? "–" : p99.toFixed(1)} unit="ms" kind=${p99 > 200 ? "bad" : p99 > 100 ? "warn" : ""} />
      <${Figure} label="waiting or unsettled" value=${known ? count(waiting) : "–"} />
      <${Figure} label="dead letters" value=${count(dead)} href="#/deadletters" kind=${dead ? "warn" : ""} />
      <${Figure} label="nodes alive" value=${nodes ? nodes.nodes.filter((node) => node.alive).length : "–"} unit=${nodes ? `of ${nodes.nodes.length}` : ""} href="#/nodes" />
    </div>
    <div class="grid">
      <${Panel} title="Messages a second, last hour">
        ${series ? html`<${Chart} title="Messages a second" unit="/s" theme=${theme} times=${times} lines=${[
          { label: "accepted", values: series.accepted, colour: "--blue" },
          { label: "delivered", values: series.delivered, colour: "--green" },
        ]} />` : html`<${Empty}>…<//>`}
      <//>
      <${Panel} title="From acceptance to delivery, last hour">
        ${series ? html`<${Chart} title="Delivery latency" unit="ms" theme=${theme} times=${times} lines=${[
          { label: "half", values: series.p50_ms, colour: "--blue" },
          { label: "99 %", values: series.p99_ms, colour: "--amber" },
        ]} />` : html`<${Empty}>…<//>`}
      <//>
      <${Panel} title="Wants attention"><${Attention} health=${health} agents=${agents} dead=${dead} nodes=${nodes} /><//>
      <${Panel} title="Passing now" aside=${html`<a href=${to("traffic")}>all</a>`}>
        ${traffic.length ? html`<${Lines} lines=${traffic.slice(0, 8)} />` : html`<${Empty}>Nothing has passed since this page was opened.<//>`}
      <//>
    </div>`;
}
