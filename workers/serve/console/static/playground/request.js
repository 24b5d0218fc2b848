/** The request as other programs would send it. */

import { html, useState } from "../parts/html.js";
import { Choice, Code } from "../parts/small.js";
import { key, url } from "../api.js";
import { snippets } from "../logic/asking.js";

const KINDS = [["curl", "curl"], ["python", "Python"], ["json", "JSON"]];

export function RequestToCopy({ question, image }) {
  const [kind, setKind] = useState("curl");
  const file = image?.name ?? "photo.jpg";
  const type = image?.file.type || "image/jpeg";
  const base = url("").replace(/\/$/, "");
  const texts = snippets(question, base, file, type, Boolean(key.get()));
  return html`
    <section class="panel request" aria-labelledby="request-title">
      <div class="panel-head">
        <h2 id="request-title">The same request elsewhere</h2>
        <${Choice} name="Kind of program" value=${kind} options=${KINDS} onChange=${setKind} />
      </div>
      <${Code} text=${texts[kind]} label=${`The request for ${kind}`} />
    </section>`;
}
