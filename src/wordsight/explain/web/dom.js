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

/** A word as it can be seen. */
function visible(word) {
  return word === "" ? "(blank)" : word;
}

function percent(share) {
  return `${Number((100 * share).toPrecision(3))}%`;
}
