/**
 * Which outcomes of the stream are shown. The server filters what it sends; these rules filter what
 * the page already has. Pure.
 *
 * @typedef {{decision: string, label_set: string, label: string, text: string}} Filter
 */

/** @type {Filter} */
export const NO_FILTER = Object.freeze({ decision: "", label_set: "", label: "", text: "" });

/** Dead letters are found under this decision. */
export const DEAD_LETTER = "dead_letter";

/** Whether an outcome is shown.
 * @param {any} outcome @param {Filter} filter */
export function passes(outcome, filter) {
  const decisions = outcome.decisions ?? [];
  const ofSet = filter.label_set
    ? decisions.filter((each) => each.label_set === filter.label_set)
    : decisions;
  if (filter.label_set && !ofSet.length) return false;
  if (filter.decision === DEAD_LETTER) {
    if (outcome.kind !== DEAD_LETTER) return false;
  } else if (filter.decision && !ofSet.some((each) => each.decision === filter.decision)) {
    return false;
  }
  if (filter.label && !ofSet.some((each) => (each.matched ?? []).includes(filter.label))) {
    return false;
  }
  return !filter.text || textOf(outcome).includes(filter.text.toLowerCase());
}

/** What a text filter looks at, in lower case. */
function textOf(outcome) {
  const matched = (outcome.decisions ?? []).flatMap((each) => each.matched ?? []);
  return [outcome.subject, outcome.uri, outcome.code, ...matched]
    .filter(Boolean)
    .join("\n")
    .toLowerCase();
}

/** The filter as a query of the API, without what is not set.
 * @param {Filter} filter */
export function queryOf(filter) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filter)) if (value) query.set(name, value);
  return query.toString();
}

/** Newest first, each once, at most `most`.
 * @param {any[]} known @param {any[]} arrived oldest first @param {number} most */
export function merged(known, arrived, most) {
  const seen = new Set();
  const all = [];
  for (const outcome of [...arrived].reverse().concat(known)) {
    if (seen.has(outcome.id)) continue;
    seen.add(outcome.id);
    all.push(outcome);
    if (all.length === most) break;
  }
  return all;
}
