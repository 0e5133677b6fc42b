// The page and its keys. The parts are in the other files.

import { overtake, run } from "./actions.js";
import * as candidates from "./candidates.js";
import { dashboard, watchTraining } from "./dashboard.js";
import { bulk, confirmUndo, doubt, nameFilter, reason, save } from "./dialogs.js";
import { begin } from "./editor.js";
import { $, by, counted as number, grouped, make, plain, say } from "./element.js";
import { end } from "./end.js";
import { focusField, giveValue, offerFields, pressChoice } from "./fields.js";
import { clear, described, isWrong, offer, overrule, recall, remember, wrong } from "./filter.js";
import { commits, live } from "./live.js";
import { showOthers } from "./others.js";
import { current, decided, draw as drawQueue, earlier, load, more, question, queue, refresh } from "./queue.js";
import { look } from "./reading.js";
import { saveFilter, showSaved } from "./saved.js";
import { clearSelection, selected, tick } from "./selection.js";
import { admit, call } from "./server.js";
import { beside, keyed, reading, sideBySide, toggleTrail, versions } from "./task.js";
import { comment, give, isOwn, offerTeam } from "./team.js";
import { addTurn, removeTurn } from "./turns.js";
import { did, redo, undo } from "./undo.js";

/** The shown task, what models had found about it, its editor, the change that blocks a review, the task beside it, the open
    view (`dashboard`, `candidates`, none for the queue), the dataset's name. */
const state = { task: null, found: "", session: null, conflict: null, other: null, view: "", boardAt: 0, file: "" };

/** What models have found about a task of the queue. No version counts it. */
const found = (row) => (row ? `${row.influence} ${row.ifd} ${row.is_held_out}` : "");

function show() {
  drawQueue((at) => pick(at));
  for (const name of ["queue", "task", "beside"]) $(name).hidden = state.view !== "";
  for (const name of ["dashboard", "candidates"]) {
    $(name).hidden = state.view !== name;
    $(`${name}-button`).setAttribute("aria-pressed", String(state.view === name));
  }
  // Candidates have a filter of their own; what is decided about is seen.
  $("filter").hidden = state.view === "candidates";
  $("bulk-button").hidden = state.view !== "";
  entitle();
}

/** Names what is shown, and the dataset, in the title. */
function entitle() {
  const what = { dashboard: "Dashboard", candidates: "Rejected candidates" }[state.view] ?? (state.task && `Task ${state.task.id}`);
  document.title = [what, state.file, "ewe"].filter(Boolean).join(" · ");
}

/** Keeps what is shown in the address. */
const keepAddress = (isStep = false) => remember(state.task?.id, state.view === "candidates" ? candidates.view() : state.view, isStep);

const atEnd = () => end(state.task, state.file, {
  save: run(save), clear: run(keys.c), accepted: run(() => { $("filter").elements.namedItem("review").value = "accepted"; return search(null, { isStep: true }); }),
});

/** Shows the task, as a step of the browser's history or in place. The focus stays on the same button, if one has it. */
function showTask(isStep = false) {
  const pane = $("task");
  const focused = pane.contains(document.activeElement) ? document.activeElement.getAttribute("aria-keyshortcuts") : null;
  const { task } = state;
  entitle();
  keepAddress(isStep);
  if (!task) {
    pane.replaceChildren(atEnd());
    $("beside").replaceChildren();
    return;
  }
  const act = { accept: run(() => review("accepted")), reject: run(() => review("rejected")), unsure: run(unsure), comment: run(writeComment), edit: run(edit), look: run(toggleLook), label: run(label), aside: aside(task),
    addTurn: run((ordinal) => addTurn(task, ordinal, open)), removeTurn: run((ordinal, place) => removeTurn(task, ordinal, place, open)) };
  pane.replaceChildren(...(state.session?.parts ?? [atEnd(), ...conflict(), ...reading(task, act)].filter(Boolean)));
  $("beside").replaceChildren(...beside(task, run(compareWith)));
  if (focused) (pane.querySelector(`[aria-keyshortcuts="${focused}"]`) ?? pane).focus();
}

/** Shows the other task beside this one, if one was chosen. */
function aside(task) {
  if (!state.other) return [];
  return [sideBySide(task, state.other, { next: run(nextNeighbor), close: run(closeOther) })];
}

async function compareWith(id) {
  const { task } = state;
  const other = await call(`/api/tasks/${id}`);
  if (state.task !== task || state.session) return;
  state.other = other;
  showTask();
  $("side-by-side").scrollIntoView({ block: "nearest" });
}

/** Shows the next similar task side by side; after the last one, the first. */
async function nextNeighbor() {
  const ids = state.task?.neighbors.map((near) => near.id) ?? [];
  if (!ids.length) return say("Nothing was compared with it.");
  await compareWith(ids[(ids.indexOf(state.other?.id) + 1) % ids.length]);
}

function closeOther() {
  state.other = null;
  showTask();
}

function toggleLook() {
  look.toggle();
  if (state.view === "candidates") return candidates.refreshCandidate();
  if (state.task && !state.session) showTask();
}

/** Opens the present task of the queue. */
async function open(isStep = false) {
  const row = current();
  const task = row ? await call(`/api/tasks/${row.id}`) : null;
  // The user may have moved on meanwhile.
  if (current() !== row) return;
  Object.assign(state, { task, found: found(row), conflict: null, other: null });
  if (row) row.review = task.review;
  drawQueue((at) => pick(at), true);
  showTask(isStep);
  $("task").scrollTo({ top: 0 });
  performance.mark("ready");
  $("now").textContent = task ? `Task ${task.id}, ${task.review}: ${task.instruction.slice(0, 200)}` : "Nothing here";
}

const pick = run(async (at) => {
  if (!(await leave())) return;
  queue.at = at;
  await open(true);
});

/** Goes on in the queue. `done`: what was just done, and can be undone. */
async function step(by, done = "") {
  if (done) say(done, false, "u");
  if (!(await leave())) return;
  if (queue.at + by >= queue.tasks.length && !queue.whole) await more();
  if (queue.at + by < 0 && queue.after !== null) await earlier();
  const to = queue.at + by;
  if (to < 0 || to >= queue.tasks.length) {
    say(to < 0 ? "That is the first one." : `${done} That was the last one.`.trim(), false, done && "u");
    return open();
  }
  queue.at = to;
  await open();
}

/** Loads the queue of the present filter, and stays at the task `keep`. A `named` one is opened even if the filter does not
    have it. */
async function search(keep, { named = false, isStep = false } = {}) {
  if (state.session && !(await leave())) return;
  try {
    if (!(await load(keep, named))) return;
    wrong(null);
  } catch (error) {
    if (!wrong(error)) throw error;
    // While a condition is typed, the last queue stays; an address may have a wrong one.
    if (queue.tasks.length) return;
    if ($("more-fields").hidden) filters(true);
  }
  show();
  if (named && keep != null) {
    if (current()?.id !== keep) say(`There is no task ${keep}.`, true);
    else if (current().left) say(`Task ${keep} does not pass the filter: ${described()}.`);
  }
  await open(isStep);
}

/** Opens what the address names. */
async function follow() {
  admit();
  if (!(await leave())) {
    overrule();
    return keepAddress();
  }
  const { id, view, kept } = recall();
  state.view = view;
  const at = queue.tasks.findIndex((task) => task.id === id);
  const candidate = candidates.recallCandidates(kept);
  if (view === "candidates") {
    show();
    await candidates.loadCandidates(candidate);
    return keepAddress();
  }
  if (at >= 0 && queue.question === question()) {
    queue.at = at;
    show();
    await open();
  } else {
    await search(id, { named: true });
  }
  if (view === "dashboard") await showBoard();
}

async function review(verdict, note) {
  const { task } = state;
  if (!task) return;
  const isOpinion = isOwn(task);
  let done = "", then = verdict;
  try {
    const { change, review: decision, done: said } = isOpinion ? await give(task, verdict, note)
      : await call(`/api/tasks/${task.id}/review`, { review: verdict, version: task.version, note });
    then = decision ?? verdict;
    if (change) did(change.group, task.id);
    if (change) done = said ?? `Task ${task.id} ${verdict}.`;
    else say(isOpinion ? "That was your opinion already." : `Task ${task.id} was ${verdict} already.`);
  } catch (error) {
    const now = error.answer?.current;
    if (!now) throw error;
    if (isOpinion || now.review !== verdict || versions(task, { ...now, review: task.review }).length) {
      Object.assign(state, { task: now, conflict: { seen: task, verdict, note } });
      showTask();
      $("task").querySelector(".conflict").focus();
      return;
    }
    say(`${by(now)} has ${verdict} task ${task.id} already.`);
  }
  decided(task.id, then);
  await step(1, done);
}

/** Leaves a task that is assigned to the person of this page to somebody else. */
async function unsure() {
  if (!state.task) return;
  if (!isOwn(state.task)) return say("This task is not assigned to you: you can accept it or reject it.");
  const note = await doubt();
  if (note !== null) await review("unsure", note);
}

async function writeComment() {
  const { task } = state;
  if (!task) return;
  const change = await comment(task);
  if (!change) return;
  did(change.group, task.id);
  const now = await call(`/api/tasks/${task.id}`);
  if (state.task === task && !state.session) {
    state.task = now;
    showTask();
  }
  say(`Commented on task ${task.id}.`, false, "u");
}

/** Gives a field of the task a value. */
async function label(field, value) {
  const { task } = state;
  if (!task || state.session) return;
  const now = await giveValue(task, field, value);
  if (state.task !== task || state.session) return;
  state.task = now;
  showTask();
}

/** Shows what blocks a review: the task as it was seen, and as it is now. */
function conflict() {
  if (!state.conflict) return [];
  const { seen, verdict } = state.conflict;
  return [make("div", { class: "conflict", role: "alert", tabindex: "-1" },
    make("h2", { class: "unseen" }, "Two versions"),
    make("p", {}, ...plain(`${by(state.task)} changed this task while you looked at it, so it was not ${verdict}.`)),
    make("div", { class: "actions" },
      keyed(`Keep mine: ${verdict}`, "m", run(keepMine)), keyed("Take theirs", "t", run(takeTheirs))),
    versions(seen, state.task))];
}

async function keepMine() {
  if (state.session) return state.session.keys.m();
  if (!state.conflict) return;
  const { verdict, note } = state.conflict;
  state.conflict = null;
  await review(verdict, note);
}

function takeTheirs() {
  if (state.session) return state.session.keys.t();
  if (!state.conflict) return;
  state.conflict = null;
  showTask();
}

function edit() {
  const { task } = state;
  if (!task || state.view || state.session) return;
  state.conflict = null;
  state.session = begin(task, { noted: (group) => did(group, task.id), end: run(leaveToTask) });
  showTask();
  $("task").querySelector("textarea").focus();
}

/** Ends the editing session, if there is one. Returns false if something is not saved. */
async function leave() {
  if (!state.session) return true;
  if (!(await state.session.finish())) return false;
  state.session = null;
  return true;
}

async function leaveToTask() {
  if (!state.session || !(await leave())) return;
  await open();
  $("task").focus();
}

async function goBack(how) {
  if (!(await leave())) return;
  const id = await how(confirmUndo);
  if (state.view === "candidates") return candidates.refreshCandidate();
  const at = queue.tasks.findIndex((task) => task.id === id);
  if (at >= 0) queue.at = at;
  await refresh();
  await open();
}

async function rejectWithReason() {
  if (!state.task) return;
  const note = await reason();
  if (note !== null) await review("rejected", note);
}

async function reviewAll() {
  const ids = [...selected];
  const change = await bulk(ids);
  if (!change) return;
  if (ids.length) clearSelection();
  did(change.group);
  await search(state.task?.id);
}

/** Opens a view in place of the queue, or the queue again. */
async function toggle(view) {
  if (!(await leave())) return;
  state.view = state.view === view ? "" : view;
  show();
  keepAddress(true);
  if (state.view === "dashboard") await showBoard();
  if (state.view === "candidates") {
    await candidates.loadCandidates(null);
    keepAddress();
    $("candidate").focus();
  } else if (queue.question !== question()) await search(state.task?.id);
  else if (!state.view) await news();
}

const board = () => toggle("dashboard");

async function rescue() {
  const rescued = await candidates.rescue();
  if (rescued) did(rescued.group, rescued.task);
}

/** Ticks the open task, or what was ticked no more. */
function select() {
  const row = current();
  if (row) tick(queue.tasks, queue.at, !selected.has(row.id));
}

async function keepFilter() {
  const name = await nameFilter();
  if (!name) return;
  saveFilter(name);
  say(`Saved: ${name}.`);
}

/** Goes on in what is shown. */
const goOn = (by) => (state.view === "candidates" ? candidates.stepCandidates(by) : step(by));

async function showBoard() {
  state.boardAt = Date.now();
  const [figures, trained] = await Promise.all([call("/api/dashboard"), call("/api/training")]);
  $("dashboard").replaceChildren(...dashboard(figures, trained));
  counted();
  watchTraining(trained.runs);
}

/** Shows what is known of the filter's tasks once they are counted. */
function counted() {
  const last = state.session ? null : atEnd();
  // What says the same stays, with the focus.
  if ($("end")?.textContent !== last?.textContent) {
    $("end")?.remove();
    if (last) $("task").prepend(last);
  }
  nameBulk();
  if ($("filtered")) $("filtered").textContent = `Charts and figures are of all tasks. The filter above (${described()}) has ${$("count").textContent}.`;
}

/** Says on the button what it decides about. */
function nameBulk() {
  $("bulk-button").textContent = selected.size ? `Decide ${grouped(selected.size)} selected…`
    : queue.count ? `Decide ${number(queue.count, "task")}…` : "Decide all…";
}

/** Takes over changes by others. What is typed, chosen and shown stays. */
async function news() {
  showOthers().catch(() => {});
  offerTeam().catch(() => {});
  if (isWrong() || state.view === "candidates") return;
  const { task } = state;
  const now = await refresh(task?.id);
  drawQueue((at) => pick(at));
  if (state.view === "dashboard" && Date.now() - state.boardAt > 5000) await showBoard();
  if (!task) return current() && open();
  if (state.task !== task || !now) return;
  const isChanged = now.version !== task.version;
  if (!isChanged && (state.session || (now.touched === task.touched && found(current()) === state.found))) return;
  if (state.session) return state.session.noticed(now.version);
  if (state.conflict) return;
  const fresh = await call(`/api/tasks/${task.id}`);
  if (state.task !== task || state.session) return;
  Object.assign(state, { task: fresh, found: found(current()) });
  showTask();
  if (isChanged) say(`Task ${task.id} was changed by ${fresh.changed_by ?? "somebody else"}.`);
}

function filters(open = $("more-fields").hidden) {
  $("more-fields").hidden = !open;
  $("filters-button").setAttribute("aria-expanded", String(open));
  if (open) $("more-fields").querySelector("select, input").focus();
}

const keys = {
  j: () => goOn(1), ArrowDown: () => goOn(1), k: () => goOn(-1), ArrowUp: () => goOn(-1),
  a: () => review("accepted"), r: () => review("rejected"), R: rejectWithReason, e: edit,
  u: () => goBack(undo), U: () => goBack(redo),
  m: () => (state.session || state.conflict ? keepMine() : writeComment()), t: () => (state.session || state.conflict ? takeTheirs() : unsure()), p: toggleTrail,
  l: () => { if (!focusField()) say("There is no field yet: ewe field add makes one."); },
  v: toggleLook, n: nextNeighbor, s: () => (state.view === "candidates" ? rescue() : select()),
  "/": () => { $("text").focus(); $("text").select(); }, f: () => filters(), c: () => { clear(); return search(state.task?.id, { isStep: true }); },
  b: reviewAll, x: save, d: board, w: () => toggle("candidates"), g: () => search(state.task?.id), "?": () => $("help").showModal(),
};
/** Keys that work while a view is open, and while no field of an edited task has the focus. */
const IN_VIEW = { dashboard: ["d", "w", "x", "?"], candidates: ["j", "k", "ArrowDown", "ArrowUp", "s", "u", "U", "v", "d", "w", "x", "?"] };
const IN_SESSION = "mt?";
/** Keys that open fields. Until they are there, what is typed after such a key is text, never a review. */
const OPENING = "eR/fbxmt";
let isOpening = false;

document.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (document.querySelector("dialog[open]")) {
    isOpening = false;
    return;
  }
  // A box to tick takes no letters.
  const field = event.target.closest("textarea, input:not([type=checkbox]), select");
  if (event.key === "Escape") {
    // Browsers would clear a search field.
    event.preventDefault();
    if (state.session?.inConflict() && field?.closest("#task")) state.session.decide();
    else if ((state.session || isOpening) && !field?.closest("header")) run(leaveToTask)();
    else if (state.view && !field) run(() => toggle(state.view))();
    else if (state.view === "candidates") $("candidate").focus();
    else if (state.other && !field) run(closeOther)();
    else if (!$("more-fields").hidden && field?.closest("#more-fields")) { filters(false); $("filters-button").focus(); }
    else $("task").focus();
    return;
  }
  if (field) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && field.closest("#task")) run(leaveToTask)();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (!state.view && !state.session && (/^[1-9]$/.test(event.key) ? pressChoice(event.key) : !Object.hasOwn(keys, event.key) && focusField(event.key))) {
    event.preventDefault();
    return;
  }
  if (!Object.hasOwn(keys, event.key)) return;
  if (state.view && !IN_VIEW[state.view].includes(event.key)) return;
  if (state.session && !IN_SESSION.includes(event.key)) return;
  event.preventDefault();
  if (isOpening) return;
  isOpening = OPENING.includes(event.key);
  run(keys[event.key])().finally(() => { if (OPENING.includes(event.key)) isOpening = false; });
});

$("filter").addEventListener("input", (event) => {
  // A choice is a step of the browser's history; what is typed replaces its last one.
  const isStep = event.target.matches("select");
  overtake(() => search(state.task?.id, { isStep }), 120);
});
$("filter").addEventListener("submit", (event) => { event.preventDefault(); $("task").focus(); });
$("more").addEventListener("click", run(async () => { await more(); show(); }));
$("earlier").addEventListener("click", run(async () => { await earlier(); show(); }));
$("undo-button").addEventListener("click", run(() => goBack(undo)));
$("status").addEventListener("click", (event) => {
  const key = event.target.closest("button")?.dataset.key;
  if (key) run(keys[key])();
});
document.addEventListener("counted", counted);
$("filters-button").addEventListener("click", () => filters());
$("dashboard-button").addEventListener("click", run(board));
$("candidates-button").addEventListener("click", run(() => toggle("candidates")));
$("more-candidates").addEventListener("click", run(candidates.moreCandidates));
$("candidates-filter").addEventListener("input", () => overtake(async () => { if (await candidates.loadCandidates(null)) keepAddress(); }, 200));
$("candidates-filter").addEventListener("submit", (event) => { event.preventDefault(); $("candidate").focus(); });
candidates.act.rescue = run(rescue);
candidates.act.opened = run((opening) => opening);
document.addEventListener("candidate", () => { if (state.view === "candidates") keepAddress(); });
$("decide-selected").addEventListener("click", run(reviewAll));
$("clear-selected").addEventListener("click", clearSelection);
document.addEventListener("selected", nameBulk);
$("save-filter-button").addEventListener("click", run(keepFilter));
$("bulk-button").addEventListener("click", run(reviewAll));
$("export-button").addEventListener("click", run(save));
$("help-button").addEventListener("click", () => $("help").showModal());
window.addEventListener("beforeunload", (event) => { if (state.session?.unsaved()) event.preventDefault(); });
document.addEventListener("visibilitychange", () => { if (document.hidden) state.session?.finish(); });

window.addEventListener("hashchange", run(follow));

const named = recall();
state.view = named.view;
// Asked before anything is read: every later commit is news.
run(async () => { live(run(news), await commits()); })();
// Whose tasks decisions are opinions on.
run(offerTeam)();
if (named.view === "candidates") run(follow)();
run(() => search(named.id, { named: true }))();
if (named.view === "dashboard") run(showBoard)();
run(async () => {
  const choices = await call("/api/choices");
  state.file = choices.file;
  $("file").replaceChildren(...plain(choices.file));
  entitle();
  offer(choices);
  offerFields(choices);
  candidates.offerRuns(choices.runs);
  counted();
})();
run(async () => { $("compare-link").hidden = (await call("/api/compare")).comparisons.length === 0; })();
showSaved();
showOthers().catch(() => {});
