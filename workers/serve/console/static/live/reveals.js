/** Which blurred images a person has asked to see. Each is told to the server first, which writes a
 * line into its audit log; without that line the image stays blurred. */

import { useCallback, useState } from "../parts/html.js";
import { postJson } from "../api.js";
import { imageOf } from "../logic/filters.js";

// For as long as the page lives: who has seen an image once need not ask again.
const revealed = new Set();

export function useReveals(blur) {
  const [, setCount] = useState(0);
  const [error, setError] = useState(null);
  const reveal = useCallback(async (outcome) => {
    try {
      await postJson("/v1/live/reveal", { id: outcome.id, uri: outcome.uri });
      revealed.add(outcome.id);
      setError(null);
      setCount(revealed.size);
    } catch (failed) {
      setError(failed);
    }
  }, []);
  const blurred = (outcome) => blur && Boolean(imageOf(outcome)) && !revealed.has(outcome.id);
  return { blurred, reveal, error };
}
