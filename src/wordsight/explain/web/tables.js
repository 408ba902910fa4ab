// Tables: fills what is under the picture: answers side by side, words by how many tokens say them, and notes.

const FIRST_WORDS = 20;

/** An answer of a pruner and how many tokens it took. */
function answerText({ keep, kept, tokens_read: read, answer, cut, right }, answerOfAll) {
  const tokens = `${kept.length} ${form(kept.length, "token", "tokens")}`;
  const number = read === kept.length ? tokens : `${tokens} left, ${read} read on average`;
  const differs = answer !== answerOfAll;
  return {
    differs,
    answer: `${differs ? "≠ " : ""}${whole({ answer, cut })}${verdict(right)}`,
    number: keep === null ? `${number}, by its own threshold` : number,
  };
}

/** An answer, and a sign if it would have gone on. */
function whole({ answer, cut }) {
  return `${visible(answer)}${cut ? " …" : ""}`;
}

/** Whether an answer is right, as a sign; nothing if that is not known. */
function verdict(right) {
  return { true: " ✓", false: " ✗" }[right] ?? "";
}

/** Answers with all tokens and with fewer; `onShare(share)` is called with the share that is to be shown. */
function drawAnswers(record, onShare) {
  document.getElementById("asked").textContent = `${record.model} was asked: ${record.question}`;
  const truth = record.truth?.length ? [`${verdict(record.right)} (true: ${record.truth.join(" or ")})`] : [];
  document.getElementById("answered").replaceChildren(
    `With all ${record.tokens.cell.length} tokens it answers: `, make("strong", { text: whole(record) }), ...truth);
  const keeps = record.agreement.map(({ keep }) => keep);
  const shares = keeps.map((keep) => {
    const button = make("button", { type: "button", text: percent(keep), title: "show what is kept at this share" });
    button.addEventListener("click", () => onShare(keep));
    return button;
  });
  const across = (name, cells) => {
    const line = row([name, ...cells]);
    if (cells.length === 1) line.lastChild.colSpan = keeps.length;
    return line;
  };
  const rows = [across("all tokens", [whole(record) + verdict(record.right)])];
  for (const { name, choices } of record.methods) {
    const cells = choices.map((choice) => {
      const { differs, answer, number } = answerText(choice, record.answer);
      return make("span", { of: [
        make("span", { text: answer, class: differs ? "differs" : null }),
        make("br"), make("small", { text: number }),
      ] });
    });
    rows.push(across(name, cells));
  }
  document.getElementById("answer-table").replaceChildren(
    make("caption", { text: "≠ marks an answer that differs from the one with all tokens, … one that was cut at its most tokens." }),
    make("thead", { of: [row(["pruner", ...shares], "th")] }),
    make("tbody", { of: rows }),
  );
}

/** Words and how many tokens say them first; null is nothing; `onWord(word)` is called with the one to outline. */
function drawWords(record, onWord) {
  const table = document.getElementById("word-table"), all = record.words.length;
  const rows = record.words.map(({ word, tokens, confidence }, i) => {
    const button = make("button", {
      type: "button", "aria-pressed": "false", "data-word": visible(word),
      text: word === null ? "· (nothing)" : visible(word),
    });
    button.addEventListener("click", () => onWord(visible(word)));
    const line = row([button, String(tokens), shortly(confidence)]);
    line.hidden = i >= FIRST_WORDS;
    return line;
  });
  table.replaceChildren(
    make("caption", { text: "Click a word to outline the tokens that say it." }),
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

/** What is missing and why, and what the page was made of: sentences. */
function notes(record) {
  const sentences = [...record.notes, ...record.missing.map(({ label, why }) => `No ${label}: ${why}.`)];
  sentences.push(`Words, confidence and divergences come from the probe question: “${record.probe_question}”; ` +
    "the effect on the answer, text-to-image attention and the answers come from the question asked.");
  if (record.panels.length > 1) {
    sentences.push("A token seen alone still follows the text around every picture and keeps its position in the " +
      "whole prompt: it may say something else than if its picture were the only one.");
  }
  if (record.codebook) {
    const { prototypes, digest, patches } = record.codebook, noun = form(prototypes, "prototype", "prototypes");
    const shows = patches ? "it shows what each was in a picture" : "it keeps no patches of what they were in pictures";
    sentences.push(`The codebook has ${prototypes} ${noun} (digest ${digest}); ${shows}.`);
  }
  for (const { name, selection } of record.methods.filter(({ scores }) => !scores)) {
    sentences.push(`${name} selects tokens ${selection}: only the shares that were computed can be shown.`);
  }
  sentences.push(`Made by wordsight ${record.wordsight} with ${record.model}; pictures are smaller copies.`);
  return sentences;
}

function drawNotes(record) {
  document.getElementById("note-list").replaceChildren(...notes(record).map((text) => make("li", { text })));
}
