/**
 * What scores mean under thresholds: the rule of the server, so that a slider shows at once what
 * would match. Pure.
 *
 * @typedef {{score: number, action: string}} Threshold
 * @typedef {{name: string, neutral?: boolean, act: Threshold|null, review: Threshold|null}} Label
 * @typedef {{name: string, actions: string[], default_action: string, labels: Label[]}} LabelSet
 * @typedef {{label: string, score: number, similarity: number}} Score
 */

/** The action that a score calls for, or null if the label does not match.
 * @param {Label} label @param {number} score */
export function actionOf(label, score) {
  for (const threshold of [label.act, label.review]) {
    if (threshold && score >= threshold.score) return threshold.action;
  }
  return null;
}

/** The labels that match, in the set's order, and the most severe of their actions.
 * @param {LabelSet} set @param {Score[]} scores */
export function decide(set, scores) {
  const byName = new Map(scores.map((each) => [each.label, each.score]));
  const matched = [];
  let decision = null;
  for (const label of set.labels) {
    if (!byName.has(label.name)) continue;
    const action = actionOf(label, byName.get(label.name));
    if (action === null) continue;
    matched.push(label.name);
    if (decision === null || set.actions.indexOf(action) < set.actions.indexOf(decision)) {
      decision = action;
    }
  }
  return { matched, decision: decision ?? set.default_action };
}

/** What the set decides of an image. The server raised the decision of one that was seen in part, and
 * no threshold undoes that.
 * @param {LabelSet} set @param {{scores: Score[], decision: string, raised?: string[]}} result */
export function judge(set, result) {
  const { matched, decision } = decide(set, result.scores);
  const raised = result.raised &&
    set.actions.indexOf(result.decision) < set.actions.indexOf(decision);
  return { matched, decision: raised ? result.decision : decision };
}

/** The set with one threshold moved. A review threshold is never above the act threshold: the
 * other one gives way.
 * @param {LabelSet} set @param {string} name @param {"act"|"review"} which @param {number} score */
export function moved(set, name, which, score) {
  const other = which === "act" ? "review" : "act";
  return {
    ...set,
    labels: set.labels.map((label) => {
      if (label.name !== name || !label[which]) return label;
      const next = { ...label, [which]: { ...label[which], score } };
      const gives = label[other] &&
        (which === "act" ? label.review.score > score : label.act.score < score);
      if (gives) next[other] = { ...label[other], score };
      return next;
    }),
  };
}

/** Lines for the label set's file: the labels whose thresholds differ from another set's.
 * @param {LabelSet} set @param {LabelSet} original */
export function changedThresholds(set, original) {
  const before = new Map(original.labels.map((label) => [label.name, label]));
  const lines = [];
  for (const label of set.labels) {
    const was = before.get(label.name);
    const changed = ["review", "act"].filter(
      (which) => label[which] && was?.[which]?.score !== label[which].score,
    );
    if (!changed.length) continue;
    lines.push(`- name: ${JSON.stringify(label.name)}`);
    for (const which of changed) lines.push(`  ${which}_threshold: ${label[which].score}`);
  }
  return lines.join("\n");
}

/** A label set of labels that a person typed: a label matches from a half on.
 * @param {string[]} names @param {"exclusive"|"independent"} decision */
export function typedSet(names, decision) {
  return {
    name: "typed labels",
    decision,
    actions: ["match", "none"],
    default_action: "none",
    labels: names.map((name) => ({
      name,
      neutral: false,
      act: { score: 0.5, action: "match" },
      review: null,
    })),
  };
}

/** Labels as typed: one a line, or between commas. Without doubles.
 * @param {string} text */
export function labelsOf(text) {
  const names = text.split(/[\n,]/).map((each) => each.trim()).filter(Boolean);
  return [...new Set(names)];
}

/** How an action looks: by its meaning, never by its colour alone.
 * @param {string} action @param {{actions: string[], default_action: string}|undefined} set
 * @returns {"calm"|"info"|"warn"|"danger"} */
export function toneOf(action, set) {
  if (set && action === set.default_action) return "calm";
  if (action === "review") return "warn";
  if (action === "match" || !set) return "info";
  return set.actions.indexOf(action) === 0 ? "danger" : "info";
}

/** Scores with the highest first; equal ones keep the set's order.
 * @param {Score[]} scores */
export function sorted(scores) {
  return [...scores].sort((a, b) => b.score - a.score);
}
