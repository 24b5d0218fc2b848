/** The playground: images and labels in, scores out, thresholds to try. */

import { html, useEffect, useMemo, useRef, useState } from "../parts/html.js";
import { Choice, CopyButton } from "../parts/small.js";
import { fieldsOf, missingOf, setOf } from "../logic/asking.js";
import { changedThresholds, moved } from "../logic/decide.js";
import * as format from "../logic/format.js";
import { Picker, SAMPLE_LABELS, sampleImage, useDropAndPaste } from "./files.js";
import { QuestionForm } from "./question.js";
import { RequestToCopy } from "./request.js";
import { ImageCard } from "./result.js";
import { run } from "./runner.js";

let lastId = 0;

function firstQuestion(about) {
  return {
    mode: about.label_sets.length ? "set" : "labels",
    set: about.default_label_set ?? about.label_sets[0]?.name ?? "",
    labels: "",
    decision: "exclusive",
    templates: "",
    contrast: "",
  };
}

export function Playground({ about, shown }) {
  const [images, setImages] = useState([]);
  const [question, setQuestion] = useState(() => firstQuestion(about));
  const [order, setOrder] = useState("score");
  const [running, setRunning] = useState(null);
  const [said, setSaid] = useState("");
  // What the results in sight were asked with, and the thresholds that a person moved since.
  const [asked, setAsked] = useState(null);
  const [tried, setTried] = useState(null);

  const change = (part) => setQuestion((question) => ({ ...question, ...part }));
  const tell = (id, part) =>
    setImages((images) => images.map((each) => (each.id === id ? { ...each, ...part } : each)));

  const take = (files) => {
    const room = about.limits.max_images - images.length;
    const taken = files.slice(0, Math.max(0, room)).map((file) => ({
      id: (lastId += 1),
      file,
      name: file.name || "pasted image",
      url: URL.createObjectURL(file),
      state: "ready",
    }));
    setSaid(taken.length < files.length
      ? `${format.many(files.length - taken.length, "image")} left out: the page holds ${about.limits.max_images}.`
      : "");
    setImages([...images, ...taken]);
    return taken;
  };
  const over = useDropAndPaste(shown, take);

  const remove = (image) => {
    URL.revokeObjectURL(image.url);
    setImages((images) => images.filter((each) => each !== image));
  };
  const clear = () => {
    running?.abort();
    for (const image of images) URL.revokeObjectURL(image.url);
    setImages([]);
  };

  const missing = images.length ? missingOf(question) : "Add an image first.";

  const same = (question_) => asked && JSON.stringify(asked) === JSON.stringify(question_);

  const start = async (given_ = images, question_ = question) => {
    if (running || !given_.length || missingOf(question_)) return;
    // With the same question only what is new; again everything where nothing is.
    const left = same(question_) ? given_.filter((each) => each.state !== "done") : given_;
    const chosen = left.length ? left : given_;
    const given = new AbortController();
    setRunning(given);
    if (!same(question_)) {
      setAsked(question_);
      setTried(setOf(question_, about.label_sets));
    }
    const ids = new Set(chosen.map((each) => each.id));
    setImages((images) => images.map((each) => (ids.has(each.id) ? { ...each, state: "queued", error: null } : each)));
    await run(chosen, fieldsOf(question_), tell, given.signal, about.limits.max_body_bytes);
    setImages((images) => images.map((each) => (isOver(each) ? each : { ...each, state: "ready" })));
    setRunning(null);
  };
  const sample = async () => {
    const taken = take([await sampleImage()]);
    const next = question.mode === "labels" && !question.labels.trim()
      ? { ...question, labels: SAMPLE_LABELS }
      : question;
    setQuestion(next);
    start(taken, next);
  };

  const latest = useRef(start);
  latest.current = start;
  useEffect(() => {
    if (!shown) return undefined;
    const pressed = (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      latest.current();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [shown]);

  const original = useMemo(() => asked && setOf(asked, about.label_sets), [asked, about]);
  const move = (label, which, score) => setTried((set) => moved(set, label, which, score));
  const done = images.filter(isOver).length;
  const stale = asked && done > 0 && !running && !same(question);

  return html`
    <h1 class="visually-hidden">Playground</h1>
    <div class="playground">
      <div class="panel form">
        <${Picker} over=${over} take=${take} />
        ${said && html`<p class="inline-error" role="status">${said}</p>`}
        <${QuestionForm} question=${question} change=${change} about=${about} />
        <div class="run">
          ${running
            ? html`<button type="button" onClick=${() => running.abort()}>Stop</button>`
            : html`<button type="button" class="primary" disabled=${Boolean(missing)} onClick=${() => start()}
                title="Ctrl-Enter">Classify${images.length > 1 ? ` ${images.length} images` : ""}</button>`}
          <span class="hint" aria-live="polite">
            ${running ? `${done} of ${images.length}` : missing ?? html`<kbd>Ctrl</kbd> <kbd>Enter</kbd>`}
          </span>
        </div>
      </div>
      <div class="results">
        ${images.length === 0
          ? html`<${Empty} sample=${sample} />`
          : html`
            <div class="toolbar">
              <${Choice} name="Order of the bars" value=${order} onChange=${setOrder}
                options=${[["score", "By score"], ["set", "In set order"]]} />
              <${Thresholds} set=${tried} original=${original} reset=${() => setTried(original)}
                typed=${asked?.mode === "labels"} />
              <span class="spacer"></span>
              <button type="button" class="quiet" onClick=${clear}>Remove all</button>
            </div>
            ${stale && html`<p class="stale" role="status">The labels changed since. Classify again to see their scores.</p>`}
            ${images.map((image) => html`
              <${ImageCard} key=${image.id} image=${image} set=${tried} original=${original} order=${order}
                geometry=${about.geometry} move=${move} remove=${() => remove(image)} />`)}`}
        <${RequestToCopy} question=${question} image=${images[0]} />
      </div>
    </div>`;
}

const isOver = (image) => image.state === "done" || image.state === "failed";

/** What to do with thresholds that were moved. */
function Thresholds({ set, original, reset, typed }) {
  const lines = set && original ? changedThresholds(set, original) : "";
  if (!lines) return null;
  return html`
    <span class="moved">
      ${!typed && html`<${CopyButton} text=${() => lines} label="Copy thresholds as YAML" />`}
      <button type="button" class="quiet" onClick=${reset}>Reset thresholds</button>
    </span>`;
}

function Empty({ sample }) {
  return html`
    <div class="panel empty">
      <svg class="empty-picture" viewBox="0 0 120 80" aria-hidden="true">
        <rect x="1" y="1" width="118" height="78" rx="6" class="frame" />
        <rect x="21" y="1" width="78" height="78" class="crop" />
        <circle cx="60" cy="40" r="20" class="thing" />
      </svg>
      <h2>See what the model sees</h2>
      <p>Add images, choose labels, then classify. Each label gets a bar. Drag a threshold on a bar to
        see at once what would match.</p>
      <button type="button" onClick=${sample}>Try a drawn sample</button>
    </div>`;
}
