// State: what is shown, as the text after # of the address, so that a link leads to it.

/** What the page opens with; null leaves a choice to the page. */
const OPENING = {
  token: null, layer: "kept", pruner: null, beside: null, keep: null, threshold: null, word: null, picture: 0, crop: null,
};
const NUMBERS = ["token", "keep", "threshold", "picture", "crop"];

/** The text of a state: what differs from the page as it opens. */
function stateText(state) {
  return Object.keys(OPENING).filter((name) => state[name] !== OPENING[name])
    .map((name) => `${name}=${encodeURIComponent(state[name])}`).join("&");
}

/** The state of a text; what the page does not have is left out, `allowed` are the names of layers and pruners and the
 *  numbers of tokens and pictures. */
function stateOf(text, { layers, pruners, tokens, pictures }) {
  const found = { ...OPENING };
  for (const pair of text.split("&")) {
    const [name, value] = pair.split("=");
    if (!Object.keys(OPENING).includes(name) || value === undefined) continue;
    const read = decoded(value);
    found[name] = NUMBERS.includes(name) ? Number(read) : read;
  }
  const isPlace = (value, count) => Number.isInteger(value) && value >= 0 && value < count;
  if (!isPlace(found.token, tokens)) found.token = null;
  if (!isPlace(found.picture, pictures)) found.picture = 0;
  if (!layers.includes(found.layer)) found.layer = OPENING.layer;
  for (const name of ["pruner", "beside"]) if (!pruners.includes(found[name])) found[name] = null;
  if (!(found.keep > 0 && found.keep <= 1)) found.keep = null;
  if (!Number.isFinite(found.threshold)) found.threshold = null;
  return found;
}

function decoded(value) {
  try {
    return decodeURIComponent(value);
  } catch {
    return value; // a % that was typed
  }
}
