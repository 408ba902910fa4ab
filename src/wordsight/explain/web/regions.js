// Regions: merges neighbors that say the same word, and finds which tokens a search means. No page is touched here.

/** Tokens of a grid as rows of columns; `cell` has the panel, crop, row and column of every token. */
function rowsOf(tokens, cell) {
  const rows = [];
  for (const token of tokens) {
    const [, , row, column] = cell[token];
    (rows[row] ??= [])[column] = token;
  }
  return rows;
}

/** The regions of neighbors of one word in a grid of `rows`: `word`, `tokens`, and the two tokens in whose corners
 *  there is most room for a label; and the `edges` between regions, each a token and which of its sides it is. */
function regionsOf(rows, wordOfToken) {
  const regions = [], edges = [], regionOf = new Map();
  const token = (y, x) => rows[y]?.[x];
  rows.forEach((line, y) => line.forEach((first, x) => {
    if (regionOf.has(first)) return;
    const region = { word: wordOfToken(first), tokens: [] }, open = [[y, x]];
    regions.push(region);
    regionOf.set(first, region);
    while (open.length) {
      const [row, column] = open.pop();
      region.tokens.push(token(row, column));
      for (const [up, right] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
        const next = token(row + up, column + right);
        if (next === undefined || regionOf.has(next) || wordOfToken(next) !== region.word) continue;
        regionOf.set(next, region);
        open.push([row + up, column + right]);
      }
    }
  }));
  rows.forEach((line, y) => line.forEach((here, x) => {
    for (const [next, side] of [[token(y, x + 1), "right"], [token(y + 1, x), "bottom"]]) {
      if (next !== undefined && regionOf.get(next) !== regionOf.get(here)) edges.push([here, side]);
    }
  }));
  placeLabels(rows, regionOf);
  return { regions, edges };
}

/** Give every region the `label` [token, token]: opposite corners of its largest square, the one nearest to its middle,
 *  made wider as far as the region goes. */
function placeLabels(rows, regionOf) {
  const middles = new Map();
  const each = (visit) => rows.forEach((line, y) => line.forEach((token, x) => visit(regionOf.get(token), y, x)));
  each((region, y, x) => {
    const [sumY, sumX, count] = middles.get(region) ?? [0, 0, 0];
    middles.set(region, [sumY + y, sumX + x, count + 1]);
  });
  const at = (y, x) => regionOf.get(rows[y]?.[x]);
  const sides = rows.map(() => []), best = new Map();
  each((region, y, x) => {
    const isInside = [at(y - 1, x), at(y, x - 1), at(y - 1, x - 1)].every((other) => other === region);
    const side = isInside ? 1 + Math.min(sides[y - 1][x], sides[y][x - 1], sides[y - 1][x - 1]) : 1;
    sides[y][x] = side;
    const [sumY, sumX, count] = middles.get(region), half = (side - 1) / 2;
    const away = Math.hypot(y - half - sumY / count, x - half - sumX / count);
    const { side: largest = 0, away: nearest = 0 } = best.get(region) ?? {};
    if (side > largest || (side === largest && away < nearest)) best.set(region, { side, away, y, x });
  });
  for (const [region, { side, y, x }] of best) {
    const isWhole = (column) => Array.from({ length: side }, (_, i) => at(y - i, column)).every((one) => one === region);
    let left = x - side + 1, right = x;
    while (isWhole(left - 1)) left -= 1;
    while (isWhole(right + 1)) right += 1;
    region.label = [rows[y - side + 1][left], rows[y][right]];
  }
}

/** Which tokens a search means: those that say the word itself, or, if none does, a word that holds it. */
function matcher(tokens, query) {
  if (query === null) return () => false;
  const wanted = query.toLowerCase(), all = [...tokens.words.keys()];
  const said = all.map((token) => visible(wordOf(tokens, token)).toLowerCase());
  const isExact = said.includes(wanted);
  return (token) => (isExact ? said[token] === wanted : said[token].includes(wanted));
}
