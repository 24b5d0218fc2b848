/** The state of the server and of the stream's workers. */

import { html } from "../parts/html.js";
import { useLoaded, useNow } from "../parts/loading.js";
import { Failure, Loading } from "../parts/notice.js";
import { Badge } from "../parts/small.js";
import { getJson } from "../api.js";
import * as format from "../logic/format.js";

const EVERY_MS = 3000;

const TONES = { ready: "good", running: "good", starting: "info", draining: "warn", failed: "danger", silent: "danger", halted: "danger" };
const toneOf = (state) => TONES[state] ?? "calm";

export function Status({ about, reload: again }) {
  const { value, error, reload } = useLoaded((signal) => getJson("/v1/status", { signal }), [], { everyMs: EVERY_MS });
  return html`
    <div class="title-row">
      <h1>Status</h1>
      ${value && !error && html`<${Badge} tone="good">current</${Badge}>`}
      ${value && error && html`<${Badge} tone="warn" title=${error.message}>no answer; shown is the last one</${Badge}>`}
      <span class="spacer"></span>
      <span class="faint">Clipstream ${about.version}</span>
    </div>
    ${!value && error && html`<${Failure} error=${error} retry=${reload} scope="admin" keyName=${about.key.name} />`}
    ${!value && !error && html`<${Loading} what="Asking the replicas" />`}
    ${value && html`<${Current} status=${value} about=${about} again=${again} />`}`;
}

function Current({ status, about }) {
  const now = useNow();
  const queues = status.queues ?? {};
  return html`
    <dl class="stats">
      <div><dt>In hand</dt><dd>${format.count(queues.in_hand ?? 0)}</dd></div>
      <div><dt>Waiting for the model</dt><dd>${format.count(queues.encode ?? 0)}</dd></div>
      <div><dt>Waiting to be decoded</dt><dd>${format.count(queues.decode ?? 0)}</dd></div>
      <div><dt>Replicas ready</dt><dd>${status.replicas.filter((each) => each.state === "ready").length} of ${status.replicas.length}</dd></div>
    </dl>
    <div class="status-grid">
      <${Model} model=${status.model ?? about.model} geometry=${about.geometry} />
      <${LabelSets} sets=${status.label_sets} about=${about} now=${now} />
    </div>
    <${Replicas} replicas=${status.replicas} />
    <${Workers} workers=${status.workers} />`;
}

function Model({ model, geometry }) {
  const facts = [
    ["Name", model.name],
    ["Revision", model.revision],
    ["Precision", model.precision],
    ["Dimension", model.dimension],
    ["Logit scale", model.logit_scale?.toFixed(2)],
    ["Reads", geometry && `${geometry.crop} × ${geometry.crop} pixels`],
  ].filter(([, value]) => value !== undefined && value !== null);
  return html`
    <section class="panel" aria-labelledby="model-title">
      <h2 id="model-title">Model</h2>
      <dl class="facts">
        ${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd class="breaks">${value}</dd></div>`)}
      </dl>
    </section>`;
}

function LabelSets({ sets, about, now }) {
  const known = new Map(about.label_sets.map((each) => [each.name, each]));
  return html`
    <section class="panel" aria-labelledby="sets-title">
      <h2 id="sets-title">Label sets</h2>
      <${Table} head=${["Name", "Version", "Labels", "Changed"]} numbers=${[2]} rows=${sets.map((each) => [
        each.name,
        html`<code title=${each.version}>${format.shortVersion(each.version)}</code>`,
        known.has(each.name) ? known.get(each.name).labels.length : "–",
        html`<span title=${format.moment(each.changed_at)}>${format.ago(each.changed_at, now)}</span>`,
      ])} />
    </section>`;
}

function Replicas({ replicas }) {
  return html`
    <section class="panel" aria-labelledby="replicas-title">
      <h2 id="replicas-title">Replicas</h2>
      ${replicas.length === 0
        ? html`<p class="faint">No replica reports. Look at the server's log.</p>`
        : html`
          <${Table} head=${["Replica", "State", "Node", "Device", "In flight", "Queue", "Images"]} numbers=${[4, 5, 6]}
            rows=${replicas.map((each) => [
              html`<code>${each.id}</code>`,
              html`<${State} state=${each.state} why=${each.why} />`,
              each.node,
              each.device,
              format.count(each.in_flight ?? 0),
              format.count(each.queue ?? 0),
              format.count(each.images ?? 0),
            ])} />`}
    </section>`;
}

function Workers({ workers }) {
  return html`
    <section class="panel" aria-labelledby="workers-title">
      <h2 id="workers-title">Workers of the stream</h2>
      ${!workers
        ? html`<p class="faint">This server sees no workers. They show here with <code>clipstream serve --with-stream</code>. On a Ray cluster that is shared, also set <code>endpoints.discovery_file</code>.</p>`
        : workers.length === 0
          ? html`<p class="faint">No worker runs.</p>`
          : html`
            <${Table} head=${["Place", "State", "Device", "Driver", "Committed", "Lag"]} numbers=${[4, 5]}
              rows=${workers.map((each) => [
                each.slot,
                html`<${State} state=${each.state} why=${each.why} />`,
                each.device ?? "–",
                each.driver ?? "–",
                each.committed === null || each.committed === undefined ? "–" : format.count(each.committed),
                each.lag === null || each.lag === undefined ? "–" : format.count(each.lag),
              ])} />`}
    </section>`;
}

function State({ state, why }) {
  return html`<${Badge} tone=${toneOf(state)}>${state}</${Badge}>${why && html` <span class="faint">${why}</span>`}`;
}

/** A table; on a phone each row is a block and each cell carries its heading. */
function Table({ head, rows, numbers = [] }) {
  const kind = (index) => (numbers.includes(index) ? "number" : undefined);
  return html`
    <table class="folds">
      <thead><tr>${head.map((each, index) => html`<th key=${each} scope="col" class=${kind(index)}>${each}</th>`)}</tr></thead>
      <tbody>
        ${rows.map((row, at) => html`
          <tr key=${at}>${row.map((cell, index) => html`<td key=${index} data-head=${head[index]} class=${kind(index)}>${cell}</td>`)}</tr>`)}
      </tbody>
    </table>`;
}
