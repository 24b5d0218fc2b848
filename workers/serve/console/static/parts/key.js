/** Asks for the key where the server wants one. */

import { html, useEffect, useRef, useState } from "./html.js";

export function AskForKey({ refused, known, enter }) {
  const [given, setGiven] = useState("");
  const input = useRef(null);
  useEffect(() => input.current.focus(), [refused]);
  const submit = (event) => {
    event.preventDefault();
    const trimmed = given.trim();
    setGiven("");
    if (trimmed) enter(trimmed);
  };
  return html`
    <form class="panel ask-key" onSubmit=${submit}>
      <h1>This server asks for a key</h1>
      <p>Paste a key of this server. It begins with <code>cs_</code>. It stays in this tab, and is gone when the tab closes.</p>
      ${known && html`<p class="inline-error" role="alert">The key was refused: ${refused.message}</p>`}
      <label for="key">Key</label>
      <div class="row">
        <input id="key" ref=${input} type="password" autocomplete="off" spellcheck="false" value=${given}
          onInput=${(event) => setGiven(event.target.value)} />
        <button type="submit" class="primary" disabled=${!given.trim()}>Use this key</button>
      </div>
      <p class="faint">No key yet? <code>clipstream keys create NAME</code> makes one.</p>
    </form>`;
}
