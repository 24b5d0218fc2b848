/** One outcome: its image, what was decided, and when. */

import { html } from "../parts/html.js";
import { useNow } from "../parts/loading.js";
import { Badge } from "../parts/small.js";
import { Thumbnail } from "../parts/thumbnail.js";
import { imageOf } from "../logic/filters.js";
import { sorted, toneOf } from "../logic/decide.js";
import * as format from "../logic/format.js";

export function OutcomeCard({ outcome, about, reveals, open }) {
  const now = useNow();
  const blurred = reveals.blurred(outcome);
  const name = outcome.subject || outcome.uri || outcome.id;
  return html`
    <li class="panel outcome" data-id=${outcome.id}>
      ${blurred
        ? html`
          <button type="button" class="picture" aria-label=${`Reveal the image of ${name}`} onClick=${() => reveals.reveal(outcome)}>
            <${Thumbnail} image=${imageOf(outcome)} size=${160} alt="" blurred />
            <span class="reveal">Reveal</span>
          </button>`
        : html`
          <button type="button" class="picture" tabindex="-1" aria-hidden="true" onClick=${open}>
            <${Thumbnail} image=${imageOf(outcome)} size=${160} alt="" />
          </button>`}
      <div class="outcome-text">
        <${Decisions} outcome=${outcome} about=${about} />
        <button type="button" class="name" title=${name} aria-label=${name} onClick=${open}>${format.tail(name, 16)}</button>
        <span class="faint">${format.ago(outcome.at, now)}</span>
      </div>
    </li>`;
}

/** What was decided: a badge a label set, and the highest score. */
function Decisions({ outcome, about }) {
  if (outcome.kind === "dead_letter") {
    return html`
      <div class="decisions"><${Badge} tone="danger">dead letter</${Badge}></div>
      <span class="best"><code>${outcome.code}</code></span>`;
  }
  const results = outcome.event?.data?.results ?? [];
  return html`
    <div class="decisions">
      ${outcome.decisions.map((each) => html`
        <${Badge} key=${each.label_set} title=${each.label_set}
          tone=${toneOf(each.decision, about.label_sets.find((set) => set.name === each.label_set))}>${each.decision}</${Badge}>`)}
    </div>
    <span class="best">${best(results)}</span>`;
}

/** The label with the highest score of the first label set. */
function best(results) {
  const [first] = sorted(results[0]?.scores ?? []);
  return first ? html`<span class="best-name">${first.label}</span> <span class="number faint">${format.score(first.score)}</span>` : "";
}
