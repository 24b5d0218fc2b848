/** The stream of outcomes as a hook: connected, reconnecting, paused, filtered. */

import { useCallback, useEffect, useRef, useState } from "../parts/html.js";
import { follow } from "../api.js";
import { backoffMs } from "../logic/backoff.js";
import { merged, passes, queryOf } from "../logic/filters.js";

const KEPT = 200;
const RATES = 60;
const SHOW_EVERY_MS = 300;
const TYPING_MS = 300;
/** Answers that will not change by asking again. */
const FINAL = new Set([400, 401, 403, 404]);

/** @param {import("../logic/filters.js").Filter} filter @param {boolean} held whether what arrives waits */
export function useOutcomes(filter, held) {
  const [outcomes, setOutcomes] = useState([]);
  const [waiting, setWaiting] = useState(0);
  const [stats, setStats] = useState(null);
  const [rates, setRates] = useState([]);
  const [connection, setConnection] = useState({ state: "connecting", error: null });
  const [turn, setTurn] = useState(0);
  const arrived = useRef([]);
  const holds = useRef(held);
  holds.current = held;

  const show = useCallback(() => {
    if (!arrived.current.length) return;
    const fresh = arrived.current;
    arrived.current = [];
    setWaiting(0);
    setOutcomes((known) => merged(known, fresh, KEPT));
  }, []);

  // What arrives is shown a few times a second, not one by one.
  useEffect(() => {
    const timer = setInterval(() => {
      if (holds.current) setWaiting(arrived.current.length);
      else show();
    }, SHOW_EVERY_MS);
    return () => clearInterval(timer);
  }, [show]);
  useEffect(() => {
    if (!held) show();
  }, [held, show]);

  useEffect(() => {
    const given = new AbortController();
    let timer = 0;
    let failures = 0;
    const told = (event, data) => {
      failures = 0;
      setConnection({ state: "live", error: null });
      if (event === "outcome") {
        arrived.current.push(data);
        // A page that is paused for long keeps the newest.
        if (arrived.current.length > KEPT) arrived.current.shift();
      } else if (event === "stats") {
        setStats(data);
        setRates((rates) => [...rates, data.rate ?? 0].slice(-RATES));
      }
    };
    const connect = async () => {
      let error = null;
      try {
        const query = queryOf(filter);
        await follow(`/v1/live${query && `?${query}`}`, told, given.signal);
      } catch (failed) {
        error = failed;
      }
      if (given.signal.aborted) return;
      if (FINAL.has(error?.status) || error?.code === "stream_not_configured") {
        setConnection({ state: "refused", error });
        return;
      }
      failures += 1;
      setConnection({ state: "reconnecting", error });
      timer = setTimeout(connect, error?.retryAfterMs ?? backoffMs(failures));
    };
    arrived.current = arrived.current.filter((outcome) => passes(outcome, filter));
    timer = setTimeout(connect, filter.text ? TYPING_MS : 0);
    return () => {
      clearTimeout(timer);
      given.abort();
    };
  }, [queryOf(filter), turn]);

  const again = useCallback(() => {
    setConnection({ state: "connecting", error: null });
    setTurn((turn) => turn + 1);
  }, []);
  return { outcomes, waiting, stats, rates, connection, again };
}
