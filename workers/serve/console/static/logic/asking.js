/** What the playground asks the server, and the same question for other programs. Pure. */

import { labelsOf, typedSet } from "./decide.js";

/**
 * @typedef {{mode: "set"|"labels", set: string, labels: string, decision: "exclusive"|"independent",
 *   templates: string, contrast: string}} Question what stands in the form
 */

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** The request's fields beside the images. @param {Question} question */
export function fieldsOf(question) {
  if (question.mode === "set") return { label_set: question.set };
  const fields = { labels: labelsOf(question.labels), decision: question.decision };
  const templates = lines(question.templates);
  if (templates.length) fields.templates = templates;
  const contrast = lines(question.contrast);
  if (question.decision === "independent" && contrast.length) fields.contrast = contrast;
  return fields;
}

/** What is still missing, as a sentence; null if the question can be asked. */
export function missingOf(question) {
  if (question.mode === "set") return question.set ? null : "Choose a label set.";
  const count = labelsOf(question.labels).length;
  if (!count) return "Type at least one label.";
  if (question.decision === "exclusive" && count < 2) {
    return "Exclusive labels share one whole: type at least two.";
  }
  if (question.decision === "independent" && !lines(question.contrast).length) {
    return "Independent labels need contrast prompts: open Advanced.";
  }
  const bad = lines(question.templates).find((line) => !line.includes("{}"));
  return bad ? `The template “${bad}” needs {} where the label goes.` : null;
}

/** The label set that the answer's scores are held against.
 * @param {Question} question @param {any[]} sets the server's */
export function setOf(question, sets) {
  return question.mode === "set"
    ? sets.find((each) => each.name === question.set)
    : typedSet(labelsOf(question.labels), question.decision);
}

/** Texts to copy. `base` is the server's address without a slash at its end.
 * @param {Question} question @param {string} base @param {string} file @param {string} type */
export function snippets(question, base, file, type, keyed) {
  return {
    curl: curl(fieldsOf(question), base, file, keyed),
    python: python(question, base, file, type, keyed),
    json: JSON.stringify(
      { images: [`data:${type};base64,…`], ...fieldsOf(question) },
      null,
      2,
    ),
  };
}

/** A text as one word of a POSIX shell. */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function curl(fields, base, file, keyed) {
  const parts = Object.entries(fields).flatMap(([name, value]) => [value].flat().map((each) => [name, each]));
  // One text of labels is split at its commas, and one in brackets is read as JSON.
  const alone = (name) => parts.filter(([each]) => each === name).length === 1;
  const text = ([name, value]) => (alone(name) && /^[[{]|,/.test(value) ? JSON.stringify([value]) : value);
  return [
    `curl ${quoted(`${base}/v1/classify`)}`,
    ...(keyed ? ['-H "Authorization: Bearer $CLIPSTREAM_KEY"'] : []),
    `-F ${quoted(`image=@${file}`)}`,
    ...parts.map((part) => `--form-string ${quoted(`${part[0]}=${text(part)}`)}`),
  ].join(" \\\n  ");
}

function python(question, base, file, type, keyed) {
  const read = `image = base64.b64encode(Path(${JSON.stringify(file)}).read_bytes()).decode()`;
  const uri = `f"data:${type};base64,{image}"`;
  const key = keyed ? `os.environ["CLIPSTREAM_KEY"]` : `"none"`;
  const imports = ["import base64", ...(keyed ? ["import os"] : []), "from pathlib import Path", ""];
  if (question.mode === "set") {
    return [
      ...imports,
      "from openai import OpenAI",
      "",
      `client = OpenAI(base_url=${JSON.stringify(`${base}/v1`)}, api_key=${key})`,
      read,
      "answer = client.moderations.create(",
      `    model=${JSON.stringify(question.set)},`,
      `    input=[{"type": "image_url", "image_url": {"url": ${uri}}}],`,
      ")",
      "print(answer.results[0].flagged, answer.results[0].category_scores)",
    ].join("\n");
  }
  const fields = Object.entries(fieldsOf(question));
  return [
    ...imports,
    "import httpx",
    "",
    read,
    "answer = httpx.post(",
    `    ${JSON.stringify(`${base}/v1/classify`)},`,
    ...(keyed ? [`    headers={"Authorization": f"Bearer {${key}}"},`] : []),
    "    json={",
    `        "images": [${uri}],`,
    // Strings and lists of strings: JSON's spelling is Python's too.
    ...fields.map(([name, value]) => `        ${JSON.stringify(name)}: ${JSON.stringify(value)},`),
    "    },",
    ")",
    "answer.raise_for_status()",
    "print(answer.json())",
  ].join("\n");
}
