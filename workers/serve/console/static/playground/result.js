/** One image of the playground: what it is, how far it is, and what came out. */

import { Bars } from "../parts/bars.js";
import { html } from "../parts/html.js";
import { Badge } from "../parts/small.js";
import { judge, toneOf } from "../logic/decide.js";
import * as format from "../logic/format.js";
import { Seen } from "./seen.js";

/** @param {{image: any, set: any, original: any, order: "score"|"set", geometry: any,
 *   move: any, remove: () => void}} given */
export function ImageCard({ image, set, original, order, geometry, move, remove }) {
  return html`
    <article class="panel image-card" aria-label=${image.name} data-state=${image.state}>
      <${Seen} image=${image} geometry=${geometry} />
      <div class="image-result">
        ${image.state === "done"
          ? image.result.results.map((result) => html`
              <${SetResult} key=${result.label_set} result=${result} set=${set} original=${original}
                order=${order} move=${move} />`)
          : html`<${Progress} image=${image} />`}
      </div>
      <button type="button" class="quiet icon remove" aria-label=${`Remove ${image.name}`} onClick=${remove}>
        <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4l8 8M12 4l-8 8" /></svg>
      </button>
    </article>`;
}

function SetResult({ result, set, original, order, move }) {
  const now = set ? judge(set, result) : result;
  const before = original ? judge(original, result) : result;
  const names = now.matched.length ? now.matched.join(", ") : "no label matches";
  return html`
    <div class="decision" aria-live="polite">
      <${Badge} tone=${toneOf(now.decision, set)}>${now.decision}</${Badge}>
      <span class="matched-names">${names}</span>
      ${result.raised && html`<span class="faint">seen in part: ${result.raised.join(", ")}</span>`}
      ${now.decision !== before.decision && html`<span class="faint was">was ${before.decision}</span>`}
    </div>
    <${Bars} set=${set} scores=${result.scores} order=${order} onMove=${move} />`;
}

function Progress({ image }) {
  switch (image.state) {
    case "ready":
      return html`<p class="state faint">Not looked at yet</p>`;
    case "queued":
      return html`<p class="state faint">Waits for its turn</p>`;
    case "sending":
      return html`
        <p class="state">Sending ${format.percent(image.share)}</p>
        <progress value=${image.share} aria-label="Sent"></progress>`;
    case "looking":
      return html`<p class="state"><span class="spinner" aria-hidden="true"></span>The model looks at it</p>`;
    case "waits":
      return html`
        <p class="state" role="status">The server is busy; tries again in ${format.duration(image.wait / 1000)}</p>
        <p class="faint">${image.why}</p>`;
    default:
      return html`
        <div class="failed" role="alert">
          <p><${Badge} tone="danger">error</${Badge}> <code>${image.error.code}</code></p>
          <p>${image.error.message}</p>
        </div>`;
  }
}
