// One token in words: where it is, what it says, its values, its nearest prototype, and who keeps it.

const PATCHES = 8;

/** Where a token is. */
function place(story, token) {
  const [panel, crop, row, column] = story.tokens.cell[token];
  const { title, crops } = story.panels[panel];
  const where = [`row ${row + 1}, column ${column + 1}`];
  if (crops.length > 1) where.push(crops.find((one) => one.crop === crop).label);
  if (story.panels.length > 1) where.push(title);
  return where.join(", ");
}

/** A token in one sentence, for those who hear it. */
function summary(story, token) {
  const says = story.tokens.words[token].slice(0, 3).map(([word, chance]) => `${visible(word)} ${shortly(chance)}`);
  const values = story.layers.map(({ name, label }) => `${label} ${shortly(story.tokens.values[name][token])}`);
  return `${place(story, token)}, says ${says.join(", ")}; ${values.join(", ")}`;
}

/** Fill the section of the token; `kept` are the names of pruners with whether they keep it. */
function describe(story, panels, token, kept) {
  const section = document.getElementById("details");
  section.classList.toggle("open", token !== null);
  if (token === null) {
    section.replaceChildren(make("h2", { text: "The token" }), make("p", {
      class: "note", text: "Point at a token of the picture to read what it says.",
    }));
    return;
  }
  const words = story.tokens.words[token].map(([word, chance]) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${100 * chance}%`;
    return row([visible(word), bar, shortly(chance)]);
  });
  section.replaceChildren(
    make("button", { type: "button", id: "close", text: "Close" }),
    make("h2", { text: `Token at ${place(story, token)}` }),
    make("h3", { text: "It says" }),
    make("table", { class: "says", of: [make("tbody", { of: words })] }),
    make("h3", { text: "Its values" }),
    make("table", {
      class: "values", of: story.layers.map(({ name, label }) => row([label, shortly(story.tokens.values[name][token])])),
    }),
    ...(story.codebook ? prototype(story, panels, token) : []),
    ...(kept.length ? [make("h3", { text: "Pruners" }), make("table", {
      class: "kept", of: kept.map(([name, isKept]) => row([name, isKept ? "keeps it" : "drops it"])),
    })] : []),
  );
}

/** The nearest prototype: what it says, and which tokens here are nearest to it, too. */
function prototype(story, panels, token) {
  const { nearest, similarity, says, prototypes } = story.codebook;
  const number = nearest[token];
  const said = says[number].map(([word, chance]) => `${visible(word)} ${shortly(chance)}`).join(", ");
  const alike = [...nearest.keys()].filter((other) => nearest[other] === number)
    .sort((a, b) => similarity[b] - similarity[a]);
  const patches = alike.slice(0, PATCHES).map((other) => panels[story.tokens.cell[other][0]].patch(other));
  return [
    make("h3", { text: "Its nearest prototype" }),
    make("p", {
      class: "prototype",
      text: `Number ${number} of ${prototypes}, cosine ${shortly(similarity[token])}. Alone, it says ${said}. ` +
        `Nearest to ${alike.length === 1 ? "this token" : `${alike.length} tokens`} here:`,
    }),
    make("div", { class: "patches", of: patches }),
  ];
}
