// Kept: computes which tokens a pruner keeps at a share or threshold. Every number has to be the one that Python gets:
// the counts are those of Pruner.budget, the order is that of `highest` in algorithms/selection.py.

/** Python's round(): halves go to the even neighbor. */
function roundHalfEven(value) {
  const below = Math.floor(value), rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/** How many of `count` tokens a share keeps: at least one, if there is one. */
function budget(share, count) {
  return Math.min(count, Math.max(1, roundHalfEven(share * count)));
}

/** What the page knows of one pruner: scores from which any choice follows, or choices made before. */
class Method {
  constructor({ name, selection, choices, threshold, scores }, count) {
    Object.assign(this, { name, selection, choices, threshold, count });
    this.limit = threshold.value; // as the reader has it; null where the share decides
    if (!scores) return;
    this.scores = Float32Array.from(scores);
    // The sort is stable: equal scores stay in reading order.
    this.order = [...this.scores.keys()].sort((a, b) => this.scores[b] - this.scores[a]);
    this.ranks = new Uint32Array(count);
    this.order.forEach((token, i) => { this.ranks[token] = i + 1; });
    this.ends = [this.order.at(-1), this.order[0]]
      .map((token) => threshold.sign * this.scores[token]).sort((a, b) => a - b);
  }

  /** The tokens kept at a share, or by the threshold; and in a word what decided. */
  kept(share) {
    if (this.scores && this.limit !== null) return { tokens: this.order.slice(0, this.above()), by: "threshold" };
    if (this.scores) return { tokens: this.order.slice(0, budget(share, this.count)), by: "share" };
    const distance = (choice) => (choice.keep === null ? 0 : Math.abs(choice.keep - share));
    const nearest = this.choices.reduce((best, one) => (distance(one) < distance(best) ? one : best));
    return { tokens: nearest.kept, by: distance(nearest) < 1e-9 ? "share" : "nearest", keep: nearest.keep };
  }

  /** The place of a token in the order of the scores, from 1. */
  rank(token) {
    return this.ranks[token];
  }

  /** How many scores are beyond the threshold, at least one. It is compared as Python does, as float32. */
  above() {
    const limit = this.threshold.sign * Math.fround(this.limit);
    let number = 0;
    while (number < this.count && this.scores[this.order[number]] > limit) number += 1;
    return Math.max(1, number);
  }

  /** The threshold that the reader has set, or null. */
  chosenLimit() {
    return this.limit === this.threshold.value ? null : this.limit;
  }

  /** What was kept, of all tokens, and what decided if it was not the share chosen. */
  keptText({ tokens, by, keep }) {
    const reason = { share: "", threshold: ", by threshold", nearest: `, computed at ${percent(keep ?? 0)}` }[by];
    return `${tokens.length} of ${this.count}${keep === null ? ", by its own threshold" : reason}`;
  }
}

/** What a choice costs: a sentence of the record, or, if this one was not computed, how many tokens it keeps. */
function findingText(method, findings, { tokens, by, keep }, share) {
  const isComputed = (choice) => {
    if (choice.keep === null) return !method.scores || method.limit === method.threshold.value;
    return by !== "threshold" && Math.abs(choice.keep - (keep ?? share)) < 1e-9;
  };
  const number = method.choices.findIndex(isComputed);
  if (number >= 0) return findings[number] + (by === "nearest" && keep !== null ? ` (Computed at ${percent(keep)}.)` : "");
  const shares = method.choices.map((choice) => (choice.keep === null ? "its own threshold" : percent(choice.keep)));
  const are = form(tokens.length, "is", "are");
  return `${tokens.length} of ${method.count} tokens ${are} kept; the answer was computed at ${shares.join(", ")} only.`;
}

/** By how many pruners each of `count` tokens is kept, given the tokens that each keeps. */
function votes(keptTokens, count) {
  const counts = new Array(count).fill(0);
  for (const tokens of keptTokens) for (const token of tokens) counts[token] += 1;
  return counts;
}

/** How far `number` pruners with these votes agree. */
function agreementText(counts, number) {
  const all = counts.filter((count) => count === number).length, none = counts.filter((count) => count === 0).length;
  const every = number === 2 ? "both" : `all ${number}`;
  return `Tokens kept by ${every} pruners: ${all}; by some: ${counts.length - all - none}; by none: ${none}.`;
}
