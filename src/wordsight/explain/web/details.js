// Details: what the page says on hover, focus or click of a token: its place, words, values, nearest prototype,
// and the pruners that keep it.

const PATCHES = 8;

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

/** Fill the section of the token; `kept` are the names of pruners with whether they keep it. */
function showDetails(record, panels, token, kept) {
  const section = document.getElementById("details");
  section.classList.toggle("open", token !== null);
  if (token === null) {
    section.replaceChildren(make("h2", { text: "The token" }), make("p", {
      class: "note", text: "Point at a token of the picture to read what it says.",
    }));
    return;
  }
  const words = record.tokens.words[token].map(([word, chance]) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${100 * chance}%`;
    return row([visible(word), bar, shortly(chance)]);
  });
  const values = record.maps.map(({ name, label }) => row([label, shortly(record.tokens.values[name][token])]));
  section.replaceChildren(
    make("button", { type: "button", id: "close", text: "Close" }),
    make("h2", { text: `Token at ${place(record, token)}` }),
    ...(record.tokens.says_nothing[token] ? [make("h3", { text: "It says nothing" }), make("p", {
      class: "note", text: "These are the words of the question alone, without any picture.",
    })] : [make("h3", { text: "It says" })]),
    make("table", { class: "says", of: [make("tbody", { of: words })] }),
    make("h3", { text: "Its values" }),
    make("table", { class: "values", of: values }),
    ...(record.codebook ? prototype(record, panels, token) : []),
    ...(kept.length ? [make("h3", { text: "Pruners" }), make("table", {
      class: "kept", of: kept.map(([name, isKept]) => row([name, isKept ? "keeps it" : "drops it"])),
    })] : []),
  );
}

/** The tokens whose nearest prototype is that of this token, the nearest first. */
function alike({ nearest, similarity }, token) {
  return [...nearest.keys()].filter((other) => nearest[other] === nearest[token])
    .sort((a, b) => similarity[b] - similarity[a]);
}

/** The nearest prototype in a sentence. */
function prototypeText({ prototypes, nearest, similarity, says, says_nothing: silent }, token, shared) {
  const number = nearest[token];
  return `Number ${number} of ${prototypes}, cosine ${shortly(similarity[token])}. ` +
    `Alone, it says ${silent.includes(number) ? "nothing" : wordsText(says[number])}. ` +
    `It is the nearest prototype of ${shared === 1 ? "this token only" : `${shared} tokens here`}:`;
}

/** The nearest prototype: what it says, and which tokens here are nearest to it, too. */
function prototype(record, panels, token) {
  const tokens = alike(record.codebook, token);
  const patches = tokens.slice(0, PATCHES).map((other) => panels[record.tokens.cell[other][0]].patch(other));
  return [
    make("h3", { text: "Its nearest prototype" }),
    make("p", { class: "prototype", text: prototypeText(record.codebook, token, tokens.length) }),
    make("div", { class: "patches", of: patches }),
  ];
}
