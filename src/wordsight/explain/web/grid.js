// Grid: the tokens of a panel for keyboards and screen readers, one of them in the order of Tab.

const PAGE = 5; // rows that Page Up and Page Down go

/** A grid of ARIA: one of its tokens is in the order of Tab, arrow keys go to the others; `place(element, box)` puts
 *  an element where a token is, `onToken(token, action)` hears what is done to it. */
class Grid {
  constructor(record, tokens, crop, { title, place: put, onToken }) {
    this.record = record;
    this.cells = new Map();
    this.rows = rowsOf(tokens, record.tokens.cell).map((line) => line.filter((token) => token !== undefined))
      .filter((line) => line.length);
    const name = `${title}, ${crop.label}: ${crop.rows} rows and ${crop.columns} columns of tokens`;
    this.element = make("div", {
      role: "grid", class: "tokens", "aria-label": name, "aria-rowcount": crop.rows, "aria-colcount": crop.columns,
    });
    for (const line of this.rows) {
      const of = line.map((token) => this.cell(token, put));
      this.element.append(make("div", { role: "row", "aria-rowindex": record.tokens.cell[line[0]][2] + 1, of }));
    }
    this.makeReachable(this.rows[0][0]);
    const token = (event) => Number(event.target.dataset.token ?? -1);
    const report = (action) => (event) => token(event) >= 0 && onToken(token(event), action);
    // Not "pointerover": a token that comes to lie under a resting pointer was not pointed at.
    this.element.addEventListener("pointermove", report("point"));
    this.element.addEventListener("pointerleave", () => onToken(null, "leave"));
    this.element.addEventListener("click", report("click"));
    this.element.addEventListener("focusin", (event) => {
      this.makeReachable(token(event));
      event.target.setAttribute("aria-label", summary(record, token(event)));
      onToken(token(event), "focus");
    });
    this.element.addEventListener("keydown", (event) => this.key(event, token(event), onToken));
  }

  cell(token, put) {
    const [, , , column] = this.record.tokens.cell[token];
    const cell = make("div", {
      role: "gridcell", tabindex: -1, "data-token": token, "aria-colindex": column + 1,
      "aria-label": `${place(this.record, token)}: ${audible(wordOf(this.record.tokens, token))}`,
    });
    put(cell, this.record.tokens.box[token]);
    this.cells.set(token, cell);
    return cell;
  }

  /** Make this the token that Tab leads to. */
  makeReachable(token) {
    if (this.reachable !== undefined) this.cells.get(this.reachable).tabIndex = -1;
    this.reachable = token;
    this.cells.get(token).tabIndex = 0;
  }

  /** Outline the token, or none. */
  select(token) {
    this.element.querySelector(".selected")?.classList.remove("selected");
    this.cells.get(token)?.classList.add("selected");
  }

  key(event, token, onToken) {
    if (event.key === "Enter" || event.key === " ") onToken(token, "click");
    else if (event.key === "Escape") onToken(null, "escape");
    else {
      const next = nextToken(this.rows, token, event);
      if (next === undefined) return;
      this.cells.get(next).focus({ preventScroll: true });
    }
    event.preventDefault();
  }
}

/** The token that a key leads to from a token of a grid of `rows`; undefined if the key leads nowhere. */
function nextToken(rows, token, { key, ctrlKey }) {
  const y = rows.findIndex((line) => line.includes(token)), line = rows[y], x = line.indexOf(token);
  const last = rows.length - 1;
  const across = (to) => line[Math.min(Math.max(to, 0), line.length - 1)];
  const down = (to) => {
    const other = rows[Math.min(Math.max(to, 0), last)];
    return other[Math.min(x, other.length - 1)];
  };
  return {
    ArrowLeft: () => across(x - 1),
    ArrowRight: () => across(x + 1),
    ArrowUp: () => down(y - 1),
    ArrowDown: () => down(y + 1),
    PageUp: () => down(y - PAGE),
    PageDown: () => down(y + PAGE),
    Home: () => (ctrlKey ? rows[0][0] : line[0]),
    End: () => (ctrlKey ? rows[last].at(-1) : line.at(-1)),
  }[key]?.();
}
