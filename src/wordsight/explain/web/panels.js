// Panels: draws a picture or frame with its tokens as a grid, and reports hover, focus, clicks and keys on them;
// what the page says on hover of a token is in details.js.

const LEAST_FOR_WORDS = 26; // pixels of a token's width, below which a word on it could not be read
const LARGEST = 20; // pixels of a word's height
const PAGE = 5; // rows that Page Up and Page Down go

class Panel {
  /** The panel of record.panels[number]; `onToken(token, action)` is called when a token is pointed at, focused or
   *  clicked, with null for none. */
  constructor(record, number, onToken) {
    const data = record.panels[number];
    Object.assign(this, { record, data, onToken, grids: new Map() });
    this.picture = make("img", { src: data.picture, alt: `${data.title}, the picture under the tokens` });
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.stage = make("div", { class: "stage", of: [this.picture, this.canvas] });
    this.element = make("figure", { of: [this.stage, make("figcaption", { text: data.title })] });
    const [left, top, right, bottom] = data.extent;
    this.stage.style.aspectRatio = (data.width * (right - left)) / (data.height * (bottom - top));
    this.place(this.picture, [0, 0, 1, 1]);
    const tokens = [...record.tokens.cell.keys()].filter((token) => record.tokens.cell[token][0] === number);
    this.byCrop = new Map(data.crops.map(({ crop }) =>
      [crop, tokens.filter((token) => record.tokens.cell[token][1] === crop)]));
  }

  /** A box in shares of the picture, in shares of the stage. */
  within([left, top, right, bottom]) {
    const [l, t, r, b] = this.data.extent;
    return [(left - l) / (r - l), (top - t) / (b - t), (right - l) / (r - l), (bottom - t) / (b - t)];
  }

  place(element, box) {
    const [left, top, right, bottom] = this.within(box).map((share) => 100 * share);
    Object.assign(element.style, {
      left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`,
    });
  }

  /** Show the tokens of the crop of this number, or of the first one if there is no such crop. */
  show(number) {
    const crop = this.data.crops.find((one) => one.crop === number) ?? this.data.crops[0];
    this.tokens = this.byCrop.get(crop.crop);
    if (!this.grids.has(crop.crop)) this.grids.set(crop.crop, new Grid(this, this.tokens, crop));
    this.grid?.element.remove();
    this.grid = this.grids.get(crop.crop);
    this.stage.append(this.grid.element);
  }

  /** Color every token: `style.fill(token)` is a CSS color or null, `style.ring(token)` whether to ring it. */
  paint(style) {
    const ratio = window.devicePixelRatio || 1, { clientWidth, clientHeight } = this.stage;
    const width = Math.round(clientWidth * ratio), height = Math.round(clientHeight * ratio);
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    for (const token of this.tokens) {
      const [left, top, right, bottom] = this.within(this.record.tokens.box[token])
        .map((share, i) => Math.round(share * (i % 2 ? height : width)));
      const fill = style.fill(token);
      if (fill) {
        pen.fillStyle = fill;
        pen.fillRect(left, top, right - left, bottom - top);
      }
      if (style.ring(token)) {
        pen.lineWidth = Math.max(1, Math.min(3 * ratio, (right - left) / 8));
        pen.strokeStyle = style.mark;
        const inset = pen.lineWidth / 2;
        pen.strokeRect(left + inset, top + inset, right - left - 2 * inset, bottom - top - 2 * inset);
      }
      if (style.hasWords && right - left >= LEAST_FOR_WORDS * ratio) {
        this.write(pen, visible(wordOf(this.record.tokens, token)), [left, top, right, bottom], style);
      }
    }
  }

  /** A word in the middle of a token, small enough to fit. */
  write(pen, word, [left, top, right, bottom], { label, halo }) {
    const room = right - left - 4;
    let size = Math.min((bottom - top) / 3, (right - left) / 3.2, LARGEST * (window.devicePixelRatio || 1));
    pen.font = `${size}px system-ui, sans-serif`;
    const wide = pen.measureText(word).width;
    if (wide > room) size *= room / wide;
    if (size < 6 * (window.devicePixelRatio || 1)) return;
    pen.font = `${size}px system-ui, sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineWidth = size / 4;
    pen.strokeStyle = halo;
    pen.fillStyle = label;
    pen.lineJoin = "round";
    pen.strokeText(word, (left + right) / 2, (top + bottom) / 2);
    pen.fillText(word, (left + right) / 2, (top + bottom) / 2);
  }

  /** What a token shows, cut out of the picture; a share of the picture's own size. */
  patch(token) {
    const [left, top, right, bottom] = this.record.tokens.box[token].map((edge) => Math.min(Math.max(edge, 0), 1));
    const { naturalWidth: width, naturalHeight: height } = this.picture;
    const canvas = make("canvas", { width: 64, height: 64, role: "img", "aria-label": place(this.record, token) });
    const cut = [left * width, top * height, Math.max(1, (right - left) * width), Math.max(1, (bottom - top) * height)];
    if (width) canvas.getContext("2d").drawImage(this.picture, ...cut, 0, 0, 64, 64);
    return canvas;
  }
}

/** A grid of ARIA over a panel: one of its tokens is in the order of Tab, arrow keys go to the others. */
class Grid {
  constructor(panel, tokens, { label, rows, columns }) {
    const { record } = panel;
    this.cells = new Map();
    this.rows = [];
    for (const token of tokens) {
      const [, , row, column] = record.tokens.cell[token];
      (this.rows[row] ??= [])[column] = token;
    }
    this.rows = this.rows.map((line) => line.filter((token) => token !== undefined)).filter((line) => line.length);
    const name = `${panel.data.title}, ${label}: ${rows} rows and ${columns} columns of tokens`;
    this.element = make("div", { role: "grid", "aria-label": name, "aria-rowcount": rows, "aria-colcount": columns });
    this.element.style.cssText = "position: absolute; inset: 0";
    for (const line of this.rows) {
      const of = line.map((token) => this.cell(panel, token));
      this.element.append(make("div", { role: "row", "aria-rowindex": record.tokens.cell[line[0]][2] + 1, of }));
    }
    this.makeReachable(this.rows[0][0]);
    const token = (event) => Number(event.target.dataset.token ?? -1);
    const report = (action) => (event) => token(event) >= 0 && panel.onToken(token(event), action);
    // Not "pointerover": a token that comes to lie under a resting pointer was not pointed at.
    this.element.addEventListener("pointermove", report("point"));
    this.element.addEventListener("pointerleave", () => panel.onToken(null, "leave"));
    this.element.addEventListener("click", report("click"));
    this.element.addEventListener("focusin", (event) => {
      this.makeReachable(token(event));
      event.target.setAttribute("aria-label", summary(record, token(event)));
      panel.onToken(token(event), "focus");
    });
    this.element.addEventListener("keydown", (event) => this.key(event, token(event), panel));
  }

  cell(panel, token) {
    const { record } = panel, [, , , column] = record.tokens.cell[token];
    const cell = make("div", {
      role: "gridcell", tabindex: -1, "data-token": token, "aria-colindex": column + 1,
      "aria-label": `${place(record, token)}: ${audible(wordOf(record.tokens, token))}`,
    });
    panel.place(cell, record.tokens.box[token]);
    this.cells.set(token, cell);
    return cell;
  }

  /** Make this the token that Tab leads to. */
  makeReachable(token) {
    if (this.reachable !== undefined) this.cells.get(this.reachable).tabIndex = -1;
    this.reachable = token;
    this.cells.get(token).tabIndex = 0;
  }

  key(event, token, panel) {
    if (event.key === "Enter" || event.key === " ") panel.onToken(token, "click");
    else if (event.key === "Escape") panel.onToken(null, "escape");
    else {
      const next = nextToken(this.rows, token, event);
      if (next === undefined) return;
      this.cells.get(next).focus();
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
