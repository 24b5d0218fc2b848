/** What a view shows when it has nothing else to show. Each says what to do. */

import { html, useErrorBoundary } from "./html.js";

/** @param {{tone?: "plain"|"warn"|"danger", title: string, action?: any, children?: any}} given */
export function Notice({ tone = "plain", title, children, action }) {
  return html`
    <div class=${`notice ${tone}`} role=${tone === "danger" ? "alert" : "status"}>
      <h3>${title}</h3>
      ${children && html`<div class="notice-text">${children}</div>`}
      ${action}
    </div>`;
}

/** Keeps a defect of one view from taking the others with it. */
export function Guarded({ children }) {
  const [error, forget] = useErrorBoundary();
  if (!error) return children;
  return html`
    <${Notice} tone="danger" title="This view failed"
      action=${html`<button type="button" onClick=${forget}>Try again</button>`}>
      <p>${String(error.message ?? error)}</p>
      <p>Load the page again. If it fails again, report the message with the version of Clipstream.</p>
    </${Notice}>`;
}

export function Loading({ what }) {
  return html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${what}…</p>`;
}

/** Why a request was refused, with what to do about it. */
export function Failure({ error, retry, scope, keyName }) {
  if (error.code === "stream_not_configured") {
    return html`<${Notice} title="The stream is not configured here"><p>${error.message}</p></${Notice}>`;
  }
  if (error.status === 403) {
    return html`<${Forbidden} scope=${scope} keyName=${keyName} message=${error.message} />`;
  }
  if (error.status === 401) return null; // the page asks for the key
  return html`
    <${Notice} tone="danger" title=${error.status === 0 ? "No answer from the server" : "The server refused this"}
      action=${retry && html`<button type="button" onClick=${retry}>Try again</button>`}>
      <p>${error.message}</p>
      <p class="faint">Code: <code>${error.code}</code></p>
    </${Notice}>`;
}

export function Forbidden({ scope, keyName, message }) {
  return html`
    <${Notice} tone="warn" title="Your key may not see this">
      <p>${message ?? `The key ${keyName ? `“${keyName}” ` : ""}lacks the scope “${scope}”.`}</p>
      <p>Ask whoever keeps the keys for one that has it:</p>
      <pre class="code">clipstream keys create NAME --scope ${scope}</pre>
    </${Notice}>`;
}
