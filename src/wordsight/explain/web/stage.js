// Stage: draws one picture or frame with its tokens, in colors, regions and words, as far as the zoom shows it.

const LARGEST = 20; // pixels of a word's height
const SMALLEST = 8; // below which a word could not be read
const ROOMY = 48; // pixels of a token of a zoomed picture from which on it has its own word
const PATCH = 96; // pixels of a token cut out of its picture

class Stage {
  /** `pictures` are the images of the panels; `onToken(token, action)` is called when a token is pointed at, focused
   *  or clicked, with null for none. */
  constructor(record, pictures, zoom, onToken) {
    Object.assign(this, { record, pictures, zoom, onToken, grids: new Map() });
    this.picture = make("img", { alt: "" });
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.layers = [make("div", { class: "layer", of: [this.picture] }), make("div", { class: "layer" })];
    this.element = make("div", { class: "stage", of: [this.layers[0], this.canvas, this.layers[1]] });
    this.caption = make("figcaption");
    this.figure = make("figure", { of: [this.element, this.caption] });
    listenForZoom(this.element, zoom);
  }

  /** Show a panel and the tokens of its crop of this number, or of its first if there is no such crop. */
  show(number, cropNumber) {
    const data = this.record.panels[number];
    const crop = data.crops.find((one) => one.crop === cropNumber) ?? data.crops[0];
    const [left, top, right, bottom] = data.extent;
    Object.assign(this, { number, data, crop });
    this.element.style.setProperty("--shape", (data.width * (right - left)) / (data.height * (bottom - top)));
    if (this.picture.src !== data.picture) this.picture.src = data.picture;
    this.picture.alt = `${data.title}, the picture under the tokens`;
    this.put(this.picture, [0, 0, 1, 1]);
    const key = `${number} ${crop.crop}`;
    if (!this.grids.has(key)) this.grids.set(key, this.tokensOf(number, crop));
    this.grid?.element.remove();
    Object.assign(this, this.grids.get(key));
    this.layers[1].append(this.grid.element);
  }

  /** The tokens of a crop, as a grid and merged into regions. */
  tokensOf(number, crop) {
    const { cell } = this.record.tokens, title = this.record.panels[number].title;
    const tokens = [...cell.keys()].filter((token) => cell[token][0] === number && cell[token][1] === crop.crop);
    const put = (element, box) => this.put(element, box);
    const grid = new Grid(this.record, tokens, crop, { title, place: put, onToken: this.onToken });
    return { tokens, grid, ...regionsOf(rowsOf(tokens, cell), (token) => wordOf(this.record.tokens, token)) };
  }

  /** A box in shares of the picture, in shares of the panel. */
  within([left, top, right, bottom]) {
    const [l, t, r, b] = this.data.extent;
    return [(left - l) / (r - l), (top - t) / (b - t), (right - l) / (r - l), (bottom - t) / (b - t)];
  }

  put(element, box) {
    const [left, top, right, bottom] = this.within(box).map((share) => 100 * share);
    Object.assign(element.style, {
      left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`,
    });
  }

  /** A box in shares of the picture, in pixels of the canvas. */
  onCanvas(box) {
    const { width, height } = this.canvas;
    return this.zoom.seen(this.within(box)).map((share, i) => Math.round(share * (i % 2 ? height : width)));
  }

  boxOf(token) {
    return this.onCanvas(this.record.tokens.box[token]);
  }

  /** Color every token: `style.fill(token)` is a CSS color or null, `style.isGray(token)` whether it has no color,
   *  `style.ring(token)` whether to ring it; `style.isLost(word)` strikes a word out. */
  paint(style) {
    const ratio = window.devicePixelRatio || 1, { clientWidth, clientHeight } = this.element;
    Object.assign(this.canvas, { width: Math.round(clientWidth * ratio), height: Math.round(clientHeight * ratio) });
    const { scale, x, y } = this.zoom;
    const move = `translate(${-100 * x * scale}%, ${-100 * y * scale}%) scale(${scale})`;
    for (const layer of this.layers) layer.style.transform = move;
    this.element.style.setProperty("--zoom", scale);
    this.element.classList.toggle("zoomed", scale > 1);
    const pen = this.canvas.getContext("2d");
    this.fade(pen, this.tokens.filter(style.isGray), style.cover);
    for (const token of this.tokens) {
      const fill = style.fill(token);
      if (!fill) continue;
      const [left, top, right, bottom] = this.boxOf(token);
      pen.fillStyle = fill;
      pen.fillRect(left, top, right - left, bottom - top);
    }
    if (style.hasWords) this.writeRegions(pen, style);
    for (const token of this.tokens.filter(style.ring)) this.ring(pen, this.boxOf(token), style.mark);
  }

  /** Take the color off the tokens and cover what is left of them. */
  fade(pen, tokens, cover) {
    if (!tokens.length) return;
    const area = new Path2D(), [left, top, right, bottom] = this.onCanvas([0, 0, 1, 1]), runs = [];
    for (const token of tokens) { // a path of few rectangles is clipped faster: neighbors in a row are one
      const box = this.boxOf(token), last = runs.at(-1);
      if (last && last[2] === box[0] && last[1] === box[1] && last[3] === box[3]) last[2] = box[2];
      else runs.push(box);
    }
    for (const [l, t, r, b] of runs) area.rect(l, t, r - l, b - t);
    const picture = this.pictures[this.number];
    if (picture.complete && picture.naturalWidth) {
      pen.save();
      pen.clip(area);
      pen.drawImage(grayCopy(picture), left, top, right - left, bottom - top);
      pen.restore();
    }
    pen.fillStyle = cover;
    pen.fill(area);
  }

  ring(pen, [left, top, right, bottom], color) {
    pen.lineWidth = Math.max(1, Math.min(3 * (window.devicePixelRatio || 1), (right - left) / 8));
    pen.strokeStyle = color;
    const inset = pen.lineWidth / 2;
    pen.strokeRect(left + inset, top + inset, right - left - 2 * inset, bottom - top - 2 * inset);
  }

  /** The edges between regions, and the word of each. */
  writeRegions(pen, style) {
    const lines = new Path2D(), ratio = window.devicePixelRatio || 1;
    for (const [token, side] of this.edges) {
      const [left, top, right, bottom] = this.boxOf(token);
      lines.moveTo(side === "right" ? right : left, side === "right" ? top : bottom);
      lines.lineTo(right, bottom);
    }
    for (const [color, width] of [[style.halo, 3], [style.label, 1]]) {
      pen.lineWidth = width * ratio;
      pen.strokeStyle = color;
      pen.stroke(lines);
    }
    const [left, , right] = this.boxOf(this.tokens[0]);
    const isRoomy = this.zoom.scale > 1 && right - left > ROOMY * ratio;
    for (const { word, tokens, label } of this.regions) {
      if (word === null) continue;
      for (const [first, last] of isRoomy ? tokens.map((token) => [token, token]) : [label]) {
        const box = [...this.boxOf(first).slice(0, 2), ...this.boxOf(last).slice(2)];
        this.write(pen, visible(word), box, { ...style, isStruck: style.isLost(word) });
      }
    }
  }

  /** A word in the middle of a box, small enough to fit; none if it could not be read. */
  write(pen, word, [left, top, right, bottom], { label, halo, mark, isStruck }) {
    const ratio = window.devicePixelRatio || 1, x = (left + right) / 2, y = (top + bottom) / 2;
    if (x < 0 || y < 0 || x > this.canvas.width || y > this.canvas.height) return;
    const wide = widthOf(pen, word), room = right - left - 4;
    const size = Math.min((bottom - top) * .6, LARGEST * ratio, room / wide);
    if (size < SMALLEST * ratio) return;
    Object.assign(pen, {
      font: fontOf(size), textAlign: "center", textBaseline: "middle", lineJoin: "round",
      lineWidth: size / 4, strokeStyle: halo, fillStyle: label,
    });
    pen.strokeText(word, x, y);
    pen.fillText(word, x, y);
    if (!isStruck) return;
    pen.fillStyle = mark;
    pen.fillRect(x - size * wide / 2 - 2 * ratio, y - ratio, size * wide + 4 * ratio, 2 * ratio);
  }
}

function fontOf(size) {
  return `600 ${size}px system-ui, sans-serif`;
}

const widths = new Map();

/** How wide a word is, per pixel of its height: measured once, as every move of a slider writes all words anew. */
function widthOf(pen, word) {
  if (!widths.has(word)) {
    pen.font = fontOf(LARGEST);
    widths.set(word, pen.measureText(word).width / LARGEST);
  }
  return widths.get(word);
}

const grays = new WeakMap();

/** The picture without its colors. */
function grayCopy(picture) {
  if (!grays.has(picture)) {
    const { naturalWidth: width, naturalHeight: height } = picture, canvas = make("canvas", { width, height });
    const pen = canvas.getContext("2d");
    pen.drawImage(picture, 0, 0);
    pen.globalCompositeOperation = "saturation";
    pen.fillStyle = "gray";
    pen.fillRect(0, 0, width, height);
    grays.set(picture, canvas);
  }
  return grays.get(picture);
}

/** What a token shows, cut out of its picture. */
function patch(record, pictures, token) {
  const picture = pictures[record.tokens.cell[token][0]], { naturalWidth: width, naturalHeight: height } = picture;
  const [left, top, right, bottom] = record.tokens.box[token].map((edge) => Math.min(Math.max(edge, 0), 1));
  const part = [left * width, top * height, Math.max(1, (right - left) * width), Math.max(1, (bottom - top) * height)];
  return cutOut(picture, part, `the picture at ${place(record, token)}`);
}

/** A part [left, top, width, height] of a picture, as a picture of this name. */
function cutOut(picture, part, name) {
  const canvas = make("canvas", { width: PATCH, height: PATCH, class: "patch", role: "img", "aria-label": name });
  if (picture.naturalWidth) canvas.getContext("2d").drawImage(picture, ...part, 0, 0, PATCH, PATCH);
  return canvas;
}
