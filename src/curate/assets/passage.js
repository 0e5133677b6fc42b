// Shows the passages of documents that a task was made from.

import { facts, make, plain } from "./element.js";

/** Shows each passage with the words marked that the output has. */
export const passages = (task) => (task.passages ?? []).map((passage) => make("section", { class: "passage", "aria-label": `Passage ${passage.passage_id}` },
  make("h2", {}, task.passages.length > 1 ? `Passage ${passage.passage_id}` : "Passage"),
  facts(passage.kind, make("span", { title: passage.path, dir: "auto" }, plain(passage.title ?? passage.path.split("/").pop())), passage.heading,
    passage.page != null && `page ${passage.page}`, !passage.is_current && "no longer there"),
  make("p", { class: "text", dir: "auto" },
    passage.pieces.flatMap((piece) => (piece.supports ? [make("mark", {}, piece.text)] : plain(piece.text))))));
