// What stands in place of a task when the filter has none, and above the last one when all are reviewed.

import { counted, make } from "./element.js";
import { isAwaited, progress } from "./facets.js";
import { described, filter } from "./filter.js";
import { isDone, queue } from "./queue.js";
import { keyed } from "./task.js";

/** Quotes a file's name for a shell, if it needs that. */
const quoted = (name) => (/^[\w.,+@%][\w.,+@%-]*$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`);

/** Whether everything that the filter would have is reviewed. */
function isOver(now) {
  return filter().review === "pending" && now !== null && !now.all.isAbout && now.all.count > 0 && now.reviewed.count === now.all.count;
}

/** Makes what is shown without a task, or with the last one; null if there is more to review. `act` has a function for each
    button. */
export function end(task, file, act) {
  const now = progress();
  const isAll = isOver(now);
  if (isDone() && (isAll || queue.tasks.some((row) => !row.isOutside))) return congratulations(isAll ? now : null, file, act);
  if (task) return null;
  // Not a word that is taken back a moment later.
  if (filter().review === "pending" && isAwaited()) return make("section", { id: "end" });
  return make("section", { id: "end" }, make("p", {}, `Nothing passes the filter: ${described()}.`),
    make("div", { class: "actions" }, keyed("Clear the filter", "c", act.clear, true)));
}

function congratulations(now, file, act) {
  const { review, origin, ...others } = filter();
  const which = Object.keys(others).length || origin ? " of this filter" : "";
  const all = now && !now.all.isAbout ? counted(now.all.count, "task") : "tasks";
  const title = now?.all.count === 1 ? `The one task${which} is reviewed.` : `Well done: all ${all}` + which + " are reviewed.";
  const parts = [make("h2", {}, title)];
  if (now && !now.all.isAbout) parts.push(make("p", {}, `${now.accepted.count} accepted, ${now.rejected.count} rejected.`));
  parts.push(make("div", { class: "actions" }, keyed("Export", "x", act.save),
    make("button", { type: "button", onclick: act.accepted }, "Show the accepted ones")));
  if (file && (!now || now.accepted.count > 0)) {
    parts.push(make("p", {}, "Train a model on what is accepted:"),
      make("p", { class: "text raw command" }, `ewe train --db ${quoted(file)} --review accepted --model DIR --out tuned`));
  }
  return make("section", { id: "end", class: "over" }, parts);
}
