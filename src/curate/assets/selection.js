// Tasks that were ticked in the queue, for one decision about all of them.

import { $, counted } from "./element.js";

/** Their ids. */
export const selected = new Set();
/** The last ticked row: with Shift, all from there on follow. */
let anchor = null;

/** Ticks or unticks the row `at` of `tasks`; `isRange`: all from the last one on as well. */
export function tick(tasks, at, isOn, isRange = false) {
  const from = isRange ? tasks.findIndex((task) => task.id === anchor) : at;
  const [first, last] = from < 0 ? [at, at] : [Math.min(from, at), Math.max(from, at)];
  for (const { id } of tasks.slice(first, last + 1)) {
    if (isOn) selected.add(id);
    else selected.delete(id);
  }
  anchor = tasks[at].id;
  showSelection();
}

export function clearSelection() {
  selected.clear();
  anchor = null;
  showSelection();
}

export function showSelection() {
  $("selection").hidden = selected.size === 0;
  $("selected-count").textContent = `${counted(selected.size, "task")} selected`;
  for (const box of $("tasks").querySelectorAll("input[type=checkbox]")) box.checked = selected.has(Number(box.value));
  document.dispatchEvent(new Event("selected"));
}
