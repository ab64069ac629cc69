// What was given up: why, what it was, and another chance for it.

import * as api from "../api.js";
import { askDead, state } from "../live.js";
import { AgentLink, Badge, count, Empty, Failed, html, Json, Panel, Sure, Time, to, Type, useAnswer, useCell, useState } from "../parts.js";

export function DeadLetters() {
  const dead = useCell(state.dead);
  const { value, error, again } = useAnswer(() => api.deadletters(), [dead]);
  const [asked, setAsked] = useState(null);
  const [said, setSaid] = useState("");
  const done = (text) => {
    setSaid(text);
    again();
    askDead();
  };
  return html`
    <h1>Dead letters</h1>
    <${Failed} error=${error} />
    <p aria-live="polite" class="said">${said}</p>
    ${value && !value.length ? html`<${Empty}>None. Whatever is rejected for good, expires after it was tried, or fails five times comes here.<//>` : null}
    ${value ? value.map((letter) => html`<${Panel} key=${`${letter.agent} ${letter.message.seq}`} wide
      title=${html`<${AgentLink} name=${letter.agent} /> <${Badge} kind="bad">${letter.outcome}<//>`}
      aside=${html`<button onClick=${() => setAsked({ act: "retry", letter })}>Retry…</button>
        <button class="danger" onClick=${() => setAsked({ act: "drop", letter })}>Drop…</button>`}>
      <p><${Type} type=${letter.message.type} /> from <${AgentLink} name=${letter.message.from} />, given up <${Time} ms=${letter.settled_at} date />
        ${letter.attempts ? html` after ${count(letter.attempts)} attempts` : null}${letter.reason ? html`: <strong>${letter.reason}</strong>` : null}.
        <a href=${to("messages", letter.agent, letter.message.id)}>its life</a></p>
      <details><summary>Payload</summary><${Json} value=${letter.message.payload === undefined ? null : letter.message.payload} /></details>
    <//>`) : null}
    <${Sure} open=${asked && asked.act === "retry"} title="Try it again?" action="Retry" close=${() => setAsked(null)}
      act=${async () => { await api.retry(asked.letter.agent, asked.letter.message.seq); done(`It waits in the mailbox of ${asked.letter.agent} again.`); }}>
      <p>It goes back into the mailbox of ${asked && asked.letter.agent}, its attempts forgotten.</p><//>
    <${Sure} open=${asked && asked.act === "drop"} title="Drop it?" action="Drop" danger close=${() => setAsked(null)}
      act=${async () => { await api.drop(asked.letter.agent, asked.letter.message.seq); done("It was dropped; the log keeps it for its time."); }}>
      <p>Nobody will be handed it any more. The log and the archive keep it for their time.</p><//>`;
}
