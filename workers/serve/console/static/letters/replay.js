/** Sends dead letters back to the stream: shows first what would be sent, and sends after a yes. */

import { html, useState } from "../parts/html.js";
import { Dialog } from "../parts/dialog.js";
import { Failure, Notice } from "../parts/notice.js";
import { postJson } from "../api.js";
import * as format from "../logic/format.js";

/** From here on the number is typed before it is sent. */
const TYPED_FROM = 1000;

export function Replay({ codes, since, after }) {
  const [limit, setLimit] = useState("");
  const [from, setFrom] = useState("");
  const [until, setUntil] = useState("");
  const [preview, setPreview] = useState(null);
  const [failure, setFailure] = useState(null);
  const [busy, setBusy] = useState(false);
  const [sent, setSent] = useState(null);

  const asked = () => {
    const body = { codes };
    body.since = from ? Date.parse(from) / 1000 : since;
    if (until) body.until = Date.parse(until) / 1000;
    if (limit) body.limit = Number(limit);
    return body;
  };
  const attempt = async (work) => {
    setBusy(true);
    setFailure(null);
    try {
      await work();
    } catch (failed) {
      setFailure(failed);
      setPreview(null);
    }
    setBusy(false);
  };
  const show = () => attempt(async () => {
    setSent(null);
    const body = asked();
    setPreview({ body, ...(await postJson("/v1/dead-letters/replay", { ...body, publish: false })) });
  });
  const send = () => attempt(async () => {
    const { body, token } = preview;
    setSent(await postJson("/v1/dead-letters/replay", { ...body, publish: true, token }));
    setPreview(null);
    after();
  });

  return html`
    <section class="panel replay" aria-labelledby="replay-title">
      <div class="replay-text">
        <h2 id="replay-title">Replay</h2>
        <p class="faint">${codes.length ? codes.join(", ") : "Choose codes, then see what would be sent."}</p>
      </div>
      <div class="replay-fields">
        <label><span>From</span><input type="datetime-local" value=${from} onInput=${(event) => setFrom(event.target.value)} /></label>
        <label><span>Until</span><input type="datetime-local" value=${until} onInput=${(event) => setUntil(event.target.value)} /></label>
        <label><span>At most</span><input type="number" min="1" placeholder="all" value=${limit} onInput=${(event) => setLimit(event.target.value)} /></label>
        <button type="button" class="primary" disabled=${!codes.length || busy} onClick=${show}>
          ${busy && !preview ? "Counting…" : "Preview replay"}
        </button>
      </div>
    </section>
    ${failure && html`<${Failure} error=${failure} scope="replay" />`}
    ${sent && html`
      <${Notice} title=${`${format.many(sent.sent, "reference")} sent to the stream`}>
        <p>Their outcomes appear in the live view.</p>
        <${Skipped} skipped=${sent.skipped} />
      </${Notice}>`}
    ${preview && html`<${Confirm} preview=${preview} busy=${busy} send=${send} onClose=${() => setPreview(null)} />`}`;
}

function Confirm({ preview, busy, send, onClose }) {
  const [typed, setTyped] = useState("");
  const number = preview.would_send;
  const sure = number > 0 && (number < TYPED_FROM || typed.replace(/\D/g, "") === String(number));
  return html`
    <${Dialog} title="Send these references again?" onClose=${onClose} footer=${html`
      <button type="button" onClick=${onClose}>${number ? "Cancel" : "Close"}</button>
      ${number > 0 && html`
        <button type="button" class="danger" disabled=${!sure || busy} onClick=${send}>
          ${busy ? "Sending…" : `Send ${format.many(number, "reference")}`}
        </button>`}`}>
      ${number === 0
        ? html`<p>Nothing would be sent.</p>`
        : html`
          <p><strong>${format.many(number, "reference")}</strong> would be looked at again. Each gets a new outcome.</p>
          <table>
            <thead><tr><th scope="col">Topic</th><th scope="col" class="number">References</th></tr></thead>
            <tbody>
              ${Object.entries(preview.topics).map(([topic, many]) => html`
                <tr key=${topic}><td class="breaks">${topic}</td><td class="number">${format.count(many)}</td></tr>`)}
            </tbody>
          </table>`}
      <${Skipped} skipped=${preview.skipped} />
      ${number >= TYPED_FROM && html`
        <label class="stack"><span>Type ${format.count(number)} to go on</span>
          <input inputmode="numeric" autocomplete="off" value=${typed} onInput=${(event) => setTyped(event.target.value)} /></label>`}
    </${Dialog}>`;
}

function Skipped({ skipped }) {
  const entries = Object.entries(skipped ?? {}).filter(([, many]) => many);
  if (!entries.length) return null;
  return html`
    <p>Left out:</p>
    <ul class="skipped">
      ${entries.map(([reason, many]) => html`<li key=${reason}>${format.count(many)} · ${reason}</li>`)}
    </ul>`;
}
