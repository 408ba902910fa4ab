// Panels: a picture or frame, its tokens as a grid that keyboard and pointer walk over, and their colors.

const LEAST_FOR_WORDS = 26; // pixels of a token's width, below which a word on it could not be read
const LARGEST = 20; // pixels of a word's height
const PAGE = 5; // rows that Page Up and Page Down go

class Panel {
  /** The panel of story.panels[number]; `chosen(token, how)` hears what is pointed at, focused or clicked. */
  constructor(story, number, chosen) {
    const told = story.panels[number];
    Object.assign(this, { story, told, chosen, grids: new Map() });
    this.picture = make("img", { src: told.picture, alt: `${told.title}, the picture under the tokens` });
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.stage = make("div", { class: "stage", of: [this.picture, this.canvas] });
    this.element = make("figure", { of: [this.stage, make("figcaption", { text: told.title })] });
    const [left, top, right, bottom] = told.extent;
    this.stage.style.aspectRatio = (told.width * (right - left)) / (told.height * (bottom - top));
    this.place(this.picture, [0, 0, 1, 1]);
    const tokens = [...story.tokens.cell.keys()].filter((token) => story.tokens.cell[token][0] === number);
    this.byCrop = new Map(told.crops.map(({ crop }) =>
      [crop, tokens.filter((token) => story.tokens.cell[token][1] === crop)]));
  }

  /** A box in shares of the picture, in shares of the stage. */
  within([left, top, right, bottom]) {
    const [l, t, r, b] = this.told.extent;
    return [(left - l) / (r - l), (top - t) / (b - t), (right - l) / (r - l), (bottom - t) / (b - t)];
  }

  place(element, box) {
    const [left, top, right, bottom] = this.within(box).map((share) => 100 * share);
    Object.assign(element.style, {
      left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`,
    });
  }

  /** Show the tokens of a crop, or of the first one if there is no such crop. */
  show(crop) {
    const { crop: shown, ...told } = this.told.crops.find((one) => one.crop === crop) ?? this.told.crops[0];
    this.tokens = this.byCrop.get(shown);
    if (!this.grids.has(shown)) this.grids.set(shown, new Grid(this, this.tokens, told));
    this.grid?.element.remove();
    this.grid = this.grids.get(shown);
    this.stage.append(this.grid.element);
  }

  /** Color every token: `look.fill(token)` is a CSS color or null, `look.ring(token)` says whether to ring it. */
  paint(look) {
    const ratio = window.devicePixelRatio || 1, { clientWidth, clientHeight } = this.stage;
    const width = Math.round(clientWidth * ratio), height = Math.round(clientHeight * ratio);
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    for (const token of this.tokens) {
      const [left, top, right, bottom] = this.within(this.story.tokens.box[token])
        .map((share, i) => Math.round(share * (i % 2 ? height : width)));
      const fill = look.fill(token);
      if (fill) {
        pen.fillStyle = fill;
        pen.fillRect(left, top, right - left, bottom - top);
      }
      if (look.ring(token)) {
        pen.lineWidth = Math.max(1, Math.min(3 * ratio, (right - left) / 8));
        pen.strokeStyle = look.mark;
        const inset = pen.lineWidth / 2;
        pen.strokeRect(left + inset, top + inset, right - left - 2 * inset, bottom - top - 2 * inset);
      }
      if (look.isWritten && right - left >= LEAST_FOR_WORDS * ratio) {
        this.write(pen, visible(this.story.tokens.words[token][0][0]), [left, top, right, bottom]);
      }
    }
  }

  /** A word in the middle of a token, small enough to fit. */
  write(pen, word, [left, top, right, bottom]) {
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
    pen.strokeStyle = "rgba(0, 0, 0, .75)";
    pen.fillStyle = "#ffffff";
    pen.lineJoin = "round";
    pen.strokeText(word, (left + right) / 2, (top + bottom) / 2);
    pen.fillText(word, (left + right) / 2, (top + bottom) / 2);
  }

  /** What a token shows, cut out of the picture; a share of the picture's own size. */
  patch(token) {
    const [left, top, right, bottom] = this.story.tokens.box[token].map((edge) => Math.min(Math.max(edge, 0), 1));
    const { naturalWidth: width, naturalHeight: height } = this.picture;
    const canvas = make("canvas", { width: 64, height: 64, role: "img", "aria-label": place(this.story, token) });
    const cut = [left * width, top * height, Math.max(1, (right - left) * width), Math.max(1, (bottom - top) * height)];
    if (width) canvas.getContext("2d").drawImage(this.picture, ...cut, 0, 0, 64, 64);
    return canvas;
  }
}

/** A grid of ARIA over a panel: one of its tokens is in the order of Tab, arrow keys go to the others. */
class Grid {
  constructor(panel, tokens, { label, rows, columns }) {
    const { story, told } = panel;
    this.cells = new Map();
    this.rows = [];
    for (const token of tokens) {
      const [, , row, column] = story.tokens.cell[token];
      (this.rows[row] ??= [])[column] = token;
    }
    this.rows = this.rows.map((line) => line.filter((token) => token !== undefined)).filter((line) => line.length);
    const name = `${told.title}, ${label}: ${rows} rows and ${columns} columns of tokens`;
    this.element = make("div", { role: "grid", "aria-label": name, "aria-rowcount": rows, "aria-colcount": columns });
    this.element.style.cssText = "position: absolute; inset: 0";
    for (const line of this.rows) {
      const of = line.map((token) => this.cell(panel, token));
      this.element.append(make("div", { role: "row", "aria-rowindex": story.tokens.cell[line[0]][2] + 1, of }));
    }
    this.reach(this.rows[0][0]);
    const token = (event) => Number(event.target.dataset.token ?? -1);
    const tell = (how) => (event) => token(event) >= 0 && panel.chosen(token(event), how);
    // Not "pointerover": a token that comes to lie under a resting pointer was not pointed at.
    this.element.addEventListener("pointermove", tell("point"));
    this.element.addEventListener("pointerleave", () => panel.chosen(null, "leave"));
    this.element.addEventListener("click", tell("click"));
    this.element.addEventListener("focusin", (event) => {
      this.reach(token(event));
      event.target.setAttribute("aria-label", summary(story, token(event)));
      panel.chosen(token(event), "focus");
    });
    this.element.addEventListener("keydown", (event) => this.key(event, token(event), panel));
  }

  cell(panel, token) {
    const { story } = panel, [, , , column] = story.tokens.cell[token];
    const cell = make("div", {
      role: "gridcell", tabindex: -1, "data-token": token, "aria-colindex": column + 1,
      "aria-label": `${place(story, token)}: ${visible(story.tokens.words[token][0][0])}`,
    });
    panel.place(cell, story.tokens.box[token]);
    this.cells.set(token, cell);
    return cell;
  }

  /** Make this the token that Tab leads to. */
  reach(token) {
    if (this.reached !== undefined) this.cells.get(this.reached).tabIndex = -1;
    this.reached = token;
    this.cells.get(token).tabIndex = 0;
  }

  key(event, token, panel) {
    if (event.key === "Enter" || event.key === " ") panel.chosen(token, "click");
    else if (event.key === "Escape") panel.chosen(null, "escape");
    else {
      const next = this.next(event, token);
      if (next === undefined) return;
      this.cells.get(next).focus();
    }
    event.preventDefault();
  }

  /** The token that a key leads to; undefined if it is no key of ours. */
  next({ key, ctrlKey }, token) {
    const y = this.rows.findIndex((line) => line.includes(token)), line = this.rows[y], x = line.indexOf(token);
    const last = this.rows.length - 1;
    const across = (to) => line[Math.min(Math.max(to, 0), line.length - 1)];
    const down = (to) => {
      const other = this.rows[Math.min(Math.max(to, 0), last)];
      return other[Math.min(x, other.length - 1)];
    };
    return {
      ArrowLeft: () => across(x - 1),
      ArrowRight: () => across(x + 1),
      ArrowUp: () => down(y - 1),
      ArrowDown: () => down(y + 1),
      PageUp: () => down(y - PAGE),
      PageDown: () => down(y + PAGE),
      Home: () => (ctrlKey ? this.rows[0][0] : line[0]),
      End: () => (ctrlKey ? this.rows[last].at(-1) : line.at(-1)),
    }[key]?.();
  }
}
