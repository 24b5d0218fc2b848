// Says what each threshold would do to the held-out images, and marks its place on the curve.
for (const part of document.querySelectorAll("[data-steps]")) {
  const steps = JSON.parse(part.dataset.steps);
  const images = Number(part.dataset.images);
  const positives = Number(part.dataset.positives);
  const slider = part.querySelector("input");
  const told = part.querySelector("output");
  const dot = part.querySelector(".dot.chosen");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const show = () => {
    const [score, matched, right] = steps[slider.valueAsNumber];
    const [precision, recall] = [right / matched, right / positives];
    told.textContent =
      `from ${Number(score.toPrecision(4))}: ${matched} of ${images} images match, ` +
      `${right} of them show it (precision ${percent(precision)}), ` +
      `${positives - right} are missed (recall ${percent(recall)})`;
    dot.setAttribute("d", `M${100 * recall} ${100 - 100 * precision}h0`);
  };
  slider.max = steps.length - 1;
  // The new threshold, else the old one: steps fall from high scores to low ones.
  const start = Number(part.dataset.score);
  const below = steps.findIndex(([score]) => score < start);
  slider.value = Math.max(0, (below < 0 ? steps.length : below) - 1);
  slider.addEventListener("input", show);
  show();
}
