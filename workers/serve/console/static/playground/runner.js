/** Asks the server about each image, a few at a time, and waits where it is told to. */

import { Refused, upload } from "../api.js";
import { size } from "../logic/format.js";

const AT_A_TIME = 3;
const TRIES = 6;
const WAIT_MS = 1000;
/** What a form needs beside its file, at most. */
const FORM_BYTES = 64 * 1024;

/** Runs until each image has a result or an error.
 * @param {{id: number, file: File}[]} images
 * @param {any} fields of the request beside the images
 * @param {(id: number, change: any) => void} tell what changed about an image
 * @param {AbortSignal} signal @param {number} maxBytes of a request's body */
export async function run(images, fields, tell, signal, maxBytes) {
  const waiting = [...images];
  const lane = async () => {
    for (let image = waiting.shift(); image && !signal.aborted; image = waiting.shift()) {
      try {
        tell(image.id, await once(image, fields, tell, signal, maxBytes));
      } catch (error) {
        if (signal.aborted) return;
        tell(image.id, { state: "failed", error: { code: error.code ?? "page", message: error.message } });
        if (error.status === 401) return;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, lane));
}

async function once({ id, file }, fields, tell, signal, maxBytes) {
  if (file.size > maxBytes - FORM_BYTES) {
    throw new Refused(
      0,
      "too_large",
      `the file has ${size(file.size)}, more than the ${size(maxBytes)} that the server takes; send a smaller one`,
    );
  }
  tell(id, { state: "sending", share: 0 });
  const body = new FormData();
  // A list of texts goes as JSON: a label may hold a comma.
  for (const [name, value] of Object.entries(fields)) {
    body.set(name, Array.isArray(value) ? JSON.stringify(value) : value);
  }
  body.set("image", file, file.name || "image");
  for (let tried = 1; ; tried += 1) {
    try {
      const progress = (share) => tell(id, { state: share < 1 ? "sending" : "looking", share });
      const answer = await upload("/v1/classify", body, progress, signal);
      const [image] = answer.images;
      if (image.error) return { state: "failed", error: image.error };
      return { state: "done", result: image, model: answer.model, error: null };
    } catch (error) {
      if (error.status !== 429 || tried === TRIES) throw error;
      const wait = error.retryAfterMs ?? WAIT_MS;
      tell(id, { state: "waits", wait, why: error.message });
      await pause(wait, signal);
    }
  }
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("given up", "AbortError"));
    });
  });
}
