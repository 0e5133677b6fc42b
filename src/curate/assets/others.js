// Who else is at work on the dataset.

import { $, counted, make, plain } from "./element.js";
import { call } from "./server.js";

/** Asks again after so many milliseconds, since people leave without a word. */
const AGAIN = 30_000;

let timer;

const ago = (seconds) => (seconds < 10 ? "just now" : seconds < 100 ? `${counted(Math.round(seconds / 10) * 10, "second")} ago` : "2 minutes ago");
const DID = { accept: "accepted", reject: "rejected", edit: "edited", undo: "undid something about", import: "imported", rescue: "rescued", assignment: "assigned", opinion: "gave an opinion on",
  comment: "commented on" };

/** Shows the names of those who did something within the last two minutes, and what. */
export async function showOthers() {
  clearTimeout(timer);
  timer = setTimeout(() => showOthers().catch(() => {}), AGAIN);
  const { others } = await call("/api/others");
  const box = $("others");
  const people = others.map(({ who, action, tasks, task, seconds }) => [who, `${DID[action] ?? action} ${tasks === 1 ? `task ${task}` : counted(tasks, "task")} ${ago(seconds)}`]);
  box.hidden = people.length === 0;
  // What says the same is not announced again.
  const text = JSON.stringify(people);
  if (box.dataset.text === text) return;
  box.dataset.text = text;
  box.replaceChildren("Also here: ", ...people.flatMap(([who, did], at) => [at > 0 && "; ", make("strong", {}, plain(who)), ` ${did}`].filter(Boolean)));
}
