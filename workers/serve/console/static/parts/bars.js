/** Scores as bars, with the thresholds that they are held against. */

import { classes, html, useState } from "./html.js";
import { actionOf, sorted, toneOf } from "../logic/decide.js";
import * as format from "../logic/format.js";

const FEW = 6;

/** @param {{set: import("../logic/decide.js").LabelSet|undefined,
 *   scores: import("../logic/decide.js").Score[], order: "score"|"set",
 *   onMove?: (label: string, which: "act"|"review", score: number) => void}} given
 * Without `onMove` the thresholds are marks. */
export function Bars({ set, scores, order = "score", onMove, few = FEW }) {
  const [all, setAll] = useState(false);
  const ordered = order === "score" ? sorted(scores) : scores;
  const shown = all || ordered.length <= few + 1 ? ordered : ordered.slice(0, few);
  const labels = new Map((set?.labels ?? []).map((label) => [label.name, label]));
  return html`
    <div class="bars">
      <div class="bar-row bar-head" aria-hidden="true">
        <span>Label</span><span>${onMove && set ? "Drag a line to try another threshold" : ""}</span><span>Score</span><span>Similarity</span>
      </div>
      ${shown.map((each) => html`
        <${Row} key=${each.label} each=${each} label=${labels.get(each.label)} set=${set} onMove=${onMove} />`)}
      ${shown.length < ordered.length && html`
        <button type="button" class="quiet more" onClick=${() => setAll(true)}>
          Show all ${format.count(ordered.length)} labels
        </button>`}
      ${all && ordered.length > few + 1 && html`
        <button type="button" class="quiet more" onClick=${() => setAll(false)}>Show fewer</button>`}
    </div>`;
}

function Row({ each, label, set, onMove }) {
  const action = label ? actionOf(label, each.score) : null;
  const tone = action === null ? "none" : toneOf(action, set);
  return html`
    <div class=${classes("bar-row", action !== null && "matched")} data-label=${each.label}>
      <span class="bar-name">
        <span class="bar-text" title=${each.label}>${each.label}</span>
        ${label?.neutral && html`<span class="tag" title="Takes its share of the scores and never matches">neutral</span>`}
        ${action !== null && html`<span class=${`match ${tone}`}>${action}</span>`}
      </span>
      <span class="track">
        <span class=${`fill ${tone}`} style=${{ width: `${each.score * 100}%` }}></span>
        ${["review", "act"].map((which) => label?.[which] && html`
          <${Threshold} key=${which} which=${which} label=${label} set=${set} onMove=${onMove} />`)}
      </span>
      <span class="number" aria-label=${`score ${format.score(each.score)}`}>${format.score(each.score)}</span>
      <span class="number faint" aria-label=${`similarity ${format.similarity(each.similarity)}`}>
        ${format.similarity(each.similarity)}
      </span>
    </div>`;
}

/** One threshold: a slider that lies on the bar, or a mark on it. */
function Threshold({ which, label, set, onMove }) {
  const { score, action } = label[which];
  const tone = toneOf(action, set);
  const title = `${action} from ${score.toFixed(2)}`;
  if (!onMove) {
    return html`<span class=${`mark ${tone}`} style=${{ left: `${score * 100}%` }} title=${title}></span>`;
  }
  return html`
    <input type="range" class=${`threshold ${which} ${tone}`} min="0" max="1" step="0.01" value=${score}
      title=${title} aria-label=${`${label.name}: ${action} from`} aria-valuetext=${score.toFixed(2)}
      onInput=${(event) => onMove(label.name, which, Number(event.target.value))} />`;
}
