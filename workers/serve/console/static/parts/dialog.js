/** A modal dialog. The browser keeps the focus inside it, and gives it back afterwards. */

import { html, useEffect, useRef } from "./html.js";

/** Rendered means open. `onClose` is called for Escape, for the button and for a click beside it. */
export function Dialog({ title, onClose, children, footer, wide = false }) {
  const dialog = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    const element = dialog.current;
    element.showModal();
    return () => {
      element.close();
      before?.focus?.({ preventScroll: true });
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  const beside = (event) => event.target === dialog.current && onClose();
  return html`
    <dialog ref=${dialog} class=${wide ? "wide" : ""} aria-labelledby="dialog-title"
      onCancel=${cancel} onClick=${beside}>
      <div class="dialog-body">
        <header>
          <h2 id="dialog-title">${title}</h2>
          <button type="button" class="quiet icon" aria-label="Close" onClick=${onClose}>
            <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4l8 8M12 4l-8 8" /></svg>
          </button>
        </header>
        <div class="dialog-content">${children}</div>
        ${footer && html`<footer>${footer}</footer>`}
      </div>
    </dialog>`;
}
