/** The console's rules without a browser: run by test_console_logic.py, or `node --test`. */

import assert from "node:assert/strict";
import { test } from "node:test";

const here = "../../../workers/serve/console/static/logic";
const { actionOf, changedThresholds, decide, labelsOf, moved, toneOf, typedSet } = await import(`${here}/decide.js`);
const { squareOf, croppedShare } = await import(`${here}/crop.js`);
const { imageOf, merged, NO_FILTER, passes, queryOf } = await import(`${here}/filters.js`);
const { eventReader } = await import(`${here}/events.js`);
const { backoffMs } = await import(`${here}/backoff.js`);
const { fieldsOf, missingOf, snippets } = await import(`${here}/asking.js`);
const format = await import(`${here}/format.js`);

const label = (name, act, review) => ({
  name,
  act: act === undefined ? null : { score: act, action: "block" },
  review: review === undefined ? null : { score: review, action: "review" },
});
const SET = {
  name: "moderation",
  actions: ["block", "review", "allow"],
  default_action: "allow",
  labels: [label("a", 0.9, 0.5), label("b", undefined, 0.7), label("c")],
};
const scores = (...values) => values.map((score, at) => ({ label: "abc"[at], score, similarity: 0 }));

test("the act threshold comes before the review threshold, and both include their score", () => {
  assert.equal(actionOf(SET.labels[0], 0.9), "block");
  assert.equal(actionOf(SET.labels[0], 0.89), "review");
  assert.equal(actionOf(SET.labels[0], 0.49), null);
  assert.equal(actionOf(SET.labels[2], 1), null);
});

test("the decision is the most severe action of the labels that match", () => {
  assert.deepEqual(decide(SET, scores(0.95, 0.8, 1)), { matched: ["a", "b"], decision: "block" });
  assert.deepEqual(decide(SET, scores(0.1, 0.7, 1)), { matched: ["b"], decision: "review" });
  assert.deepEqual(decide(SET, scores(0.1, 0.1, 1)), { matched: [], decision: "allow" });
});

test("scores in another order, or without a label, decide the same", () => {
  const shuffled = scores(0.95, 0.8, 1).reverse();
  assert.equal(decide(SET, shuffled).decision, "block");
  assert.deepEqual(decide(SET, shuffled.slice(0, 2)), { matched: ["b"], decision: "review" });
});

test("a review threshold never stands above the act threshold", () => {
  const lower = moved(SET, "a", "act", 0.3);
  assert.deepEqual([lower.labels[0].act.score, lower.labels[0].review.score], [0.3, 0.3]);
  const higher = moved(SET, "a", "review", 0.95);
  assert.deepEqual([higher.labels[0].act.score, higher.labels[0].review.score], [0.95, 0.95]);
  assert.equal(SET.labels[0].act.score, 0.9);
  assert.equal(moved(SET, "b", "act", 0.3).labels[1].act, null);
});

test("only thresholds that moved are written for the file", () => {
  assert.equal(changedThresholds(SET, SET), "");
  assert.equal(changedThresholds(moved(SET, "b", "review", 0.6), SET), '- name: "b"\n  review_threshold: 0.6');
});

test("labels are typed one a line or between commas", () => {
  assert.deepEqual(labelsOf(" a cat, a dog\n\na cat\n a bird ,"), ["a cat", "a dog", "a bird"]);
  assert.equal(decide(typedSet(["x", "y"], "exclusive"), [{ label: "y", score: 0.5 }]).decision, "match");
});

test("colours follow what an action means in its set", () => {
  assert.deepEqual(SET.actions.map((action) => toneOf(action, SET)), ["danger", "warn", "calm"]);
  assert.equal(toneOf("block", undefined), "info");
});

test("the square is the centre of the shorter edge", () => {
  const geometry = { resize: 224, crop: 224 };
  const wide = squareOf(600, 300, geometry);
  assert.deepEqual(wide, { left: 0.25, top: 0, width: 0.5, height: 1 });
  assert.equal(croppedShare(300, 600, geometry), 0.5);
  assert.ok(Math.abs(croppedShare(500, 500, { resize: 256, crop: 224 }) - (1 - (224 / 256) ** 2)) < 1e-12);
});

const outcome = (given) => ({
  id: "1", kind: "classification", subject: "photos/Cat.jpg", uri: "s3://b/photos/Cat.jpg", code: null,
  decisions: [
    { label_set: "moderation", decision: "review", matched: ["weapon"] },
    { label_set: "objects", decision: "tag", matched: ["cat"] },
  ],
  ...given,
});

test("an outcome passes when one label set has all that is asked", () => {
  const ask = (filter) => passes(outcome(), { ...NO_FILTER, ...filter });
  assert.ok(ask({}));
  assert.ok(ask({ decision: "review" }));
  assert.ok(ask({ label_set: "objects", decision: "tag", label: "cat" }));
  assert.ok(!ask({ label_set: "objects", decision: "review" }));
  assert.ok(!ask({ label_set: "other" }));
  assert.ok(ask({ text: "cat.JPG" }));
  assert.ok(ask({ text: "weapon" }));
  assert.ok(!ask({ text: "dog" }));
  assert.ok(!ask({ decision: "dead_letter" }));
  assert.ok(passes(outcome({ kind: "dead_letter", decisions: [] }), { ...NO_FILTER, decision: "dead_letter" }));
});

test("a filter is sent without what is not set", () => {
  assert.equal(queryOf({ ...NO_FILTER, text: "a&b", decision: "block" }), "decision=block&text=a%26b");
});

test("an image that could not be read is not asked for again", () => {
  assert.equal(imageOf({ code: null, image: 1 }), 1);
  assert.equal(imageOf({ code: "publish.too_large", image: 1 }), 1);
  for (const code of ["fetch.not_found", "decode.truncated"]) assert.equal(imageOf({ code, image: 1 }), null);
});

test("outcomes are kept newest first, each once, within a bound", () => {
  const of = (...ids) => ids.map((id) => ({ id, at: id.charCodeAt(0) }));
  assert.deepEqual(merged(of("b", "a"), of("b", "c", "d"), 3), of("d", "c", "b"));
  // The newest ones that pass a filter are told again, and stay where they are.
  assert.deepEqual(merged(of("d", "c", "b"), of("a", "c"), 9), of("d", "c", "b", "a"));
});

test("events are read out of pieces, wherever these are cut", () => {
  const text = 'event: outcome\ndata: {"a":\ndata: 1}\n\n: ping\n\nevent: stats\r\ndata: 2\r\n\r\ndata: 3\n\n';
  for (let size = 1; size < text.length; size += 1) {
    const told = [];
    const read = eventReader((event, data) => told.push([event, data]));
    for (let at = 0; at < text.length; at += size) read(text.slice(at, at + size));
    assert.deepEqual(told, [["outcome", '{"a":\n1}'], ["stats", "2"], ["message", "3"]]);
  }
});

test("waits double up to a bound, and are spread", () => {
  assert.deepEqual([1, 2, 3].map((failures) => backoffMs(failures, () => 1)), [500, 1000, 2000]);
  assert.equal(backoffMs(50, () => 1), 15000);
  assert.equal(backoffMs(1, () => 0), 375);
});

const QUESTION = { mode: "labels", set: "", labels: "a cat, a dog", decision: "exclusive", templates: "", contrast: "" };

test("a question says what is missing", () => {
  assert.equal(missingOf(QUESTION), null);
  assert.match(missingOf({ ...QUESTION, labels: " " }), /at least one/);
  assert.match(missingOf({ ...QUESTION, labels: "a cat" }), /at least two/);
  assert.match(missingOf({ ...QUESTION, decision: "independent" }), /contrast/);
  assert.match(missingOf({ ...QUESTION, templates: "a photo" }), /\{\}/);
});

test("a question's fields are those that are set", () => {
  assert.deepEqual(fieldsOf(QUESTION), { labels: ["a cat", "a dog"], decision: "exclusive" });
  assert.deepEqual(fieldsOf({ ...QUESTION, mode: "set", set: "moderation" }), { label_set: "moderation" });
  assert.deepEqual(fieldsOf({ ...QUESTION, decision: "independent", contrast: "a\nb" }).contrast, ["a", "b"]);
});

test("the key stands in no text to copy", () => {
  for (const text of Object.values(snippets(QUESTION, "https://host", "a.jpg", "image/jpeg", true))) {
    assert.ok(!text.includes("cs_"));
  }
  assert.match(snippets(QUESTION, "https://host", "a.jpg", "image/jpeg", true).curl, /\$CLIPSTREAM_KEY/);
});

test("numbers read as people write them", () => {
  assert.equal(format.score(0.99999), "0.999");
  assert.equal(format.score(1), "1.000");
  assert.equal(format.size(75_000), "75 kB");
  assert.equal(format.many(1, "record"), "1 record");
  assert.equal(format.many(1200, "record"), "1,200 records");
  assert.equal(format.duration(0.34), "0.3 s");
  assert.equal(format.duration(7200), "2 h");
  assert.equal(format.ago(100, 104), "4 s ago");
  assert.equal(format.tail("uploads/2026/11/04711.jpg", 20), "…/2026/11/04711.jpg");
  assert.equal(format.tail("a".repeat(30), 10), `…${"a".repeat(9)}`);
});
