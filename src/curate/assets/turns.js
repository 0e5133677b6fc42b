// Adding and removing turns of a conversation.

import { say } from "./element.js";
import { newTurn } from "./dialogs.js";
import { call } from "./server.js";
import { did } from "./undo.js";

/** Changes the turns of an instance; `open` shows the task as it is then. */
async function change(task, ordinal, turns, done, open) {
  try {
    const { change: made } = await call(`/api/tasks/${task.id}/edit`, { version: task.version, instances: [{ ordinal, ...turns }] });
    if (made) did(made.group, task.id);
    await open();
    say(done, false, "u");
  } catch (error) {
    if (!error.answer?.current) throw error;
    await open();
    say(`Task ${task.id} was changed meanwhile; nothing was done.`, true);
  }
}

/** Asks for a question and its answer, and adds them at the end. */
export async function addTurn(task, ordinal, open) {
  const added = await newTurn();
  if (added) await change(task, ordinal, { added: [added] }, "Turn added.", open);
}

/** Removes the question at `place`, with all that follows it up to the next one. */
export const removeTurn = (task, ordinal, place, open) => change(task, ordinal, { removed: [place] }, "Turn removed.", open);
