// A thread as a conversation.

import * as api from "../api.js";
import { state } from "../live.js";
import { AgentLink, Empty, Failed, html, Json, Time, to, Type, useAnswer, useCell } from "../parts.js";

const COLOURS = 6;

export function Thread({ agent, thread }) {
  const traffic = useCell(state.traffic);
  const newest = traffic.find((line) => line.what === "accepted" && line.envelope.thread === thread);
  const { value, error } = useAnswer(() => api.all("/messages", "messages", { agent, thread }, 1000), [agent, thread, newest && newest.key]);
  const speakers = value ? [...new Set(value.map((message) => message.from))] : [];
  return html`
    <h1>Thread</h1>
    <p class="id"><code>${thread}</code></p>
    <${Failed} error=${error} />
    ${value && !value.length ? html`<${Empty}>Nothing of it is in the log, or ${agent} took no part in it.<//>` : null}
    <ol class="talk">${(value || []).map((message) => html`<li key=${message.seq}
        class="speaker${speakers.indexOf(message.from) % COLOURS} ${speakers.indexOf(message.from) % 2 ? "right" : ""}">
      <header><strong><${AgentLink} name=${message.from} /></strong> → <${AgentLink} name=${message.to} />
        <${Type} type=${message.type} /> <${Time} ms=${message.accepted_at} date />
        <a href=${to("messages", agent, message.id)}>its life</a></header>
      ${message.trimmed ? html`<${Empty}>The log keeps it no longer.<//>` : html`<${Json} value=${message.payload === undefined ? null : message.payload} />`}
    </li>`)}</ol>`;
}
