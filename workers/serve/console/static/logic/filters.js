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

/** The image of an outcome or of a dead letter, if it can be shown: one that could not be read or
 * decoded then cannot be now.
 * @param {{code?: string|null, image: any}} outcome */
export function imageOf({ code, image }) {
  return code && /^(fetch|decode|reference|record)\./.test(code) ? null : image;
}

/** Newest first, each once, at most `most`. A server that is asked again, with another filter or after
 * a cut, tells again what the page may know.
 * @param {any[]} known @param {any[]} arrived oldest first @param {number} most */
export function merged(known, arrived, most) {
  const all = new Map([...arrived].reverse().concat(known).map((each) => [each.id, each]));
  return [...all.values()].sort((a, b) => b.at - a.at).slice(0, most);
}
