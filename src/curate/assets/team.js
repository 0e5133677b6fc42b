// Reviewers: what waits for whom, and what people said and wrote beside a task.

import { newComment } from "./dialogs.js";
import { $, grouped, make, plain, prose } from "./element.js";
import { call } from "./server.js";

/** The person of this page. */
let who = "";

const isMe = (name) => name.toLowerCase() === who.toLowerCase();

/** Whether decisions on the task are opinions: it is assigned to the person of this page. */
export const isOwn = (task) => task.assigned.some(({ reviewer }) => isMe(reviewer));

const fieldOf = (name) => $("filter").elements.namedItem(name);

/** Chooses a queue in the filter, or leaves it. */
function toggle(name, value) {
  const field = fieldOf(name);
  field.value = field.value === value ? "" : value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Makes a button for a queue, which stays pressed. */
function queueButton(label, tasks, name, value) {
  return make("button", { type: "button", "data-name": name, "data-value": value, "aria-pressed": String(fieldOf(name).value === value),
    onclick: () => toggle(name, value) }, `${label} (${grouped(tasks)})`);
}

/** Shows which queue is chosen. */
function mark() {
  for (const button of $("team-queues").children) button.setAttribute("aria-pressed", String(fieldOf(button.dataset.name).value === button.dataset.value));
}

document.addEventListener("counted", mark);

/** Offers the queues of the team, and its names in the filter. */
export async function offerTeam() {
  const team = await call("/api/team");
  who = team.who;
  const { reviewers, counts } = team;
  for (const name of ["assigned_to", "awaiting"]) {
    const list = fieldOf(name);
    const chosen = list.value;
    const names = reviewers.map(({ reviewer }) => reviewer);
    if (chosen && !names.includes(chosen)) names.push(chosen);
    list.replaceChildren(list.options[0], ...names.map((reviewer) => new Option(isMe(reviewer) ? `${reviewer} (you)` : reviewer, reviewer)));
    list.value = chosen;
  }
  $("team-filters").hidden = !reviewers.length && !counts.commented;
  const own = reviewers.find(({ reviewer }) => isMe(reviewer));
  const buttons = [
    own && queueButton("Assigned to you", own.waiting, "awaiting", own.reviewer),
    (counts.disagreements > 0 || fieldOf("disagreement").value) && queueButton("Disagreements", counts.disagreements, "disagreement", "yes"),
  ].filter(Boolean);
  // What says the same stays, with the focus.
  const box = $("team-queues");
  box.hidden = !buttons.length;
  if (box.innerHTML === buttons.map((button) => button.outerHTML).join("")) return;
  const at = [...box.children].indexOf(document.activeElement);
  box.replaceChildren(...buttons);
  if (at >= 0) (box.children[at] ?? $("task")).focus();
}

/** Gives the person's opinion of a task. Returns the change, the task's review then, and what to say. */
export async function give(task, verdict, note) {
  const { change, review } = await call(`/api/tasks/${task.id}/opinion`, { verdict, version: task.version, note });
  const decided = !change ? "" : change.accepted ? ": all its reviewers accept it" : change.rejected ? ": all its reviewers reject it"
    : change.disagreements ? ": its reviewers do not agree" : "";
  return { change, review, done: `Your opinion of task ${task.id} is ${verdict}${decided}.` };
}

/** Asks for a comment and writes it beside the task. Returns the change, or null. */
export async function comment(task) {
  const text = await newComment();
  if (text === null) return null;
  return (await call(`/api/tasks/${task.id}/comment`, { text })).change;
}

const said = ({ verdict, note, has_spoken: hasSpoken }) =>
  verdict ? [make("strong", { class: verdict }, verdict), note && ": ", note && plain(note)].filter(Boolean)
    : [hasSpoken ? "has an opinion, which you see once you have given yours" : "no opinion yet"];

/** Shows whom a task is assigned to with what they said, and the comments; `button` begins one. */
export function teamOf(task, button) {
  const opinions = task.assigned.length > 0 && [make("h2", {}, "Reviewers"), make("ul", { class: "said" }, task.assigned.map((one) =>
    make("li", {}, plain(one.reviewer), isMe(one.reviewer) && " (you)", ": ", said(one))))];
  const comments = task.comments.length > 0 && [make("h2", {}, "Comments"), task.comments.map(({ author, created_at: at, text }) =>
    make("div", { class: "comment" }, make("p", { class: "facts" }, make("strong", {}, plain(author)), make("span", {}, at.slice(0, 16).replace("T", " "))), prose(text)))];
  return [make("section", { id: "team", "aria-label": "Reviewers and comments" }, [opinions, comments].filter(Boolean).flat(2),
    make("p", {}, button))];
}
