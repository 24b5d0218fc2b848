/** The newest outcomes of the stream. */

import { html, useRef, useState } from "../parts/html.js";
import { Failure, Loading, Notice } from "../parts/notice.js";
import { Badge, Sparkline } from "../parts/small.js";
import { NO_FILTER, passes, queryOf } from "../logic/filters.js";
import * as format from "../logic/format.js";
import { OutcomeCard } from "./card.js";
import { Filters } from "./filters.js";
import { OutcomeDialog } from "./outcome.js";
import { useReveals } from "./reveals.js";
import { useOutcomes } from "./stream.js";

export function Live({ about }) {
  if (!about.stream.configured) {
    return html`
      <h1>Live</h1>
      <${Notice} title="This server follows no stream">
        <p>${about.stream.why ?? "The settings of this server name no Kafka."}</p>
        <p>Name the brokers and topics of the stream in the settings, then restart the server:</p>
        <pre class="code">kafka:
  bootstrap_servers: broker:9092</pre>
      </${Notice}>`;
  }
  return html`<${Following} about=${about} />`;
}

function Following({ about }) {
  const [filter, setFilter] = useState(NO_FILTER);
  const [paused, setPaused] = useState(false);
  const [reading, setReading] = useState(false);
  const [open, setOpen] = useState(null);
  const held = paused || reading || open !== null;
  const { outcomes, waiting, stats, rates, connection, again } = useOutcomes(filter, held);
  const reveals = useReveals(about.blur);
  const grid = useRef(null);
  const shown = outcomes.filter((outcome) => passes(outcome, filter));

  // What a person is about to click on stays where it is.
  const leave = (event) => {
    if (!grid.current?.contains(event.relatedTarget)) setReading(false);
  };
  const focused = (event) => event.target.matches(":focus-visible") && setReading(true);

  return html`
    <div class="title-row">
      <h1>Live</h1>
      <${Connection} connection=${connection} />
      <span class="spacer"></span>
      <button type="button" aria-pressed=${paused} class=${paused ? "primary" : ""} onClick=${() => setPaused(!paused)}>
        ${paused ? "Resume" : "Pause"}
      </button>
    </div>
    <${Stats} stats=${stats} rates=${rates} />
    <${Filters} about=${about} filter=${filter} change=${(part) => setFilter({ ...filter, ...part })} />
    <p class="held" role="status">
      ${held && !open ? (paused ? "Paused" : "Held while you point at it") : ""}${held && !open && waiting ? ` · ${format.count(waiting)} new` : ""}
    </p>
    ${stats?.trouble && html`
      <${Notice} tone="warn" title="The server cannot read the stream"><p>${stats.trouble}</p></${Notice}>`}
    ${reveals.error && html`
      <${Notice} tone="danger" title="The image stays blurred"><p>The reveal could not be recorded: ${reveals.error.message}</p></${Notice}>`}
    ${connection.state === "refused"
      ? html`<${Failure} error=${connection.error} retry=${again} scope="live" keyName=${about.key.name} />`
      : shown.length === 0
        ? html`<${Nothing} connection=${connection} filtered=${queryOf(filter) !== ""} clear=${() => setFilter(NO_FILTER)} />`
        : html`
          <ul class="outcomes" ref=${grid} aria-label="Outcomes, newest first"
            onPointerEnter=${(event) => event.pointerType === "mouse" && setReading(true)}
            onPointerLeave=${() => setReading(false)} onFocusCapture=${focused} onBlurCapture=${leave}>
            ${shown.map((outcome) => html`
              <${OutcomeCard} key=${outcome.id} outcome=${outcome} about=${about} reveals=${reveals}
                open=${() => setOpen(outcome)} />`)}
          </ul>`}
    ${open && html`
      <${OutcomeDialog} outcome=${open} about=${about} reveals=${reveals} onClose=${() => setOpen(null)} />`}`;
}

function Connection({ connection }) {
  switch (connection.state) {
    case "live":
      return html`<${Badge} tone="good">connected</${Badge}>`;
    case "reconnecting":
      return html`<${Badge} tone="warn" title=${connection.error?.message}>reconnecting…</${Badge}>`;
    case "refused":
      return html`<${Badge} tone="danger">not connected</${Badge}>`;
    default:
      return html`<${Badge}>connecting…</${Badge}>`;
  }
}

function Stats({ stats, rates }) {
  return html`
    <dl class="stats">
      <div class="with-spark">
        <div><dt>Outcomes a second</dt><dd>${format.rate(stats?.rate)}</dd></div>
        <${Sparkline} values=${rates} />
      </div>
      <div><dt>Lag</dt><dd>${stats?.lag === null || stats?.lag === undefined ? "–" : format.many(stats.lag, "record")}</dd></div>
      <div><dt>Newest</dt><dd>${stats?.age_s === null || stats?.age_s === undefined ? "–" : `${format.duration(stats.age_s)} ago`}</dd></div>
      <div><dt>Left out here</dt><dd title="Outcomes that this page was too slow for">${format.count(stats?.dropped ?? 0)}</dd></div>
    </dl>`;
}

function Nothing({ connection, filtered, clear }) {
  if (filtered) {
    return html`
      <${Notice} title="Nothing passes the filter yet"
        action=${html`<button type="button" onClick=${clear}>Clear the filter</button>`}>
        <p>New outcomes that pass it appear here by themselves.</p>
      </${Notice}>`;
  }
  if (connection.state === "connecting") return html`<${Loading} what="Connecting to the stream" />`;
  if (connection.state === "reconnecting") {
    return html`
      <${Notice} tone="warn" title="The connection is gone">
        <p>${connection.error?.message ?? "The server ended it."} The page tries again by itself.</p>
      </${Notice}>`;
  }
  return html`
    <${Notice} title="No outcomes yet">
      <p>Each image that the stream classifies appears here by itself. Send a reference to its topic, for example:</p>
      <pre class="code">clipstream enqueue -c settings.yaml s3://BUCKET/PREFIX</pre>
    </${Notice}>`;
}
