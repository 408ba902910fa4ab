// DOM: makes elements and rows of tables, and writes words and shares. Words of a model may hold anything: they become
// text, never markup.

/** An element with text, attributes and children. */
function make(tag, { text, of = [], ...attributes } = {}) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  element.append(...of);
  return element;
}

/** A row of a table, its first cell a head; numbers are set to the right. */
function row(cells, tag = "td") {
  const elements = cells.map((cell, i) => {
    const kind = i === 0 || tag === "th" ? "th" : "td";
    const scope = kind === "th" ? (tag === "th" ? "col" : "row") : null;
    return make(kind, cell instanceof Node ? { scope, of: [cell] } : { scope, text: cell });
  });
  return make("tr", { of: elements });
}

/** The likeliest word of a token, or null if it says nothing: what the model says without any picture is no word of
 *  the token's. */
function wordOf({ words, says_nothing: saysNothing }, token) {
  return saysNothing[token] ? null : words[token][0][0];
}

/** A word as it can be seen; null, nothing, is a dot. */
function visible(word) {
  return word === "" ? "(blank)" : word ?? "·";
}

/** A word as it can be heard. */
function audible(word) {
  return word === null ? "nothing" : visible(word);
}

/** The form of a word that goes with a number. */
function form(number, one, many) {
  return number === 1 ? one : many;
}

function percent(share) {
  return `${Number((100 * share).toPrecision(3))}%`;
}
