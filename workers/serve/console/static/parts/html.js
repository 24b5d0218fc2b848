/** What all views are made of. Whatever is put into a template is text: Preact escapes it. */

export {
  html,
  render,
  useCallback,
  useEffect,
  useErrorBoundary,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "../vendor/htm-preact.js";

/** Class names of the parts that hold. */
export const classes = (...names) => names.filter(Boolean).join(" ");
