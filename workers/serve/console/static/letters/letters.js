/** Dead letters: what could not be classified, why, and how to send it again. */

import { html, useState } from "../parts/html.js";
import { useLoaded } from "../parts/loading.js";
import { Failure, Loading, Notice } from "../parts/notice.js";
import { Prose } from "../parts/small.js";
import { Thumbnail } from "../parts/thumbnail.js";
import { getJson } from "../api.js";
import { imageOf } from "../logic/filters.js";
import * as format from "../logic/format.js";
import { Replay } from "./replay.js";

export function DeadLetters({ about }) {
  if (!about.stream.configured) {
    return html`
      <h1>Dead letters</h1>
      <${Notice} title="This server follows no stream">
        <p>${about.stream.why ?? "The settings of this server name no Kafka."}</p>
      </${Notice}>`;
  }
  return html`<${Read} about=${about} />`;
}

function Read({ about }) {
  const { value, error, loading, reload } = useLoaded((signal) => getJson("/v1/dead-letters", { signal }));
  const [chosen, setChosen] = useState(new Set());
  const mayReplay = about.key.scopes.includes("replay");
  const codes = value?.codes ?? [];
  const total = codes.reduce((sum, each) => sum + each.count, 0);
  const choose = (code) => {
    const next = new Set(chosen);
    if (!next.delete(code)) next.add(code);
    setChosen(next);
  };
  return html`
    <div class="title-row">
      <h1>Dead letters</h1>
      ${value && html`<span class="faint">${format.count(total)} found</span>`}
      <span class="spacer"></span>
      <button type="button" disabled=${loading} onClick=${reload}>${loading && value ? "Reading…" : "Read again"}</button>
    </div>
    ${value && html`<p class="bound">${value.looked_back.bound}</p>`}
    ${error && html`<${Failure} error=${error} retry=${reload} scope="dead-letters" keyName=${about.key.name} />`}
    ${!value && loading && html`<${Loading} what="Reading the dead letters" />`}
    ${value && !codes.length && html`
      <${Notice} title="No dead letters">
        <p>Each image that was looked at in this time has an outcome. Nothing is to be done.</p>
      </${Notice}>`}
    ${mayReplay && codes.length > 0 && html`
      <${Replay} codes=${[...chosen].filter((code) => codes.some((each) => each.code === code))}
        since=${value.looked_back.since} after=${reload} />`}
    <div class="codes">
      ${codes.map((each) => html`
        <${Code} key=${each.code} each=${each} most=${codes[0].count} total=${total}
          chosen=${chosen.has(each.code)} choose=${mayReplay && (() => choose(each.code))} />`)}
    </div>`;
}

function Code({ each, most, total, chosen, choose }) {
  return html`
    <article class="panel code-card" data-code=${each.code}>
      <header>
        ${choose && html`
          <input type="checkbox" checked=${chosen} aria-label=${`Choose ${each.code} for a replay`} onChange=${choose} />`}
        <h2><code>${each.code}</code></h2>
        <span class="track" aria-hidden="true"><span class="fill info" style=${{ width: `${(each.count / most) * 100}%` }}></span></span>
        <span class="number"><strong>${format.count(each.count)}</strong> <span class="faint">${format.percent(each.count / total)}</span></span>
      </header>
      <p><${Prose} text=${each.meaning} /></p>
      <p class="remedy"><strong>What to do:</strong> <${Prose} text=${each.remedy} /></p>
      <details>
        <summary>${format.many(each.samples.length, "sample")} <span class="faint">· newest ${format.ago(each.newest_at)}</span></summary>
        <ul class="samples">
          ${each.samples.map((sample) => html`<${Sample} key=${sample.id} sample=${sample} image=${imageOf({ ...sample, code: each.code })} />`)}
        </ul>
      </details>
    </article>`;
}

function Sample({ sample, image }) {
  return html`
    <li>
      ${image && html`<${Thumbnail} image=${image} size=${160} alt="" />`}
      <div>
        <strong class="breaks">${sample.subject ?? sample.uri ?? sample.id}</strong>
        <p class="breaks">${sample.message}</p>
        <p class="faint">${format.moment(sample.at)} · ${format.many(sample.attempts, "attempt")}${sample.uri && sample.uri !== sample.subject ? ` · ${sample.uri}` : ""}</p>
      </div>
    </li>`;
}
