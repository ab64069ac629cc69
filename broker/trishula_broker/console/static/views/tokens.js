// Who was given a token, for what, until when; and taking one back.

import * as api from "../api.js";
import { AgentLink, Badge, Empty, Failed, html, Panel, Sure, Table, Time, useAnswer, useState } from "../parts.js";

const KINDS = { valid: "good", revoked: "bad", expired: "off" };
const words = (rights) => (rights === null || rights === undefined ? "any" : rights.join(" ") || "none");

export function Tokens() {
  const { value, error, again } = useAnswer(() => api.tokens(), []);
  const [asked, setAsked] = useState(null);
  return html`
    <h1>Tokens</h1>
    <${Panel} title="Made at this hub" wide>
      <${Failed} error=${error} />
      ${value ? value.length ? html`<${Table} label="Tokens" name=${(token) => token.id} rows=${value} columns=${[
        ["Agent", (token) => html`<${AgentLink} name=${token.agent} />`],
        ["Role", (token) => token.role],
        ["State", (token) => html`<${Badge} kind=${KINDS[token.state]}>${token.state}<//>`],
        ["May send to", (token) => words(token.send)],
        ["Types", (token) => words(token.types)],
        ["Made", (token) => html`<${Time} ms=${token.made} date />`],
        ["Expires", (token) => html`<${Time} ms=${token.expires} date />`],
        ["", (token) => token.state === "valid" ? html`<button class="danger" aria-label=${`Revoke the token ${token.id} of ${token.agent}`} onClick=${() => setAsked(token)}>Revoke…</button>` : null],
      ]} />` : html`<${Empty}>None was made here: <code>broker token create AGENT</code>.<//>` : null}
    <//>
    <${Sure} open=${asked} title="Revoke this token of ${asked && asked.agent}?" action="Revoke" danger close=${() => setAsked(null)}
      act=${async () => { await api.revoke({ token_id: asked.id }); again(); }}>
      <p>Sessions that came in with it end within seconds, on every hub.</p><//>`;
}
