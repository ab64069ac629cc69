// One message's life: when it was accepted, and what became of each copy, with times.

import * as api from "../api.js";
import { state } from "../live.js";
import { AgentLink, Badge, Empty, Failed, html, Json, Panel, Time, to, Type, useAnswer, useCell } from "../parts.js";

const KINDS = { done: "good", waiting: "off", delivered: "off", read: "off", delayed: "warn" };

function Step({ label, ms, since }) {
  return html`<li class=${ms ? "" : "faint"}><span class="what">${label}</span>
    <${Time} ms=${ms} millis />${ms && since !== undefined && ms >= since ? html` <span class="faint">+${ms - since} ms</span>` : null}</li>`;
}

function Copy({ copy, accepted }) {
  return html`<section class="copy">
    <h3><${AgentLink} name=${copy.agent} /> <${Badge} kind=${KINDS[copy.stage] || "bad"}>${copy.stage}<//></h3>
    <ol class="steps">
      <${Step} label="accepted" ms=${accepted} />
      <${Step} label="delivered" ms=${copy.delivered_at} since=${accepted} />
      <${Step} label="read" ms=${copy.read_at} since=${accepted} />
      <${Step} label=${copy.outcome || "settled"} ms=${copy.settled_at} since=${accepted} />
    </ol>
    ${copy.attempts ? html`<p>Attempts that failed: ${copy.attempts}</p>` : null}
    ${copy.waits_for ? html`<p>Waits for ${copy.waits_for}.</p>` : null}
    ${copy.reason ? html`<p>Reason: ${copy.reason}</p>` : null}
  </section>`;
}

export function Message({ agent, id }) {
  const traffic = useCell(state.traffic);
  const about = traffic.find((line) => line.envelope.id === id || line.envelope.reply_to === id);
  const life = useAnswer(() => api.follow(agent, id), [agent, id, about && about.key]);
  const thread = life.value && life.value.messages[0] && life.value.messages[0].thread;
  const body = useAnswer(async () => {
    if (!thread) return null;
    const page = await api.history({ agent, thread });
    return page.messages.filter((each) => each.id === id);
  }, [agent, id, thread]);
  return html`
    <h1>Message</h1>
    <p class="id"><code>${id}</code></p>
    <${Failed} error=${life.error} />
    ${life.value ? life.value.messages.map((message) => {
      const full = body.value && body.value.find((each) => each.seq === message.seq);
      return html`<div class="grid" key=${message.seq}>
        <${Panel} title="What" aside=${html`<a href=${to("threads", agent, message.thread)}>its thread</a>`}>
          <dl>
            <dt>Type</dt><dd><${Type} type=${message.type} /></dd>
            <dt>From</dt><dd><${AgentLink} name=${message.from} /></dd>
            <dt>To</dt><dd><${AgentLink} name=${message.to} /></dd>
            <dt>Accepted</dt><dd><${Time} ms=${message.accepted_at} date /></dd>
            <dt>Seq</dt><dd>${message.seq}</dd>
            <dt>Priority</dt><dd>${message.priority || 3}</dd>
            ${message.reply_to ? html`<dt>Answers</dt><dd><a href=${to("messages", agent, message.reply_to)}>${message.reply_to}</a></dd>` : null}
          </dl>
          <h3>Payload</h3>
          ${full ? full.trimmed ? html`<${Empty}>The log keeps it no longer; the archive may.<//>` : html`<${Json} value=${full.payload === undefined ? null : full.payload} />` : html`<${Empty}>…<//>`}
        <//>
        <${Panel} title="Its life">
          ${message.copies.length ? message.copies.map((copy) => html`<${Copy} key=${copy.agent} copy=${copy} accepted=${message.accepted_at} />`)
            : html`<${Empty}>Nobody has a copy yet: it waits for an agent that offers ${message.to}.<//>`}
        <//>
      </div>`;
    }) : null}`;
}
