// The tables under the picture: answers side by side, words by how many tokens say them, and notes.

const FIRST_WORDS = 20;

/** Answers with all tokens and with fewer; `wanted(share)` hears which share is to be shown. */
function drawAnswers(story, wanted) {
  document.getElementById("asked").textContent = `${story.model} was asked: ${story.question}`;
  document.getElementById("answered").replaceChildren(
    `With all ${story.tokens.cell.length} tokens it says: `, make("strong", { text: visible(story.answer) }));
  const keeps = story.agreement.map(({ keep }) => keep);
  const shares = keeps.map((keep) => {
    const button = make("button", { type: "button", text: percent(keep), title: "show what is kept at this share" });
    button.addEventListener("click", () => wanted(keep));
    return button;
  });
  const across = (name, cells) => {
    const made = row([name, ...cells]);
    if (cells.length === 1) made.lastChild.colSpan = keeps.length;
    return made;
  };
  const rows = [across("all tokens", [visible(story.answer)])];
  for (const { name, choices } of story.methods) {
    const cells = choices.map(({ keep, kept, tokens_read: read, answer }) => {
      const differs = answer !== story.answer;
      const number = read === kept.length ? `${read} tokens` : `${kept.length} tokens left, ${read} read on average`;
      const when = keep === null ? `${number}, by its own threshold` : number;
      return make("span", { of: [
        make("span", { text: `${differs ? "≠ " : ""}${visible(answer)}`, class: differs ? "differs" : null }),
        make("br"), make("small", { text: when }),
      ] });
    });
    rows.push(across(name, cells));
  }
  document.getElementById("answer-table").replaceChildren(
    make("caption", { text: "≠ marks an answer that is not the one with all tokens." }),
    make("thead", { of: [row(["pruner", ...shares], "th")] }),
    make("tbody", { of: rows }),
  );
}

/** Words and how many tokens say them first; `wanted(word)` hears which one is to be ringed, or null. */
function drawWords(story, wanted) {
  const table = document.getElementById("word-table"), all = story.words.length;
  let pressed = null;
  const rows = story.words.map(({ word, tokens, confidence }, i) => {
    const button = make("button", { type: "button", "aria-pressed": "false", text: visible(word) });
    button.addEventListener("click", () => {
      pressed?.setAttribute("aria-pressed", "false");
      pressed = pressed === button ? null : button;
      pressed?.setAttribute("aria-pressed", "true");
      wanted(pressed ? word : null);
    });
    const made = row([button, String(tokens), shortly(confidence)]);
    made.hidden = i >= FIRST_WORDS;
    return made;
  });
  table.replaceChildren(
    make("caption", { text: "A word's button rings the tokens that say it first." }),
    make("thead", { of: [row(["word", "tokens", "mean confidence"], "th")] }),
    make("tbody", { of: rows }),
  );
  if (all <= FIRST_WORDS) return;
  const more = make("button", { type: "button", text: `Show all ${all} words` });
  more.addEventListener("click", () => {
    for (const each of rows) each.hidden = false;
    more.remove();
  });
  table.parentElement.after(more);
}

/** What is absent and why, and what the page was made of. */
function drawNotes(story) {
  const notes = story.absent.map(({ label, why }) => `No ${label}: ${why}.`);
  notes.push(`Words, confidence and divergences belong to the probe question: “${story.probe_question}”; ` +
    "the effect on the answer, text-to-image attention and answers to the question asked.");
  if (story.panels.length > 1) {
    notes.push("A token alone still has the text around every picture before it, and its place in the whole prompt: " +
      "it may say something else than if its picture were the only one.");
  }
  if (story.codebook) {
    const { prototypes, digest, pictures } = story.codebook;
    notes.push(`The codebook has ${prototypes} prototypes (digest ${digest}); ${pictures}.`);
  }
  for (const { name, how } of story.methods.filter(({ scores }) => !scores)) {
    notes.push(`${name} ${how}: only the shares that were computed can be shown.`);
  }
  notes.push(`Made by wordsight ${story.wordsight} with ${story.model}; pictures are smaller copies.`);
  document.getElementById("absent").replaceChildren(...notes.map((text) => make("li", { text })));
}
