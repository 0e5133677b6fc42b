// Undo and redo. Actions of this window come first, so that two people do not undo each other's
// work by mistake.

import { counted, say } from "./element.js";
import { call } from "./server.js";

const kept = JSON.parse(sessionStorage.getItem("actions") ?? "null");
const { done, undone } = kept ?? { done: [], undone: [] };

function keep() {
  sessionStorage.setItem("actions", JSON.stringify({ done: done.slice(-500), undone }));
}

/** Records an action of this window: its number, and its task if it has only one. */
export function did(group, task = null) {
  done.push({ group, task });
  undone.length = 0;
  keep();
}

const words = (change) => counted(change.tasks, "task");

async function takeBack(from, to, word) {
  const { group, task } = from.at(-1);
  try {
    const { change } = await call("/api/undo", { group });
    to.push({ group: change.group, task });
    say(`${word}: ${task === null ? words(change) : `task ${task}`}.`, false, to === done ? "u" : "U");
  } finally {
    // An action that a later change blocks would block all actions before it.
    from.pop();
    keep();
  }
  return task;
}

/** Takes back the last action of this window, or if there is none and `confirm` agrees, the last
    one of all. Returns its task. */
export async function undo(confirm) {
  if (done.length) return takeBack(done, undone, "Undone");
  const { action } = await call("/api/latest");
  if (!action) throw new Error("There is nothing to undo.");
  if (!(await confirm(action))) return null;
  const { change } = await call("/api/undo", { group: action.group });
  const task = action.tasks === 1 ? action.first_task : null;
  undone.push({ group: change.group, task });
  keep();
  say(`Undone: ${words(change)}.`, false, "U");
  return task;
}

/** Redoes the last undo. */
export async function redo() {
  if (undone.length) return takeBack(undone, done, "Redone");
  const { change } = await call("/api/redo", {});
  say(`Redone: ${words(change)}.`, false, "u");
  return null;
}
