/** An image with the part of it that the model saw. */

import { html, useState } from "../parts/html.js";
import { squareOf } from "../logic/crop.js";
import * as format from "../logic/format.js";

/** The browser turns the image by its EXIF orientation, as the server does. What the model does not
 * see is dimmed. */
export function Seen({ image, geometry }) {
  const [natural, setNatural] = useState(null);
  const [broken, setBroken] = useState(false);
  const facts = image.result?.image;
  const width = facts?.width ?? natural?.width;
  const height = facts?.height ?? natural?.height;
  const loaded = (event) => setNatural({ width: event.target.naturalWidth, height: event.target.naturalHeight });
  return html`
    <figure class="seen">
      ${broken
        ? html`<div class="no-preview">This browser cannot show this file.</div>`
        : html`
          <div class="seen-frame">
            <img src=${image.url} alt=${image.name} onLoad=${loaded} onError=${() => setBroken(true)} />
            ${width && height && image.state === "done" && html`<${Square} width=${width} height=${height} geometry=${geometry} />`}
          </div>`}
      <figcaption>
        <span class="file-name" title=${image.name}>${image.name}</span>
        <span class="faint">${facts ? factsLine(facts) : format.size(image.file.size)}</span>
        ${facts && html`<span class="faint">${croppedLine(facts, image.result.views?.length ?? 1)}</span>`}
      </figcaption>
    </figure>`;
}

function Square({ width, height, geometry }) {
  const { left, top, width: across, height: down } = squareOf(width, height, geometry);
  const [x, y, w, h] = [left * 100, top * 100, across * 100, down * 100];
  return html`
    <svg class="square" viewBox="0 0 100 100" preserveAspectRatio="none" role="img"
      aria-label="The marked square is what the model saw">
      <path class="dim" fill-rule="evenodd" d=${`M0 0H100V100H0ZM${x} ${y}V${y + h}H${x + w}V${y}Z`} />
      <rect x=${x} y=${y} width=${w} height=${h} />
    </svg>`;
}

function factsLine(facts) {
  const parts = [facts.format, `${facts.width} × ${facts.height}`];
  if (facts.size_bytes !== undefined) parts.push(format.size(facts.size_bytes));
  if (facts.frames > 1) {
    const seen = facts.frames_seen ?? 1;
    parts.push(`${seen > 1 ? seen : "first"} of ${format.many(facts.frames, "frame")}`);
  }
  return parts.join(" · ");
}

function croppedLine(facts, views) {
  const share = facts.cropped_share;
  if (views > 1) return `The model saw ${views} views: ${format.percent(share)} of the area is in none.`;
  if (share < 0.005) return "The model saw all of it.";
  return `The model saw the square: ${format.percent(share)} is cut off.`;
}
