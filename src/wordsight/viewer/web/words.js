// Words: what tokens say, over their plain picture, as far as it is known.

/** Pictures with words on them: `figures`, and `show(words)`, which takes the words by the number of a token. */
function picturesOfWords({ panels, cell, box }) {
  let shown = 0; // words
  const stages = panels.map((panel, number) => {
    const [left, top, right, bottom] = panel.extent, { crop } = panel.crops[0];
    const put = (element, [l, t, r, b]) => Object.assign(element.style, {
      left: `${(100 * (l - left)) / (right - left)}%`, width: `${(100 * (r - l)) / (right - left)}%`,
      top: `${(100 * (t - top)) / (bottom - top)}%`, height: `${(100 * (b - t)) / (bottom - top)}%`,
    });
    const picture = make("img", { src: panel.picture, alt: panel.title });
    const layer = make("div", { class: "layer", "aria-hidden": "true" }); // the page of the answer reads them out
    const stage = make("div", { class: "stage", of: [picture, layer] });
    put(picture, [0, 0, 1, 1]);
    stage.style.setProperty("--shape", (panel.width * (right - left)) / (panel.height * (bottom - top)));
    const tokens = [...cell.keys()].filter((token) => cell[token][0] === number && cell[token][1] === crop);
    const figure = make("figure", { of: [stage, make("figcaption", { text: panel.title })] });
    return { figure, layer, put, rows: rowsOf(tokens, cell) };
  });

  function labelsOf({ rows, put }, words) {
    const said = regionsOf(rows, (token) => words[token]).regions.filter(({ word }) => word !== undefined && word !== null);
    return said.map(({ word, label: [first, last] }) => {
      const label = make("div", { class: "said", of: [make("span", { text: visible(word) })] });
      label.style.setProperty("--letters", visible(word).length);
      put(label, [...box[first].slice(0, 2), ...box[last].slice(2)]);
      return label;
    });
  }

  function show(words) {
    const count = Object.keys(words).length;
    if (count === shown) return; // most of the time is spent on something else
    shown = count;
    for (const stage of stages) stage.layer.replaceChildren(...labelsOf(stage, words));
  }

  return { figures: stages.map(({ figure }) => figure), show };
}
