// Marked words: those that were searched for, and those that two texts share.

import { make, plain } from "./element.js";

const WORD = /[\p{L}\p{N}\p{M}\p{Co}]+/gu;

/** A word as the search compares it: neither case nor accents make a difference. */
const folded = (word) => word.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replaceAll("ß", "ss");

/** The terms of a search: words that follow one another, and whether the last one is only a beginning. */
export function terms(typed) {
  const found = [];
  // Parts inside and outside of quotes alternate.
  typed.split('"').forEach((part, at) => {
    for (const term of at % 2 ? [part] : part.split(/\s+/)) {
      const words = (term.match(WORD) ?? []).map(folded);
      if (words.length) found.push({ words, isBeginning: /[\p{L}\p{N}]{2}\*$/u.test(term.trim()) });
    }
  });
  return found;
}

/** Where the terms are in a text: pairs of begin and end, in order. */
export function hits(text, wanted) {
  if (!wanted.length) return [];
  const words = [...text.matchAll(WORD)].map((match) => ({ at: match.index, end: match.index + match[0].length, word: folded(match[0]) }));
  const found = [];
  for (let i = 0; i < words.length; i++) {
    const longest = wanted.filter(({ words: own, isBeginning }) => own.every((word, n) => {
      const other = words[i + n]?.word;
      return isBeginning && n === own.length - 1 ? other?.startsWith(word) : other === word;
    })).reduce((most, { words: own }) => Math.max(most, own.length), 0);
    if (!longest) continue;
    found.push([words[i].at, words[i + longest - 1].end]);
    i += longest - 1;
  }
  return found;
}

/** Turns a text into nodes, with the terms marked. */
export function withHits(text, wanted) {
  const nodes = [];
  let at = 0;
  for (const [begin, end] of hits(text, wanted)) {
    nodes.push(...plain(text.slice(at, begin)), make("mark", { class: "hit" }, plain(text.slice(begin, end))));
    at = end;
  }
  nodes.push(...plain(text.slice(at)));
  return nodes;
}
