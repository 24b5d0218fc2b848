/** What the model sees of an image: `pipeline/decode/crop.py` in JavaScript. Pure. */

/** The square in an image: left, top and side as shares of its width and height, 0 to 1.
 * @param {number} width @param {number} height @param {{resize: number, crop: number}} geometry */
export function squareOf(width, height, geometry) {
  const { resize, crop } = geometry;
  const long = Math.floor((resize * Math.max(width, height)) / Math.min(width, height));
  const [across, down] = width <= height ? [resize, long] : [long, resize];
  return {
    left: Math.floor((across - crop) / 2) / across,
    top: Math.floor((down - crop) / 2) / down,
    width: crop / across,
    height: crop / down,
  };
}

/** Share of the image's area that the model does not see, 0 to 1. */
export function croppedShare(width, height, geometry) {
  const square = squareOf(width, height, geometry);
  return 1 - square.width * square.height;
}
