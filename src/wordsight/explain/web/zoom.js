// Zoom: which part of a panel is seen, in shares of it, and the wheel, drags and pinches that change it.

const MOST = 16; // times
const STEP = 1.5; // times, by a button or key
const STILL = 5; // pixels that a pointer may move and still click

/** The part that is seen: `scale` times as large, from `x` and `y` on. */
class Zoom {
  constructor(onChange) {
    Object.assign(this, { scale: 1, x: 0, y: 0, onChange });
  }

  /** Scale by a factor about a place of the stage, in shares of it. */
  by(factor, [atX, atY] = [.5, .5]) {
    const scale = Math.min(Math.max(this.scale * factor, 1), MOST), gain = 1 / this.scale - 1 / scale;
    this.set(scale, this.x + atX * gain, this.y + atY * gain);
  }

  /** Move by shares of the stage. */
  move(acrossX, acrossY) {
    this.set(this.scale, this.x - acrossX / this.scale, this.y - acrossY / this.scale);
  }

  /** Show the box, in shares of the panel, if it is out of sight. */
  reveal([left, top, right, bottom]) {
    const seen = 1 / this.scale, into = (from, low, high) => Math.min(Math.max(from, high - seen), low);
    this.set(this.scale, into(this.x, left, right), into(this.y, top, bottom));
  }

  set(scale, x, y) {
    const most = 1 - 1 / scale, within = (value) => Math.min(Math.max(value, 0), most);
    const [newX, newY] = [within(x), within(y)];
    if (scale === this.scale && newX === this.x && newY === this.y) return;
    Object.assign(this, { scale, x: newX, y: newY });
    this.onChange();
  }

  /** A box in shares of the panel, in shares of the stage. */
  seen([left, top, right, bottom]) {
    const { scale, x, y } = this;
    return [(left - x) * scale, (top - y) * scale, (right - x) * scale, (bottom - y) * scale];
  }
}

/** Let pointers on a stage change the zoom: a drag moves it, two fingers and the wheel with Ctrl scale it. */
function listenForZoom(stage, zoom) {
  const pointers = new Map();
  let hasMoved = false;
  const placeIn = ({ clientX, clientY }) => {
    const { left, top, width, height } = stage.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / height];
  };
  const spread = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  const middle = ([a, b]) => ({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 });
  const forget = ({ pointerId }) => pointers.delete(pointerId);
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the wheel alone scrolls the page
    event.preventDefault();
    zoom.by(Math.exp(-event.deltaY / 200), placeIn(event));
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    if (!pointers.size) hasMoved = false;
    pointers.set(event.pointerId, event);
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const others = [...pointers.values()].filter(({ pointerId }) => pointerId !== event.pointerId);
    if (!hasMoved && spread([before, event]) < STILL) return;
    if (!hasMoved) stage.setPointerCapture(event.pointerId);
    hasMoved = true;
    const { width, height } = stage.getBoundingClientRect();
    if (others.length) {
      const fingers = [event, others[0]];
      zoom.by(spread(fingers) / Math.max(1, spread([before, others[0]])), placeIn(middle(fingers)));
    } else {
      zoom.move((event.clientX - before.clientX) / width, (event.clientY - before.clientY) / height);
    }
    pointers.set(event.pointerId, event);
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, forget);
  stage.addEventListener("click", (event) => hasMoved && event.stopPropagation(), { capture: true });
}
