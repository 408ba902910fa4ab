// Page: holds the state, and connects the controls to panels, details and tables; onToken decides which token a
// hover or click selects.

const record = JSON.parse(document.getElementById("record").textContent);
const at = (id) => document.getElementById(id);
const count = record.tokens.cell.length;
const methods = record.methods.map((method) => new Method(method, count));
const panels = record.panels.map((_, number) => new Panel(record, number, onToken));
const { keep: share } = record.agreement[Math.floor(record.agreement.length / 2)];
const state = { map: record.maps[0].name, method: 0, share, word: undefined, selected: null, pinned: null };
let kept = []; // per pruner: what it keeps (Method.kept), and of every token whether it does (`has`)

/** What the picture can be colored by: the name of a map, "kept:I" of a pruner, "votes" of all, or "none". */
function mapOptions() {
  const option = (value, text) => make("option", { value, text });
  const groups = [["what tokens say and do", record.maps.map(({ name, label }) => option(name, label))]];
  const pruners = methods.map(({ name }, i) => option(`kept:${i}`, `kept by ${name}`));
  if (methods.length > 1) pruners.push(option("votes", "where pruners disagree"));
  if (pruners.length) groups.push(["what pruners keep", pruners]);
  groups.push(["the picture", [option("none", "no color")]]);
  return groups.map(([label, of]) => make("optgroup", { label, of }));
}

/** The map as colors.js takes it, or null where there is no color scale. */
function coloring() {
  if (state.map !== "votes") {
    const map = record.maps.find(({ name }) => name === state.map);
    return map ? { ...map, clipped: map.high > map.low } : null;
  }
  const steps = Array.from({ length: methods.length + 1 }, (_, i) => String(i));
  return { scale: "linear", low: 0, high: methods.length, steps };
}

/** What the picture is colored by, in a sentence. */
function about() {
  if (state.map === "votes") return "how many of the pruners keep the token at the share chosen";
  if (state.map === "none") return "the picture as it is";
  if (!state.map.startsWith("kept:")) return record.maps.find(({ name }) => name === state.map).about;
  return `it selects tokens ${methods[state.method].selection}; dropped tokens are covered`;
}

/** How tokens are to be painted: see Panel.paint. */
function tokenStyle() {
  const page = getComputedStyle(document.documentElement), color = (name) => page.getPropertyValue(`--${name}`).trim();
  const strength = at("strength").value / 100, cover = translucent(color("paper"), strength);
  const isKept = state.map.startsWith("kept:"), map = coloring();
  const values = state.map === "votes" ? currentVotes() : record.tokens.values[state.map];
  const fill = (token) => {
    if (isKept) return kept[state.method].has[token] ? null : cover;
    return map ? translucent(colorAt(placeOf(map, values[token])), strength) : null;
  };
  const ring = (token) =>
    (state.word === undefined ? isKept && kept[state.method].has[token] === 1 : wordOf(record.tokens, token) === state.word);
  const [mark, label, halo] = ["mark", "label", "halo"].map(color);
  return { fill, ring, mark, label, halo, hasWords: at("show-words").checked };
}

/** By how many pruners each token is kept. */
function currentVotes() {
  return votes(kept.map(({ tokens }) => tokens), count);
}

function paint() {
  const style = tokenStyle();
  for (const panel of panels) panel.paint(style);
}

function showMap() {
  at("map").value = state.map;
  at("about").textContent = `${at("map").selectedOptions[0].textContent}: ${about()}.`;
  drawScale(coloring());
  at("panels").classList.toggle("colored", coloring() !== null);
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
  methods.forEach((method, i) => { at(`count-${i}`).textContent = method.keptText(kept[i]); });
  showThreshold();
  if (methods.length > 1) at("agreement").textContent = agreementText(currentVotes(), methods.length);
  paint();
  showToken();
}

function showThreshold() {
  const method = methods[state.method];
  at("threshold-control").hidden = !method?.scores;
  if (!method?.scores) return;
  const [low, high] = method.ends, limit = method.limit;
  at("threshold-label").textContent = `or, for ${method.name}, the tokens with a ${method.threshold.label}`;
  at("limit").textContent = limit === null ? "not set" : limit.toPrecision(4);
  if (limit !== null && document.activeElement !== at("threshold")) {
    at("threshold").value = high > low ? Math.round((1000 * (limit - low)) / (high - low)) : 0;
  }
  at("threshold").setAttribute("aria-valuetext", at("limit").textContent);
}

/** A token was pointed at, focused or clicked: what is pinned stays until it is let go. */
function onToken(token, action) {
  if (action === "escape" || (action === "click" && state.pinned === token)) state.pinned = null;
  else if (action === "click") state.pinned = token;
  else if (action === "focus" && state.pinned !== null) state.pinned = token;
  const selected = state.pinned ?? token ?? state.selected;
  if (selected === state.selected && action !== "click") return;
  state.selected = selected;
  showToken();
}

function showToken() {
  document.querySelector(".selected")?.classList.remove("selected");
  document.querySelector(`[data-token="${state.selected}"]`)?.classList.add("selected");
  showDetails(record, panels, state.selected, methods.map(({ name }, i) => [name, kept[i].has[state.selected] === 1]));
}

function build() {
  at("map").replaceChildren(...mapOptions());
  at("map").addEventListener("change", () => {
    state.map = at("map").value;
    if (state.map.startsWith("kept:")) chooseMethod(Number(state.map.slice(5)));
    showMap();
  });
  const crops = new Map(record.panels.flatMap(({ crops }) => crops.map(({ crop, label }) => [crop, label])));
  at("crop").replaceChildren(...[...crops].map(([value, text]) => make("option", { value, text })));
  at("crops").hidden = crops.size < 2;
  at("crop").addEventListener("change", showCrop);
  for (const id of ["strength", "show-words"]) at(id).addEventListener("input", paint);
  at("panels").append(...panels.map(({ element }) => element));
  at("panels").classList.toggle("several", panels.length > 1);
  at("details").addEventListener("click", ({ target }) => {
    if (target.id !== "close") return;
    state.selected = state.pinned = null;
    showToken();
  });
  buildStrip();
  buildMethods();
  drawAnswers(record, chooseShare);
  drawWords(record, (word) => {
    state.word = word;
    paint();
  });
  drawNotes(record);
}

function buildStrip() {
  at("strip").hidden = panels.length < 2;
  at("strip").replaceChildren(...panels.map(({ data, element }, i) => {
    const button = make("button", { type: "button", of: [make("img", { src: data.picture, alt: data.title })] });
    button.addEventListener("click", () => {
      element.scrollIntoView({ block: "nearest" });
      const { grid } = panels[i];
      grid.cells.get(grid.reachable).focus({ preventScroll: true });
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
      state.map = `kept:${i}`;
      showMap();
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
showMap();
new ResizeObserver(paint).observe(at("panels"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
