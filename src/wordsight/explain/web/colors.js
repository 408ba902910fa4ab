// Colors of values, and the scale that says which color is which number.

// Viridis, in even steps: it gets lighter from end to end, in print and for color-blind eyes too.
const STOPS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

/** The color [red, green, blue] of a place in [0, 1] on the scale. */
function colorAt(place) {
  const at = Math.min(Math.max(place, 0), 1) * (STOPS.length - 1), below = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[below].map((value, i) => Math.round(value + (STOPS[below + 1][i] - value) * (at - below)));
}

/** Where on the scale of a layer a value is. */
function placeOf(layer, value) {
  const bend = layer.scale === "log" ? (number) => Math.log(Math.max(number, layer.low)) : (number) => number;
  const low = bend(layer.low), high = bend(layer.high);
  return high > low ? (bend(value) - low) / (high - low) : 0.5;
}

/** The value at a place of the scale: placeOf, backwards. */
function valueAt(layer, place) {
  if (layer.scale === "log") return layer.low * (layer.high / layer.low) ** place;
  return layer.low + (layer.high - layer.low) * place;
}

/** A number for a reader: three digits. */
function shortly(value) {
  if (value === 0 || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e5 ? value.toExponential(1) : Number(value.toPrecision(3)).toString();
}

/** Show the scale of a layer, or none. */
function drawScale(layer) {
  const scale = document.getElementById("scale");
  scale.hidden = !layer;
  if (!layer) return;
  const places = layer.steps ? layer.steps.map((_, i) => i / Math.max(1, layer.steps.length - 1)) : [0, .25, .5, .75, 1];
  const told = layer.steps ?? places.map((place) => shortly(valueAt(layer, place)));
  if (layer.clipped) [told[0], told[told.length - 1]] = [`≤ ${told[0]}`, `≥ ${told.at(-1)}`];
  const stops = Array.from({ length: 17 }, (_, i) => `rgb(${colorAt(i / 16)})`);
  document.getElementById("bar").style.background = `linear-gradient(to right, ${stops})`;
  document.getElementById("ticks").replaceChildren(...told.map((text) => make("span", { text })));
  scale.setAttribute("aria-label", `color scale, dark to light: ${told.join(", ")}`);
}
