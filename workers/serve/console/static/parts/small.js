/** Small parts: badges, a copy button, code to copy, a sparkline. */

import { html, useEffect, useRef, useState } from "./html.js";

/** An action or state as a word on a ground whose colour says how severe it is. */
export function Badge({ tone = "calm", children, title }) {
  return html`<span class=${`badge ${tone}`} title=${title}>${children}</span>`;
}

export function CopyButton({ text, label = "Copy" }) {
  const [said, setSaid] = useState("");
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    clearTimeout(timer.current);
    try {
      await navigator.clipboard.writeText(text());
      setSaid("Copied");
    } catch {
      setSaid("Select and copy by hand");
    }
    timer.current = setTimeout(() => setSaid(""), 2000);
  };
  return html`
    <button type="button" class="quiet copy" onClick=${copy}>
      <span aria-live="polite">${said || label}</span>
    </button>`;
}

/** A sentence in which names stand between backticks. */
export function Prose({ text }) {
  return text.split("`").map((part, at) => (at % 2 ? html`<code>${part}</code>` : part));
}

/** Text in a fixed-width face, with a button that copies it. */
export function Code({ text, label }) {
  return html`
    <div class="code-block">
      <pre class="code" tabindex="0" aria-label=${label}>${text}</pre>
      <${CopyButton} text=${() => text} />
    </div>`;
}

/** The course of a number: newest at the right. A description stands beside it. */
export function Sparkline({ values, width = 180, height = 32 }) {
  const most = Math.max(1e-9, ...values);
  const step = width / Math.max(1, values.length - 1);
  const points = values.map(
    (value, index) => `${(index * step).toFixed(1)},${(height - 2 - (value / most) * (height - 4)).toFixed(1)}`,
  );
  return html`
    <svg class="sparkline" viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
      ${points.length > 1 && html`
        <polygon points=${`0,${height} ${points.join(" ")} ${width},${height}`} />
        <polyline points=${points.join(" ")} />`}
    </svg>`;
}

/** Words as choices of which one holds: buttons of a group. */
export function Choice({ name, value, options, onChange }) {
  return html`
    <div class="choice" role="group" aria-label=${name}>
      ${options.map(([key, text]) => html`
        <button type="button" key=${key} aria-pressed=${key === value} onClick=${() => onChange(key)}>
          ${text}
        </button>`)}
    </div>`;
}
