// Save: the stages as they are shown, with the question and what was found, as a PNG.

const MARGIN = 16;

/** Save the stages, and the lines above them, under a name. */
function savePicture(stages, lines, { paper, text }) {
  const ratio = window.devicePixelRatio || 1, margin = MARGIN * ratio, line = 1.5 * MARGIN * ratio;
  const widths = stages.map(({ canvas }) => canvas.width);
  const top = margin + (lines.length + 1) * line, width = widths.reduce((sum, one) => sum + one + margin, margin);
  const height = top + Math.max(...stages.map(({ canvas }) => canvas.height)) + margin;
  const sheet = make("canvas", { width, height }), pen = sheet.getContext("2d");
  pen.fillStyle = paper;
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = text;
  pen.font = `${MARGIN * ratio}px system-ui, sans-serif`;
  lines.forEach((each, i) => pen.fillText(each, margin, margin + (i + .7) * line, width - 2 * margin));
  let left = margin;
  for (const stage of stages) {
    const [l, t, r, b] = stage.onCanvas([0, 0, 1, 1]), { canvas } = stage;
    pen.fillText(stage.caption.textContent, left, top - .5 * margin, canvas.width);
    pen.save();
    pen.beginPath();
    pen.rect(left, top, canvas.width, canvas.height);
    pen.clip();
    const picture = stage.pictures[stage.number];
    pen.drawImage(stage.isColored ? grayCopy(picture) : picture, left + l, top + t, r - l, b - t);
    pen.restore();
    pen.drawImage(canvas, left, top);
    left += canvas.width + margin;
  }
  const link = make("a", { href: sheet.toDataURL("image/png"), download: "wordsight.png" });
  document.body.append(link);
  link.click();
  link.remove();
}
