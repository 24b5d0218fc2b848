/** Requests to the server that served the page. The key goes along in a header, never in a URL. */

import { eventReader } from "./logic/events.js";

const KEY = "clipstream.key";
const listeners = new Set();

/** The key, kept for this tab alone. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Calls `told` when any request is answered 401. Returns what ends that. */
export function onUnauthorized(told) {
  listeners.add(told);
  return () => listeners.delete(told);
}

/** An answer that is not the one asked for. `status` is 0 where there was no answer at all. */
export class Refused extends Error {
  constructor(status, code, message, retryAfterMs = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The absolute URL of a path of the API, also where a proxy puts the server below a path. */
export const url = (path) => new URL(path.replace(/^\//, ""), document.baseURI).href;

export function headers(more = {}) {
  const given = key.get();
  return given ? { ...more, Authorization: `Bearer ${given}` } : more;
}

/** The answer to a request. Throws `Refused`. */
export async function request(path, { method = "GET", json, signal, headers: more } = {}) {
  let response;
  try {
    response = await fetch(url(path), {
      method,
      signal,
      cache: "no-store",
      headers: headers({ ...more, ...(json === undefined ? {} : { "Content-Type": "application/json" }) }),
      body: json === undefined ? undefined : JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (!response.ok) {
    throw refusal(response.status, await response.text(), (name) => response.headers.get(name));
  }
  return response;
}

export const getJson = async (path, options) => (await request(path, options)).json();

export const postJson = async (path, json, options) => {
  const response = await request(path, { ...options, method: "POST", json });
  return response.status === 204 ? null : response.json();
};

/** Follows a stream of events until it ends or `signal` aborts. Throws `Refused`. */
export async function follow(path, told, signal) {
  const response = await request(path, { signal, headers: { Accept: "text/event-stream" } });
  const read = eventReader((event, data) => told(event, JSON.parse(data)));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    read(value);
  }
}

/** Posts a form and tells how much of it is sent: fetch cannot.
 * @param {string} path @param {FormData} body
 * @param {(share: number) => void} progress 0 to 1; 1 when all of it is sent */
export function upload(path, body, progress, signal) {
  return new Promise((resolve, reject) => {
    const sent = new XMLHttpRequest();
    sent.open("POST", url(path));
    sent.responseType = "text";
    for (const [name, value] of Object.entries(headers())) {
      sent.setRequestHeader(name, value);
    }
    sent.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    sent.upload.onload = () => progress(1);
    sent.onerror = () => reject(unreachable());
    sent.onabort = () => reject(new DOMException("given up", "AbortError"));
    sent.onload = () => {
      const { status, responseText } = sent;
      if (status < 200 || status > 299) {
        reject(refusal(status, responseText, (name) => sent.getResponseHeader(name)));
        return;
      }
      try {
        resolve(JSON.parse(responseText));
      } catch {
        reject(new Refused(status, "not_json", "the server's answer is not JSON; is it Clipstream's?"));
      }
    };
    signal?.addEventListener("abort", () => sent.abort());
    sent.send(body);
  });
}

function unreachable() {
  return new Refused(0, "unreachable", "the server does not answer; is it running?");
}

function refusal(status, text, header) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // A proxy in between answers with text.
  }
  const wait = Number(header("retry-after-ms")) || Number(header("retry-after")) * 1000 || null;
  const refused = new Refused(
    status,
    error.code ?? `http_${status}`,
    error.message ?? `the server answered with status ${status}`,
    wait,
  );
  if (status === 401) for (const told of listeners) told(refused);
  return refused;
}
