/** Images that need the key: fetched with it, shown as blobs, given back when they leave the page. */

import { html, useEffect, useRef, useState } from "./html.js";
import { request } from "../api.js";

const AT_A_TIME = 4; // the browser has six connections to a host, and the stream holds one

let running = 0;
const waiting = [];

async function inTurn(work, signal) {
  if (running >= AT_A_TIME) {
    await new Promise((turn, never) => {
      waiting.push(turn);
      signal.addEventListener("abort", () => {
        const at = waiting.indexOf(turn);
        if (at < 0) return;
        waiting.splice(at, 1);
        never(new DOMException("given up", "AbortError"));
      });
    });
  }
  running += 1;
  try {
    signal.throwIfAborted();
    return await work();
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

/** The path of an image of the stream. @param {any} image @param {160|640} size */
export function imagePath(image, size) {
  const query = new URLSearchParams();
  for (const name of ["bucket", "key", "version_id", "etag"]) {
    if (image[name]) query.set(name, image[name]);
  }
  query.set("size", String(size));
  return `/v1/live/image?${query}`;
}

/** An image of the stream. Loads when it comes near the window.
 * @param {{image: any|null, size: 160|640, alt: string, blurred?: boolean}} given */
export function Thumbnail({ image, size, alt, blurred = false }) {
  const place = useRef(null);
  const [state, setState] = useState({ url: null, error: null });
  const path = image && imagePath(image, size);
  useEffect(() => {
    if (!path) return undefined;
    const given = new AbortController();
    let url = null;
    const load = async () => {
      try {
        const answer = await inTurn(() => request(path, { signal: given.signal }), given.signal);
        const blob = await answer.blob();
        if (given.signal.aborted) return;
        url = URL.createObjectURL(blob);
        setState({ url, error: null });
      } catch (error) {
        if (!given.signal.aborted) setState({ url: null, error });
      }
    };
    const near = new IntersectionObserver((seen) => {
      if (!seen.some((each) => each.isIntersecting)) return;
      near.disconnect();
      load();
    }, { rootMargin: "300px" });
    near.observe(place.current);
    return () => {
      near.disconnect();
      given.abort();
      if (url) URL.revokeObjectURL(url);
    };
  }, [path]);
  return html`
    <span ref=${place} class=${blurred ? "thumbnail blurred" : "thumbnail"}>
      ${state.url
        ? html`<img src=${state.url} alt=${blurred ? "Blurred image" : alt} />`
        : html`<span class="no-image">${!image ? "No image" : state.error ? missing(state.error) : ""}</span>`}
    </span>`;
}

/** Why there is no image, in two words. */
function missing(error) {
  if (error.status === 403) return "Not allowed";
  if (error.status === 404) return "Gone";
  return "Cannot be shown";
}
