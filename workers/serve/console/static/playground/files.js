/** Images that a person gives: dropped, pasted, picked or drawn. */

import { html, useEffect, useRef, useState } from "../parts/html.js";

/** Takes files that are dropped anywhere on the page, or pasted, while `active`. Returns whether
 * something is dragged over the page. */
export function useDropAndPaste(active, take) {
  const [over, setOver] = useState(false);
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    if (!active) return undefined;
    let depth = 0; // enter and leave come for each element on the way
    const has = (event) => event.dataTransfer?.types?.includes("Files");
    const handlers = {
      dragenter: (event) => has(event) && (event.preventDefault(), (depth += 1), setOver(true)),
      dragleave: (event) => has(event) && ((depth = Math.max(0, depth - 1)), depth || setOver(false)),
      dragover: (event) => has(event) && event.preventDefault(),
      drop: (event) => {
        if (!has(event)) return;
        event.preventDefault(); // else the browser opens the file in place of the page
        depth = 0;
        setOver(false);
        latest.current([...event.dataTransfer.files]);
      },
      paste: (event) => {
        const files = [...(event.clipboardData?.files ?? [])];
        if (!files.length) return;
        event.preventDefault();
        latest.current(files);
      },
    };
    for (const [name, handler] of Object.entries(handlers)) addEventListener(name, handler);
    return () => {
      for (const [name, handler] of Object.entries(handlers)) removeEventListener(name, handler);
    };
  }, [active]);
  return over;
}

/** The place to drop images on, which is a button that opens the file picker. */
export function Picker({ over, take }) {
  const input = useRef(null);
  const picked = (event) => {
    take([...event.target.files]);
    event.target.value = ""; // the same file may be picked again
  };
  return html`
    <button type="button" class=${over ? "drop over" : "drop"} onClick=${() => input.current.click()}>
      <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 16V5m0 0L7.5 9.5M12 5l4.5 4.5M5 16v2.5A1.5 1.5 0 0 0 6.5 20h11a1.5 1.5 0 0 0 1.5-1.5V16" /></svg>
      <strong>${over ? "Drop to add" : "Choose images"}</strong>
      <span class="faint">or drop or paste them anywhere</span>
    </button>
    <input ref=${input} type="file" multiple accept="image/*,.heic,.heif,.avif" hidden
      aria-label="Images" onChange=${picked} />`;
}

/** A drawing to try the page with: a red circle, not quite in the middle of a wide picture. */
export async function sampleImage() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 420 });
  const draw = canvas.getContext("2d");
  const ground = draw.createLinearGradient(0, 0, 640, 420);
  ground.addColorStop(0, "#e7e5e4");
  ground.addColorStop(1, "#b9c0c8");
  draw.fillStyle = ground;
  draw.fillRect(0, 0, 640, 420);
  draw.fillStyle = "#d81e2c";
  draw.beginPath();
  draw.arc(330, 205, 168, 0, 2 * Math.PI);
  draw.fill();
  const blob = await new Promise((drawn) => canvas.toBlob(drawn, "image/png"));
  return new File([blob], "sample.png", { type: "image/png" });
}

export const SAMPLE_LABELS = "red circle\nblue square\ngreen triangle\nyellow star";
