/** The filters of the live view. */

import { html } from "../parts/html.js";
import { DEAD_LETTER } from "../logic/filters.js";

export function Filters({ about, filter, change }) {
  const sets = about.label_sets.filter((set) => !filter.label_set || set.name === filter.label_set);
  const unique = (names) => [...new Set(names)];
  const decisions = unique(sets.flatMap((set) => set.actions));
  const labels = unique(sets.flatMap((set) => set.labels.filter((each) => !each.neutral).map((each) => each.name)));
  const picked = (name) => (event) => change({ [name]: event.target.value });
  return html`
    <div class="filters" role="search" aria-label="Filter outcomes">
      <${Pick} name="Decision" value=${filter.decision} onChange=${picked("decision")}
        options=${[...decisions.map((each) => [each, each]), [DEAD_LETTER, "dead letter"]]} />
      <${Pick} name="Label set" value=${filter.label_set}
        onChange=${(event) => change({ label_set: event.target.value, label: "", decision: "" })}
        options=${about.label_sets.map((set) => [set.name, set.name])} />
      <${Pick} name="Label" value=${filter.label} onChange=${picked("label")}
        options=${labels.map((each) => [each, each])} />
      <div class="filter grow">
        <label for="filter-text">Text</label>
        <input id="filter-text" type="search" value=${filter.text} placeholder="name, address, code or label" onInput=${picked("text")} />
      </div>
    </div>`;
}

function Pick({ name, value, options, onChange }) {
  const id = `filter-${name.replace(" ", "-").toLowerCase()}`;
  return html`
    <div class="filter">
      <label for=${id}>${name}</label>
      <select id=${id} value=${value} onChange=${onChange}>
        <option value="">All</option>
        ${options.map(([key, text]) => html`<option key=${key} value=${key}>${text}</option>`)}
      </select>
    </div>`;
}
