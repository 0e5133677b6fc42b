// The page's state and what changes it. What it looks like is in view.js.

import { beside, collect, dashboard, editing, line, reading } from "./view.js";

const PAGE = 100;
const $ = (id) => document.getElementById(id);
const state = { tasks: [], count: 0, at: 0, task: null, editing: false, board: false, asked: 0 };

// The token comes behind `#`, which no server sees; it stays for this tab.
const hash = new URLSearchParams(location.hash.slice(1));
if (hash.has("token")) {
  sessionStorage.setItem("token", hash.get("token"));
  history.replaceState(null, "", location.pathname);
}

async function call(path, body) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Error("ewe curate does not answer; is it still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), { answer });
  return answer;
}

let fading;
function say(text) {
  $("status").textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => { $("status").textContent = ""; }, 4000);
}

/** Runs what a key or a button asks for; what goes wrong is said. */
const guarded = (run) => (...given) => Promise.resolve(run(...given)).catch((error) => say(error.message));

function query(after) {
  const form = Object.fromEntries(new FormData($("filter")));
  // The last word is still being typed: any ending will do.
  form.text = form.text.replace(/([\p{L}\p{N}])$/u, "$1*");
  return new URLSearchParams({ ...form, limit: PAGE, ...(after && { after }) }).toString();
}

/** Gets the queue anew; stays with the task `keep` where it is still in it. */
async function load(keep) {
  // Answers may come out of order while somebody types: only the last question counts.
  const asked = ++state.asked;
  const { tasks, count } = await call(`/api/tasks?${query()}`);
  if (asked !== state.asked) return;
  const at = tasks.findIndex((task) => task.id === keep);
  Object.assign(state, { tasks, count, at: Math.max(0, at), editing: false });
  await open(state.at);
}

async function more() {
  const { tasks, count } = await call(`/api/tasks?${query(state.tasks.at(-1)?.id)}`);
  const known = new Set(state.tasks.map((task) => task.id));
  state.tasks.push(...tasks.filter((task) => !known.has(task.id)));
  state.count = count;
  draw();
}

async function open(at) {
  state.at = at;
  state.editing = false;
  const row = state.tasks[at];
  const task = row ? await call(`/api/tasks/${row.id}`) : null;
  // Somebody may have gone on meanwhile.
  if (state.tasks[state.at] !== row) return;
  state.task = task;
  if (task) Object.assign(row, { review: task.review, instruction: task.instruction });
  draw();
}

function draw(conflict) {
  $("queue").hidden = $("task").hidden = $("beside").hidden = state.board;
  $("dashboard").hidden = !state.board;
  $("dashboard-button").setAttribute("aria-pressed", String(state.board));
  $("count").textContent = state.count === 1 ? "1 task" : `${state.count} tasks`;
  $("tasks").replaceChildren(...state.tasks.map((task, at) => line(task, at === state.at, guarded(() => open(at)))));
  $("tasks").querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" });
  $("more").hidden = state.tasks.length >= state.count;
  const { task } = state;
  if (!task) {
    $("task").replaceChildren("Nothing here. Choose another filter, or clear the search.");
    $("beside").replaceChildren();
    return;
  }
  const parts = state.editing
    ? editing(task, { save: guarded(save), leave }, conflict)
    : reading(task, { accept: guarded(() => review("accepted")), reject: guarded(() => review("rejected")), edit });
  $("task").replaceChildren(...parts.filter(Boolean));
  $("beside").replaceChildren(...beside(task));
}

async function review(verdict, note) {
  if (!state.task) return;
  const { at, task } = state;
  const { change } = await call("/api/review", { ids: [task.id], review: verdict, note });
  say(change ? `Task ${task.id} ${verdict}. u takes it back.` : `Task ${task.id} was ${verdict} already.`);
  state.tasks[at].review = verdict;
  await step(1, at);
}

async function step(by, from = state.at) {
  if (from + by >= state.tasks.length && state.tasks.length < state.count) await more();
  const to = Math.min(Math.max(from + by, 0), Math.max(state.tasks.length - 1, 0));
  await open(to);
  $("task").scrollTo({ top: 0 });
}

function edit() {
  if (!state.task || state.board) return;
  state.editing = true;
  draw();
  $("task").querySelector("textarea").focus();
}

function leave() {
  state.editing = false;
  draw();
  $("task").focus();
}

async function save(form) {
  const { id } = state.task;
  const changes = collect(form, state.task);
  if (!changes) return leave();
  try {
    await call(`/api/tasks/${id}/edit`, changes);
  } catch (error) {
    if (!error.answer?.current) throw error;
    // Theirs is shown above the fields, which keep what was typed; the next save is made from their version.
    const typed = Object.fromEntries(new FormData(form));
    state.task = error.answer.current;
    draw(state.task);
    for (const [name, value] of Object.entries(typed)) $("task").querySelector("form").elements.namedItem(name).value = value;
    return say(error.message);
  }
  say(`Task ${id} saved. u takes it back.`);
  await open(state.at);
  $("task").focus();
}

async function takeBack(which) {
  const { change } = await call(`/api/${which}`, {});
  say(`${which === "undo" ? "Undone" : "Redone"}: ${change.tasks === 1 ? "1 task" : `${change.tasks} tasks`}.`);
  await load(state.task?.id);
}

async function board() {
  state.board = !state.board;
  if (state.board) $("dashboard").replaceChildren(...dashboard(await call("/api/dashboard")));
  draw();
}

function rejectWithReason() {
  if (!state.task) return;
  const dialog = $("reason");
  dialog.returnValue = "";
  dialog.querySelector("input").value = "";
  dialog.showModal();
}

$("reason").addEventListener("close", guarded(() => {
  const note = $("reason").querySelector("input").value;
  if ($("reason").returnValue === "reject") return review("rejected", note);
}));

const keys = {
  j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  a: () => review("accepted"), r: () => review("rejected"), R: rejectWithReason, e: edit,
  u: () => takeBack("undo"), U: () => takeBack("redo"), d: board, g: () => load(state.task?.id),
  p: () => { const box = $("provenance"); if (box) box.open = !box.open; },
  "/": () => $("text").focus(), "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.isComposing) return;
  const field = event.target.closest("textarea, input, select");
  if (field) {
    const form = field.closest("#task form");
    if (event.key === "Escape") form ? leave() : field.blur();
    else if (event.key === "Enter" && form && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (state.editing && event.key === "Escape") return leave();
  // While a task is edited or the dashboard is up, keys that decide about a task do nothing.
  const allowed = state.board ? "d?" : state.editing ? "?" : null;
  if (!(event.key in keys) || (allowed && !allowed.includes(event.key))) return;
  event.preventDefault();
  guarded(keys[event.key])();
});

let typing;
$("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(guarded(() => load()), 150);
});
$("filter").addEventListener("submit", (event) => { event.preventDefault(); $("text").blur(); });
$("more").addEventListener("click", guarded(more));
$("dashboard-button").addEventListener("click", guarded(board));
$("help-button").addEventListener("click", () => $("help").showModal());

guarded(load)();
