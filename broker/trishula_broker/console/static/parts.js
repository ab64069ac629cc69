// Small pieces that all views share.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { Refused } from "./api.js";

export { html, useEffect, useRef, useState };

/** The value of a Cell, and again whenever it changes. */
export function useCell(cell) {
  const [, again] = useState(0);
  useEffect(() => cell.watch(() => again((n) => n + 1)), [cell]);
  return cell.value;
}

/** What `ask()` answers: {value, error, loading, again}; asked anew when a dependency changes. */
export function useAnswer(ask, dependencies) {
  const [answer, setAnswer] = useState({ value: null, error: null, loading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let over = false;
    setAnswer((old) => ({ ...old, loading: true }));
    ask().then(
      (value) => over || setAnswer({ value, error: null, loading: false }),
      (error) => over || setAnswer({ value: null, error, loading: false }),
    );
    return () => { over = true; };
  }, [...dependencies, turn]);
  return { ...answer, again: () => setTurn((n) => n + 1) };
}

/** Draws again every second, for what is told in "ago". */
export function useSecond() {
  const [, again] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || again((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const exact = new Intl.DateTimeFormat(undefined, {
  hour: "numeric", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const number = new Intl.NumberFormat();

export const count = (value) => (value === null || value === undefined ? "–" : number.format(value));

export function ago(ms) {
  const seconds = Math.max(0, Math.round((Date.now() - ms) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export function Time({ ms, date = false, millis = false }) {
  if (!ms) return html`<span class="faint">–</span>`;
  const when = new Date(ms);
  const shown = (date ? day : millis ? exact : clock).format(when);
  return html`<time datetime=${when.toISOString()} title=${when.toISOString()}>${shown}</time>`;
}

export const Badge = ({ kind, children }) => html`<span class="badge ${kind}">${children}</span>`;
export const Type = ({ type }) => html`<span class="type ${type.toLowerCase()}">${type}</span>`;

export function Online({ agent }) {
  const [kind, text] = agent.paused ? ["warn", "paused"]
    : agent.online ? ["good", "online"] : ["off", "offline"];
  return html`<span><span class="dot ${kind}" aria-hidden="true"></span>${text}</span>`;
}

export const to = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
export const AgentLink = ({ name }) =>
  name && name !== "hub" && !/^[#@]/.test(name) && name !== "broadcast"
    ? html`<a href=${to("agents", name)}>${name}</a>` : html`<span>${name}</span>`;

export function Json({ value }) {
  return html`<pre class="json" tabindex="0">${
    typeof value === "string" ? value : JSON.stringify(value, null, 2)}</pre>`;
}

/** One line of a payload. */
export function gist(payload, most = 120) {
  if (payload === null || payload === undefined) return "";
  const text = typeof payload === "string" ? payload : JSON.stringify(payload);
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

export function Failed({ error }) {
  if (!error) return null;
  return html`<p class="failed" role="alert">
    ${error.message}${error instanceof Refused ? html` <span class="faint">(${error.status})</span>` : null}
  </p>`;
}

export function Empty({ children }) { return html`<p class="empty">${children}</p>`; }

export function Panel({ title, aside, children, wide }) {
  return html`<section class="panel ${wide ? "wide" : ""}">
    <header><h2>${title}</h2>${aside ? html`<div class="aside">${aside}</div>` : null}</header>
    ${children}
  </section>`;
}

/** A table that becomes cards on a phone. `columns`: [heading, cell(row), class]. */
export function Table({ label, columns, rows, name }) {
  return html`<div class="scroll"><table aria-label=${label}>
    <thead><tr>${columns.map(([heading,, kind]) => html`<th scope="col" class=${kind || ""}>${heading}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${name(row)}>
      ${columns.map(([heading, cell, kind]) => html`<td class=${kind || ""} data-heading=${heading}>${cell(row)}</td>`)}
    </tr>`)}</tbody>
  </table></div>`;
}

/** A question before something that cannot be taken back; `act` may fail, which is shown. */
export function Sure({ open, title, children, action, danger, act, close }) {
  const dialog = useRef(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    if (open && !dialog.current.open) {
      setError(null);
      dialog.current.showModal();
    } else if (!open && dialog.current.open) dialog.current.close();
  }, [open]);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await act(new FormData(event.target));
      close();
    } catch (failure) { setError(failure); }
    setBusy(false);
  };
  return html`<dialog ref=${dialog} onClose=${close} aria-label=${title}>
    <form onSubmit=${submit}>
      <h2>${title}</h2>
      ${children}
      <${Failed} error=${error} />
      <div class="buttons">
        <button type="button" onClick=${close}>Cancel</button>
        <button type="submit" class=${danger ? "danger" : "main"} disabled=${busy}>${action}</button>
      </div>
    </form>
  </dialog>`;
}
