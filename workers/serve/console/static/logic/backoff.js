/** How long to wait before a connection is tried again. Pure but for the chance that is passed. */

const FIRST_MS = 500;
const LONGEST_MS = 15_000;

/** Milliseconds before the next try: doubled each time, and spread so that pages do not return
 * together. @param {number} failures from 1 @param {() => number} chance 0 to 1 */
export function backoffMs(failures, chance = Math.random) {
  const most = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1));
  return Math.round(most * (0.75 + 0.25 * chance()));
}
