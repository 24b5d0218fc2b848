/** One outcome in full: the image, the scores, the whole event. */

import { html, useState } from "../parts/html.js";
import { Bars } from "../parts/bars.js";
import { Dialog } from "../parts/dialog.js";
import { Badge, Choice, Code } from "../parts/small.js";
import { Thumbnail } from "../parts/thumbnail.js";
import { imageOf } from "../logic/filters.js";
import { toneOf } from "../logic/decide.js";
import * as format from "../logic/format.js";

export function OutcomeDialog({ outcome, about, reveals, onClose }) {
  const [tab, setTab] = useState("scores");
  const blurred = reveals.blurred(outcome);
  const results = outcome.event?.data?.results ?? [];
  const setNamed = (name) => about.label_sets.find((set) => set.name === name);
  return html`
    <${Dialog} wide title=${outcome.subject || outcome.uri || "Outcome"} onClose=${onClose}>
      <div class="outcome-full">
        <div class="outcome-picture">
          ${blurred
            ? html`
              <button type="button" class="picture" aria-label="Reveal the image" onClick=${() => reveals.reveal(outcome)}>
                <${Thumbnail} image=${imageOf(outcome)} size=${640} alt="" blurred />
                <span class="reveal">Reveal</span>
              </button>`
            : html`<${Thumbnail} image=${imageOf(outcome)} size=${640} alt=${`Image of ${outcome.subject}`} />`}
          <dl class="facts">
            <div><dt>Address</dt><dd class="breaks">${outcome.uri ?? "–"}</dd></div>
            <div><dt>Published</dt><dd>${format.moment(outcome.at)}</dd></div>
            ${outcome.code && html`<div><dt>Code</dt><dd><code>${outcome.code}</code></dd></div>`}
          </dl>
        </div>
        <div class="outcome-detail">
          ${results.length > 0 && html`
            <${Choice} name="What is shown" value=${tab} onChange=${setTab}
              options=${[["scores", "Scores"], ["event", "Whole event"]]} />`}
          ${results.length > 0 && tab === "scores"
            ? results.map((result) => html`
              <section key=${result.label_set}>
                <div class="decision">
                  <${Badge} tone=${toneOf(result.decision, setNamed(result.label_set))}>${result.decision}</${Badge}>
                  <span>${result.label_set}</span>
                  <span class="faint" title=${result.version}>${format.shortVersion(result.version)}</span>
                </div>
                <${Bars} set=${setOf(setNamed(result.label_set), result)} scores=${result.scores} />
              </section>`)
            : html`<${Code} text=${JSON.stringify(outcome.event, null, 2)} label="The whole event" />`}
        </div>
      </div>
    </${Dialog}>`;
}

/** The label set, if it is still the version that made the scores: other thresholds would mislead. */
function setOf(set, result) {
  return set?.version === result.version ? set : undefined;
}
