// Renders the Markdown that models write: headings, lists, tables, quotes, code, emphasis. HTML is
// text here, links and pictures are their words and addresses: nothing of a row is ever followed.
// Blocks are found line by line, and emphasis in one pass, so that hostile text costs little.

import { colored } from "./code.js";
import { make } from "./element.js";

/** How deep lists and quotes may be within one another. */
const DEEPEST = 6;

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])([ \t]+|$)/;
const ROW = /^[^|]*\|/;
const DIVIDER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/** Turns a text into nodes; `leaf` makes the nodes of a piece of plain text. */
export const rendered = (text, leaf) => blocks(text.replace(/\r\n?/g, "\n").split("\n"), leaf, 0);

function blocks(lines, leaf, depth) {
  const nodes = [];
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    if (!line.trim()) { at += 1; continue; }
    const block = depth < DEEPEST && (fence(lines, at) ?? table(lines, at, leaf) ?? list(lines, at, leaf, depth) ?? quote(lines, at, leaf, depth));
    if (block) {
      nodes.push(block.node);
      at = block.end;
      continue;
    }
    const heading = HEADING.exec(line);
    if (heading) {
      // The page has headings of its own above.
      nodes.push(make("p", { class: `heading-${Math.min(heading[1].length, 4)}`, dir: "auto" }, inline(heading[2], leaf)));
      at += 1;
    } else if (RULE.test(line)) {
      nodes.push(make("hr"));
      at += 1;
    } else {
      const begin = at;
      do at += 1; while (at < lines.length && lines[at].trim() && !begins(lines, at));
      nodes.push(make("p", { dir: "auto" }, inline(lines.slice(begin, at).map((one) => one.trimStart()).join("\n"), leaf)));
    }
  }
  return nodes;
}

/** Whether a line ends the paragraph before it. */
const begins = (lines, at) => FENCE.test(lines[at]) || HEADING.test(lines[at]) || QUOTE.test(lines[at]) || ITEM.test(lines[at]) || RULE.test(lines[at]) || isTable(lines, at);

function fence(lines, at) {
  const open = FENCE.exec(lines[at]);
  if (!open) return null;
  const [, marks, language] = open;
  const closes = new RegExp(`^ {0,3}${marks[0]}{${marks.length},}[ \\t]*$`);
  let end = at + 1;
  while (end < lines.length && !closes.test(lines[end])) end += 1;
  const code = lines.slice(at + 1, end).join("\n");
  return { node: make("pre", { class: "scroll", dir: "ltr", tabindex: "0", "aria-label": language ? `Code, ${language}` : "Code" }, make("code", {}, colored(code, language))), end: end + 1 };
}

const isTable = (lines, at) => ROW.test(lines[at]) && at + 1 < lines.length && lines[at + 1].includes("-") && DIVIDER.test(lines[at + 1]) && lines[at + 1].includes("|");

/** The cells of a line; `\|` is no border, nor is one within code. */
function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  const found = [""];
  let isCode = false;
  for (let i = 0; i < inner.length; i++) {
    if (inner[i] === "\\" && inner[i + 1] === "|") { found[found.length - 1] += "|"; i += 1; continue; }
    if (inner[i] === "`") isCode = !isCode;
    if (inner[i] === "|" && !isCode) found.push("");
    else found[found.length - 1] += inner[i];
  }
  return found.map((cell) => cell.trim());
}

function table(lines, at, leaf) {
  if (!isTable(lines, at)) return null;
  const heads = cells(lines[at]);
  const sides = cells(lines[at + 1]).map((cell) => (/:$/.test(cell) ? (/^:/.test(cell) ? "center" : "right") : null));
  let end = at + 2;
  while (end < lines.length && lines[end].trim() && ROW.test(lines[end])) end += 1;
  const row = (kind, own) => make("tr", {}, heads.map((_, column) => make(kind, { class: sides[column] && `to-${sides[column]}`, dir: "auto" }, inline(own[column] ?? "", leaf))));
  const node = make("div", { class: "scroll" }, make("table", {}, make("thead", {}, row("th", heads)),
    make("tbody", {}, lines.slice(at + 2, end).map((line) => row("td", cells(line))))));
  return { node, end };
}

function quote(lines, at, leaf, depth) {
  if (!QUOTE.test(lines[at])) return null;
  let end = at + 1;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  return { node: make("blockquote", {}, blocks(lines.slice(at, end).map((line) => line.replace(QUOTE, "")), leaf, depth + 1)), end };
}

/** A list: items of one kind, each with the lines that are moved in below it. */
function list(lines, at, leaf, depth) {
  const first = ITEM.exec(lines[at]);
  if (!first || RULE.test(lines[at])) return null;
  const isOrdered = /\d/.test(first[2]);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const item = ITEM.exec(lines[end]);
    if (!item || /\d/.test(item[2]) !== isOrdered || RULE.test(lines[end])) break;
    const width = item[0].length;
    const own = [lines[end].slice(width)];
    end += 1;
    // Moved in, or the rest of a paragraph.
    while (end < lines.length) {
      const line = lines[end];
      const spaces = line.search(/\S/);
      if (spaces < 0) {
        const next = lines[end + 1] ?? "";
        if (next.search(/\S/) < Math.min(width, 2)) break;
        own.push("");
      } else if (spaces >= Math.min(width, 2)) own.push(line.slice(Math.min(spaces, width)));
      else if (!ITEM.test(line) && !begins(lines, end) && own.at(-1).trim()) own.push(line);
      else break;
      end += 1;
    }
    items.push(make("li", { dir: "auto" }, ...tight(blocks(own, leaf, depth + 1))));
    while (end < lines.length && !lines[end].trim() && ITEM.test(lines[end + 1] ?? "")) end += 1;
  }
  return { node: make(isOrdered ? "ol" : "ul", { start: isOrdered && Number.parseInt(first[2], 10) !== 1 ? Number.parseInt(first[2], 10) : null }, items), end };
}

/** An item that is one paragraph is its words. */
const tight = (nodes) => (nodes[0]?.tagName === "P" && !nodes[0].className ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes);

/** Code, strong, emphasis, struck out, links and pictures within a line, in one pass from left to right. */
const INLINE = /(`+)(?!`)|\*\*(?=\S)|__(?=\S)|(?<![\p{L}\p{N}])\*(?=\S)|(?<![\p{L}\p{N}])_(?=\S)|~~(?=\S)|!?\[|\\[\\`*_{}[\]()#+.!|~>\-]/gu;

function inline(text, leaf) {
  const nodes = [];
  let plainFrom = 0;
  const flush = (to) => { if (to > plainFrom) nodes.push(...leaf(text.slice(plainFrom, to))); };
  INLINE.lastIndex = 0;
  for (let match; (match = INLINE.exec(text));) {
    const resume = INLINE.lastIndex;
    const part = piece(text, match, leaf);
    INLINE.lastIndex = part?.end ?? resume;
    if (!part) continue;
    flush(match.index);
    nodes.push(...part.nodes);
    plainFrom = part.end;
  }
  flush(text.length);
  return nodes;
}

/** How far the end of a piece is looked for. */
const REACH = 2000;

function piece(text, match, leaf) {
  const [mark] = match;
  const begin = match.index + mark.length;
  if (mark[0] === "\\") return { nodes: leaf(mark[1]), end: begin };
  const rest = text.slice(begin, begin + REACH);
  if (mark[0] === "`") {
    const end = rest.search(new RegExp(`(?<!\`)${mark}(?!\`)`));
    if (end < 0) return null;
    const inner = rest.slice(0, end);
    return { nodes: [make("code", { dir: "ltr" }, leaf(/^ .* $/.test(inner) ? inner.slice(1, -1) : inner))], end: begin + end + mark.length };
  }
  if (mark.endsWith("[")) {
    // The words of a link, and where it leads, in brackets: to read, not to follow.
    const link = /^([^[\]\n]{0,500})\]\(([^()\s]{0,1000})(?:\s[^()\n]{0,200})?\)/.exec(rest);
    if (!link) return null;
    return { nodes: [make("span", { class: "link" }, leaf(link[1])), make("span", { class: "address" }, " (", leaf(link[2]), ")")], end: begin + link[0].length };
  }
  const [one] = mark;
  const closing = { "**": /(?<=\S)\*\*/, __: /(?<=\S)__(?!\w)/, "*": /(?<=[^\s*])\*(?!\*)/, _: /(?<=[^\s_])_(?!\w)/, "~~": /(?<=\S)~~/ }[mark];
  const end = rest.search(closing);
  if (end <= 0 || rest.slice(0, end).includes("\n\n")) return null;
  const tag = mark === "~~" ? "s" : mark.length === 2 ? "strong" : "em";
  // What is within another mark of its own kind was closed before.
  return { nodes: [make(tag, {}, one === "~" ? leaf(rest.slice(0, end)) : nested(rest.slice(0, end), leaf))], end: begin + end + mark.length };
}

/** Emphasis within emphasis; no deeper. */
const nested = (text, leaf) => {
  const match = /^(.*?)(`[^`\n]+`|\*\*[^*\n]+\*\*|\*[^*\n]+\*)(.*)$/s.exec(text);
  if (!match) return leaf(text);
  const [, before, inner, after] = match;
  const size = inner.startsWith("**") ? 2 : 1;
  const tag = inner[0] === "`" ? "code" : size === 2 ? "strong" : "em";
  return [...leaf(before), make(tag, {}, leaf(inner.slice(size, -size))), ...leaf(after)];
};
