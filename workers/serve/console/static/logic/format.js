/** Numbers and times as people read them. Pure. */

/** @param {number} share 0 to 1 */
export const percent = (share) => `${Math.round(share * 100)} %`;

/** A score 0 to 1: three places, and never 1.000 for what is less. @param {number} score */
export function score(score) {
  const text = score.toFixed(3);
  return text === "1.000" && score < 1 ? "0.999" : text;
}

/** A similarity -1 to 1. @param {number} value */
export const similarity = (value) => value.toFixed(3).replace("-", "\u2212");

/** @param {number} count */
export const count = (count) => count.toLocaleString("en-US");

/** @param {number} number @param {string} noun */
export const many = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** A length of time in its largest unit. @param {number|null|undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

/** How long ago. @param {number|null|undefined} at seconds of the epoch @param {number} now */
export function ago(at, now = Date.now() / 1000) {
  if (at === null || at === undefined) return "–";
  const seconds = now - at;
  return seconds < 1.5 ? "just now" : `${duration(Math.round(seconds)).replace(".0 ", " ")} ago`;
}

/** A moment in the reader's own time zone. @param {number|null|undefined} at */
export function moment(at) {
  if (at === null || at === undefined) return "–";
  return new Date(at * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
}

/** A version hash, short enough to compare by eye. @param {string} version */
export const shortVersion = (version) => version.replace(/^sha256:/, "").slice(0, 10);

/** A long name by its end, which tells names apart: as many parts of a path as there is room for.
 * @param {string} name @param {number} most characters */
export function tail(name, most) {
  if (name.length <= most) return name;
  const cut = name.slice(2 - most);
  const slash = cut.indexOf("/");
  return slash < 0 ? `…${name.slice(1 - most)}` : `…${cut.slice(slash)}`;
}

/** Items a second. @param {number|null|undefined} rate */
export function rate(rate) {
  if (rate === null || rate === undefined) return "–";
  return rate >= 100 ? count(Math.round(rate)) : rate.toFixed(1);
}
