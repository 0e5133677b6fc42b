// The queue: its tasks and the present one. Reviewed tasks stay in place until another queue is
// loaded, so that the user finds them again.

import { $, counted, grouped, make, signed } from "./element.js";
import { fieldCounts } from "./fields.js";
import { drop, facets, moved, outdate } from "./facets.js";
import { filter, sort } from "./filter.js";
import { listed } from "./reading.js";
import { selected, tick } from "./selection.js";
import { call } from "./server.js";

const PAGE = 100;

/** `question`: what it answers. `after`: the task before the first of the `tasks`, null at the beginning. `whole`: the queue's last task is among them.
    `count`: null until all are counted. */
export const queue = { question: "", tasks: [], count: 0, at: 0, after: null, whole: true };

/** The rows by task, so that a queue that grew is not rebuilt. */
let lines = new Map();
/** Aborts requests for an outdated queue. */
let over = new AbortController();
/** Whether the queue is being counted, and what is to be counted after that. */
let counting = false, next = null;

/** The filter and the order, as a text. */
export const question = () => JSON.stringify([filter(), sort()]);

export const current = () => queue.tasks[queue.at];

/** Loads a part of the queue, `from` a task if one is named; null if another queue was requested meanwhile. */
async function ask(limit, from = {}) {
  const { signal } = over;
  const query = { filter: JSON.stringify(filter()), sort: sort(), limit, ...from };
  try {
    const part = await call(`/api/tasks?${new URLSearchParams(query)}`, undefined, signal);
    return signal.aborted ? null : part;
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  }
}

/** The part of the queue around a task, null if another queue was requested. A task that is not there has no place. */
async function around(id) {
  try {
    return await ask(PAGE, { around: id });
  } catch (error) {
    if (error.status !== 404) throw error;
    return { tasks: [], outside: true };
  }
}

/** Reloads the queue and stays at the task `keep`, if it has it. A `named` one is opened wherever it is, outside of the
    filter, too. Returns false if a newer request overtook it. */
export async function load(keep, named = false) {
  const asked = question();
  // Responses may arrive out of order while the user types: only the last request counts.
  over.abort();
  over = new AbortController();
  counting = false;
  next = null;
  outdate();
  let part = await ask(PAGE);
  if (!part) return false;
  const has = ({ tasks }) => tasks.some((task) => task.id === keep);
  if (keep != null && !has(part) && (named || !part.whole)) {
    const other = await around(keep);
    if (!other) return false;
    if (has(other) && (named || !other.outside)) part = other;
  }
  const { tasks, after, whole } = part;
  const at = Math.max(0, tasks.findIndex((task) => task.id === keep));
  if (part.outside) Object.assign(tasks[at], { left: true, isOutside: true });
  lines = new Map();
  Object.assign(queue, { question: asked, tasks, count: null, after, whole, at });
  count(tasks.filter((task) => !task.left), whole && after === null);
  return true;
}

/** Counts the queue, which may take longer than finding its first `tasks`, and the tasks behind each choice. */
async function count(tasks, all) {
  if (all) queue.count = tasks.length;
  if (counting) {
    next = [tasks, all];
    return;
  }
  const { signal } = over;
  const query = new URLSearchParams({ filter: JSON.stringify(filter()) });
  counting = true;
  try {
    if (!all) {
      const answer = await call(`/api/count?${query}`, undefined, signal);
      if (!signal.aborted) queue.count = answer.count;
      tell();
    }
    await facets(query, signal);
    await fieldCounts(query, signal);
  } catch {
    // It stays uncounted until the next request.
    if (!signal.aborted) drop();
  }
  if (signal.aborted) return;
  counting = false;
  tell();
  const following = next;
  next = null;
  if (following) count(...following);
}

function tell() {
  const { count, tasks } = queue;
  $("count").textContent = count === null ? `${grouped(tasks.length)}+ tasks` : counted(count, "task");
  document.dispatchEvent(new Event("counted"));
}

/** The rows of a part that are not shown yet. */
function unknown({ tasks }) {
  const known = new Set(queue.tasks.map((task) => task.id));
  return tasks.filter((task) => !known.has(task.id));
}

/** Loads the next page. */
export async function more() {
  const last = queue.tasks.at(-1)?.id;
  const part = await ask(PAGE, last == null ? {} : { after: last });
  if (!part) return;
  queue.tasks.push(...unknown(part));
  queue.whole = part.whole;
}

/** Loads the page before. */
export async function earlier() {
  const part = await ask(PAGE, { before: queue.tasks[0].id });
  if (!part) return;
  const rows = unknown(part);
  queue.tasks.unshift(...rows);
  Object.assign(queue, { after: part.after, at: queue.at + rows.length });
}

/** Records the review of a task. */
export function decided(id, review) {
  const task = queue.tasks.find((other) => other.id === id);
  if (!task) return;
  moved(task.origin, task.review, review);
  task.review = review;
  const stays = [undefined, review].includes(filter().review);
  if (!stays && !task.left && queue.count !== null) queue.count -= 1;
  task.left = !stays;
}

/** Whether the queue is of pending tasks, and none is left. */
export const isDone = () => filter().review === "pending" && queue.whole && queue.after === null
  && queue.tasks.every((task) => task.review !== "pending");

/** Updates the queue and keeps the place: new tasks are inserted, and tasks that no longer match
    stay, marked. Returns the task `id` as a list shows it now. */
export async function refresh(id) {
  const { signal } = over;
  const here = current();
  const limit = Math.min(500, Math.max(PAGE, queue.tasks.length));
  const part = await ask(limit, queue.after === null ? {} : { after: queue.after });
  if (!part) return null;
  const { tasks, whole: all } = part;
  const fresh = new Map(tasks.map((task) => [task.id, task]));
  const others = queue.tasks.filter((task) => !fresh.has(task.id)).map((task) => task.id);
  const ids = [...(id == null ? [] : [id]), ...others.slice(0, 2000)];
  const seen = ids.length ? (await call("/api/glance", { ids })).tasks : [];
  if (signal.aborted) return null;
  const glances = new Map(seen.map((task) => [task.id, task]));
  const known = queue.tasks.findLastIndex((task) => fresh.has(task.id));
  queue.tasks.forEach((task, at) => {
    // Nothing is known of tasks beyond the end of the response.
    if (all || at <= known) task.left = !fresh.has(task.id);
    Object.assign(task, fresh.get(task.id) ?? glances.get(task.id));
  });
  let at = -1;
  for (const task of tasks) {
    const place = queue.tasks.findIndex((other) => other.id === task.id);
    if (place >= 0) at = place;
    // After the last shown task comes `more`, unless everything is shown.
    else if (all || at < queue.tasks.length - 1) queue.tasks.splice(++at, 0, task);
  }
  queue.whole ||= all;
  count(tasks, all && queue.after === null);
  queue.at = Math.max(0, queue.tasks.indexOf(here));
  return glances.get(id) ?? null;
}

/** Shows the queue. Calls `pick` with the position of a clicked row. */
export function draw(pick, follow) {
  const focused = $("tasks").contains(document.activeElement);
  const shown = queue.tasks.map((task, at) => {
    const look = JSON.stringify([task.review, task.instruction, task.nearest_rouge_l, task.score, task.influence, task.ifd, task.is_held_out]);
    let line = lines.get(task.id);
    if (line?.look !== look) lines.set(task.id, line = { look, item: item(task) });
    const button = line.item.querySelector("button");
    button.onclick = () => pick(at);
    button.setAttribute("aria-current", String(at === queue.at));
    button.tabIndex = at === queue.at ? 0 : -1;
    return line.item;
  });
  const list = $("tasks");
  if (shown.length !== list.children.length || shown.some((item, at) => list.children[at] !== item)) list.replaceChildren(...shown);
  tell();
  $("more").hidden = queue.whole;
  $("earlier").hidden = queue.after === null;
  const here = list.querySelector("[aria-current=true]");
  if (follow) here?.scrollIntoView({ block: "nearest" });
  if (focused) here?.focus({ preventScroll: true });
}

function item(task) {
  const box = make("input", { type: "checkbox", value: task.id, tabindex: "-1", "aria-label": `Select task ${task.id}`,
    onclick: (event) => tick(queue.tasks, queue.tasks.indexOf(task), box.checked, event.shiftKey) });
  box.checked = selected.has(task.id);
  return make("li", {}, box, make("button", { type: "button" },
    make("span", { class: "title", dir: "auto" }, listed(task.instruction)),
    make("span", { class: "facts" },
      make("span", { class: task.review }, task.review),
      make("span", {}, `${task.origin} ${task.id}`),
      task.is_classification && make("span", {}, "classification"),
      task.nearest_rouge_l != null && make("span", {}, `similar ${task.nearest_rouge_l.toFixed(2)}`),
      task.score != null && make("span", {}, `score ${Number(task.score.toFixed(1))}`),
      task.influence != null && make("span", {}, `influence ${signed(task.influence)}`),
      task.ifd != null && make("span", {}, `IFD ${task.ifd.toFixed(2)}`),
      task.is_held_out && make("span", {}, "held out"))));
}
