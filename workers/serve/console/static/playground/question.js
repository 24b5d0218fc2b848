/** The form of the playground: which labels, and how they become scores. */

import { html } from "../parts/html.js";
import { Choice } from "../parts/small.js";

/** @param {{question: import("../logic/asking.js").Question, change: (part: any) => void, about: any}} given */
export function QuestionForm({ question, change, about }) {
  return html`
    <div class="field-group">
      <${Choice} name="Labels" value=${question.mode} onChange=${(mode) => change({ mode })}
        options=${[["set", "Label set"], ["labels", "Own labels"]]} />
      ${question.mode === "set"
        ? html`<${SetField} question=${question} change=${change} about=${about} />`
        : html`<${LabelFields} question=${question} change=${change} />`}
    </div>`;
}

function SetField({ question, change, about }) {
  const set = about.label_sets.find((each) => each.name === question.set);
  if (!about.label_sets.length) {
    return html`<p class="hint">Your key may use no label set. Type labels of your own.</p>`;
  }
  const scored = set?.labels.filter((label) => !label.neutral) ?? [];
  return html`
    <label for="label-set">Label set</label>
    <select id="label-set" value=${question.set} onChange=${(event) => change({ set: event.target.value })}>
      ${about.label_sets.map((each) => html`<option key=${each.name} value=${each.name}>${each.name}</option>`)}
    </select>
    ${set && html`
      <p class="hint">${set.decision === "exclusive"
        ? `One of ${set.labels.length} labels is right.`
        : `Each of ${scored.length} labels may be right.`} Actions: ${set.actions.join(", ")}.</p>`}`;
}

function LabelFields({ question, change }) {
  const input = (name) => (event) => change({ [name]: event.target.value });
  return html`
    <label for="labels">Labels <span class="faint">one a line, or between commas</span></label>
    <textarea id="labels" rows="5" spellcheck="false" placeholder=${"a cat\na dog\nsomething else"} value=${question.labels}
      onInput=${input("labels")}></textarea>
    <details>
      <summary>Advanced</summary>
      <div class="details-body">
        <fieldset>
          <legend>Decision</legend>
          <label class="radio"><input type="radio" name="decision" checked=${question.decision === "exclusive"}
            onChange=${() => change({ decision: "exclusive" })} />
            <span><strong>Exclusive</strong> <span class="faint">one label is right; scores add up to 1</span></span></label>
          <label class="radio"><input type="radio" name="decision" checked=${question.decision === "independent"}
            onChange=${() => change({ decision: "independent" })} />
            <span><strong>Independent</strong> <span class="faint">each label against contrast prompts</span></span></label>
        </fieldset>
        ${question.decision === "independent" && html`
          <label for="contrast">Contrast prompts <span class="faint">one a line: ordinary images</span></label>
          <textarea id="contrast" rows="3" placeholder="a photo of ordinary everyday life"
            value=${question.contrast} onInput=${input("contrast")}></textarea>`}
        <label for="templates">Templates <span class="faint">one a line; {} is the label</span></label>
        <textarea id="templates" rows="2" placeholder="a photo of {}" value=${question.templates}
          onInput=${input("templates")}></textarea>
      </div>
    </details>`;
}
