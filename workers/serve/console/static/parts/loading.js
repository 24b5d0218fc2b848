/** A hook for what a view asks of the server: the answer, or why there is none. */

import { useCallback, useEffect, useRef, useState } from "./html.js";

/** Loads at once and, with `everyMs`, again that long after each answer. An answer stays in sight
 * while the next one loads or fails.
 * @param {(signal: AbortSignal) => Promise<any>} load
 * @returns {{value: any, error: Error|null, loading: boolean, reload: () => void}} */
export function useLoaded(load, dependencies = [], { everyMs = 0, when = true } = {}) {
  const [state, setState] = useState({ value: null, error: null, loading: true });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    if (!when) return undefined;
    const given = new AbortController();
    let timer = 0;
    const once = async () => {
      setState((state) => ({ ...state, loading: true }));
      try {
        const value = await latest.current(given.signal);
        if (!given.signal.aborted) setState({ value, error: null, loading: false });
      } catch (error) {
        if (given.signal.aborted) return;
        setState((state) => ({ ...state, error, loading: false }));
      }
      if (everyMs && !given.signal.aborted) timer = setTimeout(once, everyMs);
    };
    once();
    return () => {
      given.abort();
      clearTimeout(timer);
    };
  }, [...dependencies, turn, when, everyMs]);
  const reload = useCallback(() => setTurn((turn) => turn + 1), []);
  return { ...state, reload };
}

/** The time, again every second: for ages. */
export function useNow() {
  const [now, setNow] = useState(Date.now() / 1000);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() / 1000), 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
