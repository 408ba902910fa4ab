// Colors: turns values into colors, and draws the scale that says which color is which number.

// Viridis, in even steps: it gets lighter from end to end, in print and for color-blind eyes too.
const STOPS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

/** The color [red, green, blue] of a place in [0, 1] on the scale. */
function colorAt(place) {
  const at = Math.min(Math.max(place, 0), 1) * (STOPS.length - 1), below = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[below].map((value, i) => Math.round(value + (STOPS[below + 1][i] - value) * (at - below)));
}

/** A color, "#rrggbb" or [red, green, blue], of this opacity in [0, 1]. */
function translucent(color, opacity) {
  if (Array.isArray(color)) return `rgba(${color}, ${opacity})`;
  return color + Math.round(255 * opacity).toString(16).padStart(2, "0");
}

/** Where on its color scale a value of a map is. */
function placeOf(map, value) {
  const bend = map.scale === "log" ? (number) => Math.log(Math.max(number, map.low)) : (number) => number;
  const low = bend(map.low), high = bend(map.high);
  return high > low ? (bend(value) - low) / (high - low) : 0.5;
}

/** The value at a place of the scale: placeOf, backwards. */
function valueAt(map, place) {
  if (map.scale === "log") return map.low * (map.high / map.low) ** place;
  return map.low + (map.high - map.low) * place;
}

/** A number for a reader: three digits. */
function shortly(value) {
  if (value === 0 || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e5 ? value.toExponential(1) : Number(value.toPrecision(3)).toString();
}

/** The numbers below the color scale of a map. */
function ticks(map) {
  const texts = map.steps ?? [0, .25, .5, .75, 1].map((place) => shortly(valueAt(map, place)));
  return map.clipped ? [`≤ ${texts[0]}`, ...texts.slice(1, -1), `≥ ${texts.at(-1)}`] : texts;
}

/** Show the color scale of a map, or none. */
function drawScale(map) {
  const scale = document.getElementById("scale");
  scale.hidden = !map;
  if (!map) return;
  const stops = Array.from({ length: 17 }, (_, i) => `rgb(${colorAt(i / 16)})`);
  document.getElementById("bar").style.background = `linear-gradient(to right, ${stops})`;
  document.getElementById("ticks").replaceChildren(...ticks(map).map((text) => make("span", { text })));
  scale.setAttribute("aria-label", `color scale, dark to light: ${ticks(map).join(", ")}`);
}
