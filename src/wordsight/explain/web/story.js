// Story: what the page says of a token, in sentences: its words, what happens without it, why it is kept or dropped,
// what it is like, and who else keeps it.

const PATCHES = 8;
const LEAST = 0.693; // nats that any two distributions are apart, at most

/** Where a token is. */
function place(record, token) {
  const [panel, crop, row, column] = record.tokens.cell[token];
  const { title, crops } = record.panels[panel];
  const where = [`row ${row + 1}, column ${column + 1}`];
  if (crops.length > 1) where.push(crops.find((one) => one.crop === crop).label);
  if (record.panels.length > 1) where.push(title);
  return where.join(", ");
}

/** The first three words of a list, with their probabilities. */
function wordsText(words) {
  return words.slice(0, 3).map(([word, chance]) => `${visible(word)} ${shortly(chance)}`).join(", ");
}

/** A token in one sentence, for those who hear it. */
function summary(record, token) {
  const values = record.maps.map(({ name, label }) => `${label} ${shortly(record.tokens.values[name][token])}`);
  const says = record.tokens.says_nothing[token] ? "nothing" : wordsText(record.tokens.words[token]);
  return `${place(record, token)}, says ${says}; ${values.join(", ")}`;
}

/** 1st, 2nd, 3rd, 4th, 11th. */
function ordinal(number) {
  const teen = Math.floor(number / 10) % 10 === 1;
  return number + ((!teen && ["th", "st", "nd", "rd"][number % 10]) || "th");
}

/** What changes without the token: in the answer, or, if the question is the probe's, in the model's words. */
function withoutText({ tokens, maps }, token) {
  const name = ["effect", "global"].find((one) => maps.some((map) => map.name === one));
  if (!name) return null;
  const values = tokens.values[name], value = values[token], more = values.filter((other) => other > value).length;
  const what = name === "effect" ? "the first word of the answer" : "what the model says of the picture";
  const moves = value < .01 ? "hardly moves" : value < .1 ? "moves a little" : "moves far";
  return `Without it and its neighbors, ${what} ${moves}: by ${shortly(value)} of at most ${LEAST} nats. ` +
    (more ? `${more} of ${values.length} tokens ${form(more, "matters", "matter")} more.` : "No token matters more.");
}

/** Why a pruner keeps or drops a token: its rank and the cut, or at which shares it is kept; `kept` is Method.kept
 *  with `has`. */
function choiceText(method, kept, token) {
  const { tokens, by } = kept, fate = kept.has[token] ? "it is kept" : "it is dropped";
  if (!method.scores) {
    const keeps = method.choices.filter(({ keep, kept: at }) => keep !== null && at.includes(token));
    const shares = keeps.length ? `Kept at ${keeps.map(({ keep }) => percent(keep)).join(", ")}.` : "";
    return `${method.name} selects ${method.selection}; of ${method.count} it keeps ${tokens.length}: ${fate}. ${shares}`.trim();
  }
  const [lie, are] = form(tokens.length, ["lies", "is"], ["lie", "are"]);
  const cut = by === "threshold" ? `${tokens.length} ${lie} beyond the threshold` : `${tokens.length} ${are} kept`;
  return `${method.name} ranks it ${ordinal(method.rank(token))} of ${method.count}, ${cut}: ${fate}.`;
}

/** The tokens whose nearest prototype is that of this token, the nearest first. */
function alike({ nearest, similarity }, token) {
  return [...nearest.keys()].filter((other) => nearest[other] === nearest[token])
    .sort((a, b) => similarity[b] - similarity[a]);
}

/** The nearest prototype in sentences, also that one that says a word counts as redundant. */
function prototypeText({ prototypes, nearest, similarity, says, says_nothing: silent }, token) {
  const number = nearest[token], isSilent = silent.includes(number);
  const nearer = similarity.filter((other) => other > similarity[token]).length;
  return `Of the ${prototypes} ${form(prototypes, "prototype", "prototypes")} of what the codebook calls redundant, ` +
    `number ${number} is the nearest ` +
    `(cosine ${shortly(similarity[token])}, the ${ordinal(nearer + 1)} highest of ${similarity.length}). ` +
    (isSilent ? "Alone, it says nothing." : `Alone, it says ${wordsText(says[number])}: a word, but the condition that the ` +
      "codebook was built by holds of it.");
}

/** What the nearest prototype was, cut out of the tiled patches of all; nothing if the codebook keeps none. */
function prototypePatch({ nearest, says, said, columns }, tiles, token) {
  if (!tiles) return [];
  const number = nearest[token], i = Object.keys(says).indexOf(String(number)), side = tiles.naturalWidth / columns;
  const part = [(i % columns) * side, Math.floor(i / columns) * side, side, side];
  const words = said[number] ? wordsText(said[number]) : "nothing";
  return [make("div", { class: "origin", of: [
    cutOut(tiles, part, `prototype ${number} in a picture of the codebook`),
    make("p", { class: "note", text: `What it was in a picture of the codebook, where it said ${words}.` }),
  ] })];
}

/** Fill the section of the token, or say how to choose one; `show` has the record, its pictures and tiled
 *  patches of prototypes, the methods, what each of them keeps, and which one is shown. */
function showStory(section, token, { record, pictures, tiles, methods, kept, method }) {
  section.classList.toggle("open", token !== null);
  if (token === null) {
    section.replaceChildren(make("h2", { text: "The token" }), make("p", {
      class: "note", text: "Point at a token of the picture, or tap it, to read what it says and why it is kept or dropped.",
    }));
    return;
  }
  const without = withoutText(record, token);
  section.replaceChildren(
    make("button", { type: "button", id: "close", text: "Close" }),
    patch(record, pictures, token),
    make("h2", { text: `Token at ${place(record, token)}` }),
    ...wordsOf(record, token),
    ...(without ? [make("h3", { text: "What its absence changes" }), make("p", { text: without })] : []),
    ...(methods.length ? choiceOf(methods, kept, method, token) : []),
    ...(record.codebook ? prototypeOf(record, pictures, tiles, token) : []),
    measuresOf(record, token),
  );
}

function wordsOf({ tokens }, token) {
  const rows = tokens.words[token].slice(0, 3).map(([word, chance]) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${100 * chance}%`;
    return row([visible(word), bar, shortly(chance)]);
  });
  return [
    make("h3", { text: tokens.says_nothing[token] ? "It says nothing" : "It says" }),
    ...(tokens.says_nothing[token] ? [make("p", {
      class: "note", text: "These are the words of the question alone, without any picture.",
    })] : []),
    make("table", { class: "says", of: [make("tbody", { of: rows })] }),
  ];
}

function choiceOf(methods, kept, chosen, token) {
  const others = methods.map(({ name }, i) => make("li", {
    class: kept[i].has[token] ? "keeps" : "drops", text: `${kept[i].has[token] ? "✓" : "–"} ${name}`,
  }));
  return [
    make("h3", { text: kept[chosen].has[token] ? "Why it is kept" : "Why it is dropped" }),
    make("p", { class: "why", text: choiceText(methods[chosen], kept[chosen], token) }),
    ...(methods[chosen].scores ? [rankBar(methods[chosen], kept[chosen], token)] : []),
    make("h3", { text: `Kept by ${kept.filter(({ has }) => has[token]).length} of ${methods.length} pruners` }),
    make("ul", { class: "keepers", of: others }),
  ];
}

/** The order of all tokens as a bar: the part that is kept, and where this token is. */
function rankBar(method, { tokens }, token) {
  const bar = make("div", { class: "rank", "aria-hidden": "true", of: [make("span"), make("i")] });
  bar.firstChild.style.width = `${(100 * tokens.length) / method.count}%`;
  bar.lastChild.style.left = `${(100 * (method.rank(token) - .5)) / method.count}%`;
  return bar;
}

function prototypeOf(record, pictures, tiles, token) {
  const tokens = alike(record.codebook, token);
  return [
    make("h3", { text: "What it is like" }),
    ...prototypePatch(record.codebook, tiles, token),
    make("p", { class: "prototype", text: prototypeText(record.codebook, token) }),
    make("p", { class: "note", text: `The nearest prototype of ${tokens.length === 1 ? "this token only" : `${tokens.length} tokens here`}:` }),
    make("div", { class: "patches", of: tokens.slice(0, PATCHES).map((other) => patch(record, pictures, other)) }),
  ];
}

function measuresOf({ maps, tokens }, token) {
  const rows = maps.map(({ name, label, about }) =>
    row([make("span", { text: label, class: "help", tabindex: 0, "data-help": about }), shortly(tokens.values[name][token])]));
  return make("details", { of: [
    make("summary", { text: "All its measures" }),
    make("table", { class: "values", of: [make("tbody", { of: rows })] }),
  ] });
}
