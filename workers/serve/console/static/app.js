/** The console: asks the server what it is, asks for a key where one is needed, shows four views. */

import { getJson, key, onUnauthorized } from "./api.js";
import { DeadLetters } from "./letters/letters.js";
import { Live } from "./live/live.js";
import { html, render, useEffect, useState } from "./parts/html.js";
import { useLoaded } from "./parts/loading.js";
import { Failure, Forbidden, Guarded, Loading } from "./parts/notice.js";
import { AskForKey } from "./parts/key.js";
import { Playground } from "./playground/playground.js";
import { Status } from "./status/status.js";

/** The views by the hash of the address. */
const VIEWS = [
  { id: "playground", name: "Playground", scope: "classify" },
  { id: "live", name: "Live", scope: "live", view: Live },
  { id: "dead-letters", name: "Dead letters", scope: "dead-letters", view: DeadLetters },
  { id: "status", name: "Status", scope: "admin", view: Status },
];

const viewOf = (hash) => VIEWS.find((view) => `#${view.id}` === hash) ?? VIEWS[0];

function useView() {
  const [view, setView] = useState(viewOf(location.hash));
  useEffect(() => {
    const changed = () => setView(viewOf(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return view;
}

function App() {
  const view = useView();
  const [asked, setAsked] = useState(null);
  const { value: about, error, reload } = useLoaded((signal) => getJson("/v1/console", { signal }));
  useEffect(() => onUnauthorized(setAsked), []);
  useEffect(() => {
    document.title = `${view.name} · Clipstream`;
  }, [view]);
  const enter = (given) => {
    key.set(given);
    setAsked(null);
    reload();
  };
  const forget = () => {
    key.forget();
    location.reload();
  };
  return html`
    <${Header} view=${view} about=${about} forget=${key.get() && !asked ? forget : null} />
    <main id="main" tabindex="-1">
      ${asked && html`<${AskForKey} refused=${asked} known=${Boolean(key.get())} enter=${enter} />`}
      ${!asked && !about && (error
        ? html`<${Failure} error=${error} retry=${reload} scope="classify" />`
        : html`<${Loading} what="Asking the server" />`)}
      ${about && html`<div hidden=${Boolean(asked)}><${Views} view=${view} about=${about} reload=${reload} /></div>`}
    </main>`;
}

/** The playground keeps its images while another view is open. The others begin anew. */
function Views({ view, about, reload }) {
  const may = about.key.scopes.includes(view.scope);
  return html`
    <section hidden=${view.id !== "playground"} aria-label="Playground">
      <${Playground} about=${about} shown=${view.id === "playground"} />
    </section>
    ${view.view && html`
      <section key=${view.id} aria-label=${view.name}>
        ${may
          ? html`<${Guarded}><${view.view} about=${about} reload=${reload} /></${Guarded}>`
          : html`<h1>${view.name}</h1><${Forbidden} scope=${view.scope} keyName=${about.key.name} />`}
      </section>`}`;
}

function Header({ view, about, forget }) {
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header class="top">
      <a class="brand" href="#playground">
        <img src="console/icon.svg" alt="" width="24" height="24" /><span>Clipstream</span>
      </a>
      <nav aria-label="Views">
        ${VIEWS.map((each) => html`
          <a key=${each.id} href=${`#${each.id}`} aria-current=${each === view ? "page" : undefined}>${each.name}</a>`)}
      </nav>
      <div class="top-end">
        ${about && html`<span class="model" title=${`${about.model.name} at ${about.model.revision}, ${about.model.precision}`}>
          ${about.model.name.split("/").pop()} <span class="faint">${about.model.precision}</span>
        </span>`}
        ${forget && html`<button type="button" class="quiet" onClick=${forget}
          title=${about ? `Forget the key of ${about.key.name}` : ""}>Forget key</button>`}
      </div>
    </header>`;
}

/** The hash is the view's, so the link moves the focus itself. */
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

render(html`<${App} />`, document.getElementById("app"));
