// The queue: its tasks and the present one. Reviewed tasks stay in place until another queue is
// loaded, so that the user finds them again.

import { $, counted, grouped, make, plain, signed } from "./element.js";
import { filter, sort } from "./filter.js";
import { call } from "./server.js";

const PAGE = 100;

/** `whole`: the queue's last task is among the `tasks`. `count`: null until all are counted. */
export const queue = { tasks: [], count: 0, at: 0, whole: true };

/** The rows by task, so that a queue that grew is not rebuilt. */
let lines = new Map();
/** Aborts requests for an outdated queue. */
let over = new AbortController();
/** Whether the queue is being counted, and must be counted again. */
let counting = false, again = false;

export const current = () => queue.tasks[queue.at];

/** Loads tasks of the queue; null if another queue was requested meanwhile. */
async function ask(limit, after) {
  const { signal } = over;
  const question = { filter: JSON.stringify(filter()), sort: sort(), limit };
  try {
    const { tasks } = await call(`/api/tasks?${new URLSearchParams(after == null ? question : { ...question, after })}`, undefined, signal);
    return signal.aborted ? null : tasks;
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  }
}

/** Reloads the queue and stays at the task `keep`. Returns false if a newer request overtook it. */
export async function load(keep) {
  // Responses may arrive out of order while the user types: only the last request counts.
  over.abort();
  over = new AbortController();
  counting = again = false;
  const tasks = await ask(PAGE);
  if (!tasks) return false;
  lines = new Map();
  Object.assign(queue, { tasks, count: null, whole: tasks.length < PAGE, at: Math.max(0, tasks.findIndex((task) => task.id === keep)) });
  count(tasks, queue.whole);
  return true;
}

/** Counts the queue, which may take longer than finding its first `tasks`. */
async function count(tasks, all) {
  again = counting;
  if (all) queue.count = tasks.length;
  if (all || counting) return;
  const { signal } = over;
  counting = true;
  try {
    const answer = await call(`/api/count?${new URLSearchParams({ filter: JSON.stringify(filter()) })}`, undefined, signal);
    if (!signal.aborted) queue.count = answer.count;
  } catch {
    // It stays uncounted until the next request.
  }
  if (signal.aborted) return;
  counting = false;
  if (again) count(tasks, all);
  tell();
}

function tell() {
  const { count, tasks } = queue;
  $("count").textContent = count === null ? `${grouped(tasks.length)}+ tasks` : counted(count, "task");
}

/** Loads the next page. */
export async function more() {
  const tasks = await ask(PAGE, queue.tasks.at(-1)?.id);
  if (!tasks) return;
  const known = new Set(queue.tasks.map((task) => task.id));
  queue.tasks.push(...tasks.filter((task) => !known.has(task.id)));
  queue.whole = tasks.length < PAGE;
}

/** Records the review of a task. */
export function decided(id, review) {
  const task = queue.tasks.find((other) => other.id === id);
  if (!task) return;
  task.review = review;
  const stays = [undefined, review].includes(filter().review);
  if (!stays && !task.left && queue.count !== null) queue.count -= 1;
  task.left = !stays;
}

/** Updates the queue and keeps the place: new tasks are inserted, and tasks that no longer match
    stay, marked. Returns the task `id` as a list shows it now. */
export async function refresh(id) {
  const { signal } = over;
  const here = current();
  const limit = Math.min(500, Math.max(PAGE, queue.tasks.length));
  const tasks = await ask(limit);
  if (!tasks) return null;
  const fresh = new Map(tasks.map((task) => [task.id, task]));
  const others = queue.tasks.filter((task) => !fresh.has(task.id)).map((task) => task.id);
  const ids = [...(id == null ? [] : [id]), ...others.slice(0, 2000)];
  const seen = ids.length ? (await call("/api/glance", { ids })).tasks : [];
  if (signal.aborted) return null;
  const glances = new Map(seen.map((task) => [task.id, task]));
  const all = tasks.length < limit;
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
  count(tasks, all);
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
    const button = line.item.firstChild;
    button.onclick = () => pick(at);
    button.setAttribute("aria-current", String(at === queue.at));
    button.tabIndex = at === queue.at ? 0 : -1;
    return line.item;
  });
  const list = $("tasks");
  if (shown.length !== list.children.length || shown.some((item, at) => list.children[at] !== item)) list.replaceChildren(...shown);
  tell();
  $("more").hidden = queue.whole;
  const here = list.querySelector("[aria-current=true]");
  if (follow) here?.scrollIntoView({ block: "nearest" });
  if (focused) here?.focus({ preventScroll: true });
}

function item(task) {
  return make("li", {}, make("button", { type: "button" },
    make("span", { class: "title", dir: "auto" }, plain(task.instruction)),
    make("span", { class: "facts" },
      make("span", { class: task.review }, task.review),
      make("span", {}, `${task.origin} ${task.id}`),
      task.is_classification && make("span", {}, "classification"),
      task.nearest_rouge_l != null && make("span", {}, `alike ${task.nearest_rouge_l.toFixed(2)}`),
      task.score != null && make("span", {}, `score ${Number(task.score.toFixed(1))}`),
      task.influence != null && make("span", {}, `influence ${signed(task.influence)}`),
      task.ifd != null && make("span", {}, `IFD ${task.ifd.toFixed(2)}`),
      task.is_held_out && make("span", {}, "held out"))));
}
