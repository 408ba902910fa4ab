// The page: what is shown of the story, and what a hand on a control changes.

const story = JSON.parse(document.getElementById("record").textContent);
const at = (id) => document.getElementById(id);
const count = story.tokens.cell.length;
const methods = story.methods.map((told) => new Method(told, count));
const panels = story.panels.map((_, number) => new Panel(story, number, chosen));
const { keep: share } = story.agreement[Math.floor(story.agreement.length / 2)];
const state = { layer: story.layers[0].name, method: 0, share, word: null, shown: null, pinned: null };
let kept = []; // per pruner: what it keeps (Method.kept), and of every token whether it does (`has`)

/** A layer's choice in the list is its name, "kept:I" of a pruner, "votes" of all, or "none". */
function layerOptions() {
  const option = (value, text) => make("option", { value, text });
  const groups = [["what tokens say and do", story.layers.map(({ name, label }) => option(name, label))]];
  const keepers = methods.map(({ name }, i) => option(`kept:${i}`, `kept by ${name}`));
  if (methods.length > 1) keepers.push(option("votes", "where pruners disagree"));
  if (keepers.length) groups.push(["who keeps them", keepers]);
  groups.push(["the picture", [option("none", "no color")]]);
  return groups.map(([label, of]) => make("optgroup", { label, of }));
}

/** The layer as colors.js takes it, or null where there is no scale. */
function scaled() {
  if (state.layer !== "votes") {
    const layer = story.layers.find(({ name }) => name === state.layer);
    return layer ? { ...layer, clipped: layer.high > layer.low } : null;
  }
  const steps = Array.from({ length: methods.length + 1 }, (_, i) => String(i));
  return { scale: "linear", low: 0, high: methods.length, steps };
}

/** What the layer is, in a sentence. */
function about() {
  if (state.layer === "votes") return "how many of the pruners keep the token at the share chosen";
  if (state.layer === "none") return "the picture as it is";
  if (!state.layer.startsWith("kept:")) return story.layers.find(({ name }) => name === state.layer).about;
  return `${methods[state.method].name}, ${methods[state.method].how}; dropped tokens are covered`;
}

/** How tokens are to be painted: see Panel.paint. */
function look() {
  const style = getComputedStyle(document.documentElement), strength = at("strength").value / 100;
  const isKept = state.layer.startsWith("kept:"), layer = scaled();
  const values = state.layer === "votes" ? votes() : story.tokens.values[state.layer];
  const fill = (token) => {
    if (isKept) return kept[state.method].has[token] ? null : `rgba(${style.getPropertyValue("--veil")}, ${strength})`;
    return layer ? `rgba(${colorAt(placeOf(layer, values[token]))}, ${strength})` : null;
  };
  const ring = (token) =>
    (state.word === null ? isKept && kept[state.method].has[token] : story.tokens.words[token][0][0] === state.word);
  return { fill, ring, mark: style.getPropertyValue("--mark"), isWritten: at("written").checked };
}

/** By how many pruners each token is kept. */
function votes() {
  return story.tokens.cell.map((_, token) => kept.reduce((sum, { has }) => sum + has[token], 0));
}

function paint() {
  const how = look();
  for (const panel of panels) panel.paint(how);
}

function showLayer() {
  at("layer").value = state.layer;
  at("about").textContent = `${at("layer").selectedOptions[0].textContent}: ${about()}.`;
  drawScale(scaled());
  at("panels").classList.toggle("colored", scaled() !== null);
  paint();
}

/** Decide anew what is kept, and show it wherever it shows. */
function showKept() {
  kept = methods.map((method) => {
    const choice = method.kept(state.share), has = new Uint8Array(count);
    for (const token of choice.tokens) has[token] = 1;
    return { ...choice, has };
  });
  at("keep").value = state.share;
  at("share").textContent = `${percent(state.share)} = ${budget(state.share, count)} of ${count}`;
  kept.forEach(({ tokens, by, keep }, i) => {
    const when = { share: "", threshold: ", by threshold", nearest: `, computed at ${percent(keep ?? 0)}` }[by];
    const told = keep === null ? ", by its own threshold" : when;
    at(`count-${i}`).textContent = `${tokens.length} of ${count}${told}`;
  });
  showThreshold();
  if (methods.length > 1) {
    const counts = votes(), all = counts.filter((number) => number === methods.length).length;
    const none = counts.filter((number) => number === 0).length;
    at("agreement").textContent =
      `Tokens kept by all ${methods.length} pruners: ${all}; by some: ${count - all - none}; by none: ${none}.`;
  }
  paint();
  showToken();
}

function showThreshold() {
  const method = methods[state.method];
  at("sieve").hidden = !method?.scores;
  if (!method?.scores) return;
  const [low, high] = method.ends, limit = method.limit;
  at("threshold-label").textContent = `or, of ${method.name}, those with a ${method.side.label}`;
  at("limit").textContent = limit === null ? "not set" : limit.toPrecision(4);
  if (limit !== null && document.activeElement !== at("threshold")) {
    at("threshold").value = high > low ? Math.round((1000 * (limit - low)) / (high - low)) : 0;
  }
  at("threshold").setAttribute("aria-valuetext", at("limit").textContent);
}

/** A token was pointed at, focused or clicked: what is pinned stays until it is let go. */
function chosen(token, how) {
  if (how === "escape" || (how === "click" && state.pinned === token)) state.pinned = null;
  else if (how === "click") state.pinned = token;
  else if (how === "focus" && state.pinned !== null) state.pinned = token;
  const shown = state.pinned ?? token ?? state.shown;
  if (shown === state.shown && how !== "click") return;
  state.shown = shown;
  showToken();
}

function showToken() {
  document.querySelector(".shown")?.classList.remove("shown");
  document.querySelector(`[data-token="${state.shown}"]`)?.classList.add("shown");
  describe(story, panels, state.shown, methods.map(({ name }, i) => [name, kept[i].has[state.shown] === 1]));
}

function build() {
  at("layer").replaceChildren(...layerOptions());
  at("layer").addEventListener("change", () => {
    state.layer = at("layer").value;
    if (state.layer.startsWith("kept:")) chooseMethod(Number(state.layer.slice(5)));
    showLayer();
  });
  const crops = new Map(story.panels.flatMap(({ crops }) => crops.map(({ crop, label }) => [crop, label])));
  at("crop").replaceChildren(...[...crops].map(([value, text]) => make("option", { value, text })));
  at("crops").hidden = crops.size < 2;
  at("crop").addEventListener("change", showCrop);
  for (const id of ["strength", "written"]) at(id).addEventListener("input", paint);
  at("panels").append(...panels.map(({ element }) => element));
  at("panels").classList.toggle("several", panels.length > 1);
  at("details").addEventListener("click", ({ target }) => {
    if (target.id !== "close") return;
    state.shown = state.pinned = null;
    showToken();
  });
  buildStrip();
  buildMethods();
  drawAnswers(story, chooseShare);
  drawWords(story, (word) => {
    state.word = word;
    paint();
  });
  drawNotes(story);
}

function buildStrip() {
  at("strip").hidden = panels.length < 2;
  at("strip").replaceChildren(...panels.map(({ told, element }, i) => {
    const button = make("button", { type: "button", of: [make("img", { src: told.picture, alt: told.title })] });
    button.addEventListener("click", () => {
      element.scrollIntoView({ block: "nearest" });
      const { grid } = panels[i];
      grid.cells.get(grid.reached).focus({ preventScroll: true });
    });
    return button;
  }));
}

function buildMethods() {
  at("keeping").hidden = !methods.length;
  at("methods").replaceChildren(...methods.map(({ name }, i) => {
    const input = make("input", { type: "radio", name: "method", value: i });
    input.checked = i === state.method;
    input.addEventListener("change", () => {
      chooseMethod(i);
      state.layer = `kept:${i}`;
      showLayer();
    });
    return make("label", { of: [input, make("span", { text: name }), make("span", { id: `count-${i}`, class: "count" })] });
  }));
  at("keep").addEventListener("input", () => chooseShare(Number(at("keep").value)));
  at("threshold").addEventListener("input", () => {
    const method = methods[state.method], [low, high] = method.ends;
    method.limit = low + ((high - low) * at("threshold").value) / 1000;
    showKept();
  });
}

function chooseMethod(i) {
  state.method = i;
  document.querySelectorAll("[name=method]")[i].checked = true;
  showThreshold();
}

/** A share of the tokens is wanted: no threshold decides any more. */
function chooseShare(share) {
  state.share = share;
  for (const method of methods) method.limit = null;
  showKept();
}

function showCrop() {
  for (const panel of panels) panel.show(Number(at("crop").value));
  paint();
}

build();
for (const panel of panels) panel.show(Number(at("crop").value));
showKept();
showLayer();
new ResizeObserver(paint).observe(at("panels"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
