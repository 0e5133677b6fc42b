// Colors code lightly: comments, strings, numbers, and the words of most languages. It knows no
// grammar, and takes a time that grows with the length only.

import { make, plain } from "./element.js";

const WORDS = new Set(("abstract and as assert async await begin bool boolean break case catch char class const continue def default del delete do double " +
  "elif else elseif end enum except export extends extern false final finally float fn for foreach from func function global go goto if impl implements " +
  "import in include instanceof int interface is lambda let local long loop match mod module mut namespace new nil none not null nullptr of or package pass " +
  "private protected pub public raise range return self short static str string struct super switch template then this throw throws trait true try type " +
  "typedef typeof undefined unless unsigned until use using var void volatile when where while with yield " +
  "select insert update delete create drop alter table values set join left inner outer on group order by having limit union distinct").split(" "));

/** Languages in which `#`, `--` or `//` begins something else than a comment. */
const COMMENTS = {
  hash: /^(py|python|python3|rb|ruby|sh|bash|shell|zsh|r|perl|pl|yaml|yml|toml|make|makefile|dockerfile|nix|julia|elixir)$/,
  dashes: /^(sql|haskell|hs|lua|ada|elm)$/,
  none: /^(html|xml|svg|markdown|md|text|txt|plain|latex|tex)$/,
};

/** The token patterns of a language, in the order in which they are tried. None can take long: no part of one overlaps the next. */
function patterns(language) {
  const line = COMMENTS.hash.test(language) ? "#[^\\n]*"
    : COMMENTS.dashes.test(language) ? "--[^\\n]*"
    : COMMENTS.none.test(language) ? "<!--[^>]*>"
    : "\\/\\/[^\\n]*|\\/\\*[^*]*\\*+(?:[^/*][^*]*\\*+)*\\/|^[ \\t]*#[^\\n]*";
  return new RegExp([
    `(?<comment>${line})`,
    "(?<string>\"(?:[^\"\\\\\\n]|\\\\.)*\"|'(?:[^'\\\\\\n]|\\\\.)*'|`(?:[^`\\\\]|\\\\[^])*`)",
    "(?<number>\\b\\d[\\w.]*)",
    "(?<word>[\\p{L}_$][\\p{L}\\p{N}_$]*)",
  ].join("|"), "gmu");
}

/** Turns code into nodes. */
export function colored(code, language = "") {
  const nodes = [];
  let at = 0;
  const isText = COMMENTS.none.test(language);
  for (const match of code.matchAll(patterns(language.toLowerCase()))) {
    const { comment, string, number, word } = match.groups;
    const kind = comment ? "comment" : string ? "string" : number ? "number" : WORDS.has(word) || WORDS.has(word.toLowerCase()) ? "word" : null;
    if (!kind || (isText && kind === "word")) continue;
    nodes.push(...plain(code.slice(at, match.index)), make("span", { class: `code-${kind}` }, plain(match[0])));
    at = match.index + match[0].length;
  }
  nodes.push(...plain(code.slice(at)));
  return nodes;
}
