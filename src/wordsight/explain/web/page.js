// Page: holds the state, and connects the controls to stages, story and tables; onToken decides which token a hover or
// click selects.

const record = JSON.parse(document.getElementById("record").textContent);
const at = (id) => document.getElementById(id);
const count = record.tokens.cell.length;
const methods = record.methods.map((method) => new Method(method, count));
const pictures = record.panels.map(({ picture }) => Object.assign(new Image(), { src: picture }));
const tiles = record.codebook?.patches ? Object.assign(new Image(), { src: record.codebook.patches }) : null;
const names = {
  layers: ["kept", ...record.maps.map(({ name }) => name), "votes", "none"],
  pruners: methods.map(({ name }) => name), tokens: count, pictures: pictures.length,
};
const zoom = new Zoom(paint);
const stages = [0, 1].map(() => new Stage(record, pictures, zoom, onToken));
const middle = record.agreement[Math.floor(record.agreement.length / 2)].keep;
let state = stateOf("", names); // `token` is pinned
let selected = null; // the token that was pointed at last, or is pinned
let isShowingAll = false; // and paints once, when all is shown
let isLaidOut = false; // from then on it is known how large a stage is
let kept = []; // per pruner: what it keeps (Method.kept), of every token whether it does (`has`), and the words it says

function share() {
  return state.keep ?? middle;
}

/** The number of the pruner that is shown, and of the one beside it or -1. */
function shown() {
  return Math.max(0, names.pruners.indexOf(state.pruner));
}

function beside() {
  return names.pruners.indexOf(state.beside);
}

/** The stages that are seen, each with the number of its pruner. */
function seen() {
  return beside() < 0 ? [[stages[0], shown()]] : [[stages[0], shown()], [stages[1], beside()]];
}

/** What the picture can be colored by: "kept" by the pruner, the name of a map, "votes" of all, or "none". */
function layerOptions() {
  const option = (value, text) => make("option", { value, text });
  const first = methods.length ? [option("kept", "what is kept: the rest is gray")] : [];
  const votes = methods.length > 1 ? [option("votes", "where pruners disagree")] : [];
  return [
    make("optgroup", { label: "the picture", of: [...first, option("none", "the picture as it is")] }),
    make("optgroup", { label: "what tokens say and do", of: record.maps.map(({ name, label }) => option(name, label)) }),
    ...(votes.length ? [make("optgroup", { label: "what pruners keep", of: votes })] : []),
  ];
}

/** The map as colors.js takes it, or null where there is no color scale. */
function coloring() {
  if (state.layer !== "votes") {
    const map = record.maps.find(({ name }) => name === state.layer);
    return map ? { ...map, clipped: map.high > map.low } : null;
  }
  const steps = Array.from({ length: methods.length + 1 }, (_, i) => String(i));
  return { scale: "linear", low: 0, high: methods.length, steps };
}

/** What the picture is colored by, in a sentence. */
function about() {
  if (state.layer === "votes") return "Color: how many of the pruners keep the token at the share chosen.";
  const map = record.maps.find(({ name }) => name === state.layer);
  if (map) return `Color: ${map.label}, ${map.about}.`;
  return state.layer === "kept" && methods.length
    ? "Neighbors that say the same word are merged; what is dropped is gray, a word that no kept token says is struck out."
    : "Neighbors that say the same word are merged.";
}

/** A color of the page's palette. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** How tokens are to be painted on the stage of a pruner: see Stage.paint. */
function tokenStyle(number = shown()) {
  const strength = at("strength").value / 100, map = coloring(), own = state.layer === "kept" ? kept[number] : undefined;
  const values = state.layer === "votes" ? currentVotes() : record.tokens.values[state.layer];
  const [mark, label, halo] = ["mark", "label", "halo"].map(color);
  return {
    mark, label, halo,
    cover: translucent(color("paper"), strength),
    hasWords: at("show-words").checked,
    isGray: (token) => own !== undefined && !own.has[token],
    isLost: (word) => own !== undefined && !own.words.has(word),
    fill: (token) => (map ? translucent(colorAt(placeOf(map, values[token])), strength) : null),
    ring: matcher(record.tokens, state.word),
  };
}

/** By how many pruners each token is kept. */
function currentVotes() {
  return votes(kept.map(({ tokens }) => tokens), count);
}

function paint() {
  if (isShowingAll || !isLaidOut) return;
  for (const [stage, number] of seen()) stage.paint(tokenStyle(number));
}

/** Show all of the state. */
function showAll() {
  if (beside() < 0) stages[1].figure.remove();
  else at("panels").append(stages[1].figure);
  at("panels").classList.toggle("two", beside() >= 0);
  at("beside").value = state.beside ?? "";
  const chosen = document.querySelectorAll("[name=method]")[shown()];
  if (chosen) chosen.checked = true;
  isShowingAll = true;
  showPicture();
  showKept();
  showLayer();
  showWord();
  isShowingAll = false;
  paint();
}

function showPicture() {
  for (const [stage] of seen()) stage.show(state.picture, state.crop);
  at("crop").value = stages[0].crop.crop;
  at("frame").value = state.picture;
  at("frame").setAttribute("aria-valuetext", record.panels[state.picture].title);
  at("title").textContent = record.panels[state.picture].title;
  [...at("strip").children].forEach((button, i) => {
    button.setAttribute("aria-pressed", i === state.picture);
    if (i === state.picture) at("strip").scrollLeft = button.offsetLeft - at("strip").clientWidth / 2;
  });
}

function showLayer() {
  const isColored = coloring() !== null;
  at("layer").value = state.layer;
  at("about").textContent = about();
  drawScale(coloring());
  for (const stage of stages) stage.isColored = isColored;
  at("panels").classList.toggle("colored", isColored);
  paint();
  remember();
}

/** Decide anew what is kept, and show it wherever it shows. */
function showKept() {
  state.threshold = methods[shown()]?.chosenLimit() ?? null;
  kept = methods.map((method) => {
    const choice = method.kept(share()), has = new Uint8Array(count);
    for (const token of choice.tokens) has[token] = 1;
    return { ...choice, has, words: new Set(choice.tokens.map((token) => wordOf(record.tokens, token))) };
  });
  at("keep").value = share();
  at("share").textContent = `${percent(share())} = ${budget(share(), count)} of ${count}`;
  methods.forEach((method, i) => { at(`count-${i}`).textContent = method.keptText(kept[i]); });
  showThreshold();
  showFindings();
  if (methods.length > 1) at("agreement").textContent = agreementText(currentVotes(), methods.length);
  paint();
  showToken();
  remember();
}

/** What was found, on top and below each of two stages. */
function showFindings() {
  const { title } = record.panels[state.picture];
  const finding = (i) => findingText(methods[i], record.findings[i], kept[i], share());
  at("finding").hidden = !methods.length;
  if (methods.length) at("finding").replaceChildren(make("strong", { text: finding(shown()) }), ` (${names.pruners[shown()]})`);
  for (const [stage, i] of seen()) {
    stage.caption.textContent = beside() < 0 ? title : `${names.pruners[i]}: ${finding(i)}`;
  }
}

function showThreshold() {
  const method = methods[shown()];
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

/** Ring the tokens that say the word, and say how many there are. */
function showWord() {
  if (at("search").value !== (state.word ?? "")) at("search").value = state.word ?? "";
  const found = wanted(), places = new Set(found.map((token) => record.tokens.cell[token][0]));
  const where = pictures.length > 1 && found.length ? ` in ${places.size} of ${pictures.length} pictures` : "";
  at("found").textContent = state.word === null ? "" : `${found.length} of ${count} tokens ${form(found.length, "says", "say")} it${where}`;
  [...at("strip").children].forEach((button, i) => button.classList.toggle("found", places.has(i)));
  for (const button of document.querySelectorAll("[data-word]")) {
    button.setAttribute("aria-pressed", button.dataset.word === state.word);
  }
  paint();
  remember();
}

/** The tokens that say the word that is searched. */
function wanted() {
  const says = matcher(record.tokens, state.word);
  return [...record.tokens.cell.keys()].filter(says);
}

/** A token was pointed at, focused or clicked: what is pinned stays until it is let go. */
function onToken(token, action) {
  const pinned = state.token;
  if (action === "escape" || (action === "click" && pinned === token)) state.token = null;
  else if (action === "click") state.token = token;
  else if (action === "focus" && pinned !== null) state.token = token;
  if (action === "focus") revealToken(token);
  const next = state.token ?? token ?? selected;
  if (next === selected && action !== "click" && action !== "escape") return;
  selected = next;
  showToken();
  if (state.token !== pinned) remember();
}

/** Pin a token, wherever it is. */
function goTo(token) {
  const [picture, crop] = record.tokens.cell[token];
  Object.assign(state, { token, picture, crop });
  selected = token;
  showPicture();
  showFindings();
  paint();
  showToken();
  revealToken(token);
  remember();
}

function revealToken(token) {
  zoom.reveal(stages[0].within(record.tokens.box[token]));
}

/** Scale about the middle, and keep the token that is pinned in sight. */
function zoomBy(factor) {
  zoom.by(factor);
  if (state.token !== null) revealToken(state.token);
}

function showToken() {
  for (const [stage] of seen()) stage.grid.select(selected);
  const details = at("details");
  showStory(details, selected, { record, pictures, tiles, methods, kept, method: shown() });
  if (selected === null || getComputedStyle(details).position !== "fixed") return;
  const cell = document.querySelector(".selected")?.getBoundingClientRect(), sheet = details.getBoundingClientRect();
  if (cell && (cell.bottom > sheet.top || cell.top < 0)) scrollBy(0, (cell.top + cell.bottom - sheet.top) / 2);
}

function build() {
  at("layer").replaceChildren(...layerOptions());
  at("layer").addEventListener("change", () => set({ layer: at("layer").value }));
  const crops = new Map(record.panels.flatMap(({ crops }) => crops.map(({ crop, label }) => [crop, label])));
  at("crop").replaceChildren(...[...crops].map(([value, text]) => make("option", { value, text })));
  at("crops").hidden = crops.size < 2;
  at("crop").addEventListener("change", () => set({ crop: Number(at("crop").value) }));
  for (const id of ["strength", "show-words"]) at(id).addEventListener("input", paint);
  at("panels").append(stages[0].figure);
  at("details").addEventListener("click", ({ target }) => {
    if (target.id !== "close") return;
    selected = state.token = null;
    showToken();
    remember();
  });
  at("kind").textContent = `A visual token is what the language model gets of one square of a picture; ${record.model} ` +
    `gets ${count} here. The words are what it says of each token when it sees that token alone.`;
  for (const [id, act] of [
    ["larger", () => zoomBy(STEP)], ["smaller", () => zoomBy(1 / STEP)], ["whole", () => zoomBy(1 / MOST)],
    ["save", () => save()], ["tour-start", () => startTour(tourSteps())],
  ]) at(id).addEventListener("click", act);
  buildSearch();
  buildStrip();
  buildMethods();
  drawAnswers(record, chooseShare);
  drawWords(record, (word) => set({ word: word === state.word ? null : word }));
  drawNotes(record);
  const isWide = matchMedia("(min-width: 56rem)").matches;
  for (const panel of document.querySelectorAll("details.panel")) panel.open = isWide || panel.id === "keeping";
}

/** Change the state and show it. */
function set(change) {
  Object.assign(state, change);
  showAll();
}

function buildSearch() {
  at("said").replaceChildren(...record.words.map(({ word }) => make("option", { value: visible(word) })));
  at("search").addEventListener("input", () => {
    state.word = at("search").value || null;
    showWord();
  });
  at("search").addEventListener("keydown", ({ key }) => {
    const found = wanted();
    if (key === "Enter" && found.length) goTo(found.find((token) => token > (state.token ?? -1)) ?? found[0]);
  });
}

function buildStrip() {
  if (pictures.length < 2) return;
  at("pictures").hidden = false;
  at("frame").max = pictures.length - 1;
  at("frame").addEventListener("input", () => set({ picture: Number(at("frame").value) }));
  at("strip").replaceChildren(...record.panels.map(({ picture, title }, i) => {
    const button = make("button", { type: "button", title, of: [make("img", { src: picture, alt: title })] });
    button.addEventListener("click", () => set({ picture: i }));
    return button;
  }));
}

function buildMethods() {
  at("keeping").hidden = !methods.length;
  at("methods").replaceChildren(...methods.map(({ name }, i) => {
    const input = make("input", { type: "radio", name: "method", value: i });
    input.addEventListener("change", () => set({ pruner: name, layer: state.layer === "none" ? "kept" : state.layer }));
    return make("label", { of: [input, make("span", { text: name }), make("span", { id: `count-${i}`, class: "count" })] });
  }));
  at("comparing").hidden = methods.length < 2;
  at("beside").replaceChildren(make("option", { value: "", text: "nothing" }),
    ...methods.map(({ name }) => make("option", { value: name, text: name })));
  at("beside").addEventListener("change", () => set({ beside: at("beside").value || null }));
  at("keep").addEventListener("input", () => chooseShare(Number(at("keep").value)));
  at("threshold").addEventListener("input", () => {
    const method = methods[shown()], [low, high] = method.ends;
    method.limit = low + ((high - low) * at("threshold").value) / 1000;
    showKept();
  });
}

/** A share of the tokens is wanted: no threshold decides any more. */
function chooseShare(wantedShare) {
  state.keep = wantedShare;
  for (const method of methods) method.limit = null;
  showKept();
}

function save() {
  const lines = ["asked", "answered", "finding"].map((id) => at(id).textContent);
  savePicture(seen().map(([stage]) => stage), lines, { paper: color("paper"), text: color("text") });
}

function tourSteps() {
  const dropped = methods.length ? [...kept[shown()].has].indexOf(0) : 0;
  return [
    { at: "kind", text: "The model reads a picture as visual tokens. Asked about each alone, it says a word, or nothing." },
    {
      at: "panels", act: () => set({ layer: "kept", word: null }),
      text: "Neighbors that say the same are merged. Tokens that the pruner drops are gray; a word is struck out if no token that says it is left.",
    },
    {
      at: methods.length ? "keeping" : "panels",
      text: "Choose a pruner and the share that it keeps, or put two side by side. The sentence on top says what that costs.",
    },
    {
      at: "details", act: () => goTo(Math.max(0, dropped)),
      text: "A token that is clicked tells its story: its words, what happens without it, its rank, what it is like, and who keeps it.",
    },
    {
      at: "controls",
      text: "Color the tokens by a measure, search for a word, zoom in, save a picture. The address leads back to what you see.",
    },
  ];
}

let remembering;

/** Write the state into the address, not too often for the browser. */
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const text = stateText(state);
    if (text !== location.hash.slice(1)) history.replaceState(null, "", text ? `#${text}` : "#");
  }, 150);
}

/** Show what the address says. */
function recall() {
  state = stateOf(location.hash.slice(1), names);
  selected = state.token;
  for (const method of methods) method.limit = state.keep === null ? method.threshold.value : null;
  if (state.threshold !== null && methods[shown()]?.scores) methods[shown()].limit = state.threshold;
  if (state.token !== null) [state.picture, state.crop] = record.tokens.cell[state.token];
  showAll();
  if (state.token !== null) revealToken(state.token);
}

build();
listenForHelp();
recall();
addEventListener("hashchange", recall);
new ResizeObserver(() => {
  isLaidOut = true;
  paint();
}).observe(at("panels"));
for (const picture of tiles ? [...pictures, tiles] : pictures) picture.addEventListener("load", () => {
  if (picture === pictures[state.picture]) paint();
  showToken();
}, { once: true });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
