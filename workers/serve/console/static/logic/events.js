/** Server-sent events out of text that arrives in pieces. Pure. */

/** A reader: give it pieces, it calls `told(event, data)` for each whole event.
 * @param {(event: string, data: string) => void} told */
export function eventReader(told) {
  let rest = "";
  return (piece) => {
    rest += piece;
    const blocks = rest.split(/\r\n\r\n|\n\n|\r\r/);
    rest = blocks.pop();
    for (const block of blocks) {
      let event = "message";
      const data = [];
      for (const line of block.split(/\r\n|\n|\r/)) {
        if (line.startsWith("event:")) event = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      }
      if (data.length) told(event, data.join("\n"));
    }
  };
}
