// Two anonymous answers side by side. Models are named behind the last pair.

import { run } from "./actions.js";
import { $, counted, make, plain, prose, say } from "./element.js";
import { call } from "./server.js";

/** The pairs of the comparison, the shown one, its texts, and the votes of this visit in order. */
const state = { id: null, pairs: [], at: 0, pair: null, voted: [] };

const show = (...parts) => { $("main").replaceChildren(...parts); $("main").scrollTo({ top: 0 }); scrollTo({ top: 0 }); };

/** Shows the comparisons, or the only one. */
async function list() {
  const { comparisons } = await call("/api/compare");
  Object.assign(state, { id: null, pairs: [], pair: null, voted: [], several: comparisons.length > 1 });
  $("list-button").hidden = true;
  history.replaceState(null, "", location.pathname);
  if (comparisons.length === 1) return open(comparisons[0].id);
  $("count").textContent = counted(comparisons.length, "comparison");
  if (comparisons.length === 0) {
    return show(make("p", {}, "Nothing to compare. ", make("code", {}, "ewe compare"), " asks two models and stores their answers."));
  }
  show(make("ol", { class: "comparisons" }, comparisons.map(({ id, source, created_at, pairs, voted }) =>
    make("li", {}, make("button", { type: "button", onclick: run(() => open(id)) },
      plain(`Comparison ${id}: ${source}, ${created_at.slice(0, 10)}, ${voted} of ${counted(pairs, "pair")} done`))))));
}

/** Opens a comparison at its first pair without a vote. */
async function open(id) {
  const { pairs } = await call(`/api/compare/${id}`);
  Object.assign(state, { id, pairs, voted: [] });
  if (state.several === undefined) state.several = (await call("/api/compare")).comparisons.length > 1;
  $("list-button").hidden = !state.several;
  history.replaceState(null, "", `${location.pathname}#comparison=${id}`);
  await next();
}

/** Goes to the first pair without a vote, or to the end. */
async function next() {
  const open = state.pairs.findIndex((pair) => !pair.choice);
  if (open < 0) return end();
  await goTo(open);
}

async function goTo(at) {
  state.at = at;
  state.pair = await call(`/api/pairs/${state.pairs[at].id}`);
  $("count").textContent = `${at + 1} of ${state.pairs.length}`;
  draw();
  $("now").textContent = `Pair ${at + 1} of ${state.pairs.length}`;
  performance.mark("ready");
}

function draw() {
  const { prompt, left, right } = state.pair;
  const { choice } = state.pairs[state.at];
  const side = (name, label, text) =>
    make("section", { class: "answer", "aria-label": `${label} answer`, "data-chosen": String(choice === name) },
      make("h2", {}, label), text ? prose(text) : make("p", { class: "state" }, "No text."));
  const button = (name, label, key) =>
    make("button", { type: "button", "aria-keyshortcuts": key, "aria-pressed": String(choice === name), onclick: run(() => vote(name)) },
      `${label} `, make("kbd", {}, key));
  show(
    make("h2", {}, "Which answer is better?"), prose(prompt, "question"),
    make("div", { class: "answers" }, side("left", "Left", left), side("right", "Right", right)),
    make("div", { class: "votes", role: "group", "aria-label": "Your vote" },
      button("left", "Left", "1"), button("tie", "Neither", "0"), button("right", "Right", "2")),
    make("p", { class: "facts" }, make("button", { type: "button", "aria-keyshortcuts": "u", disabled: !state.pairs.some((pair) => pair.choice), onclick: run(back) },
      "Vote again on the last one ", make("kbd", {}, "u"))));
}

async function vote(choice) {
  if (!state.pair) return;
  const pair = state.pairs[state.at];
  await call(`/api/pairs/${pair.id}/vote`, { choice });
  pair.choice = choice;
  state.voted.push(state.at);
  await next();
}

/** Goes back to the pair that was voted on last, to vote again. */
async function back() {
  const at = state.voted.pop() ?? state.pairs.findLastIndex((pair) => pair.choice);
  if (at < 0) return say("There is no vote to change.");
  await goTo(at);
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Names the models, and says who chose what. */
async function end() {
  const found = await call(`/api/compare/${state.id}/end`);
  state.pair = null;
  const { length } = state.pairs;
  $("count").textContent = `${length} of ${length}`;
  const row = (who, { wins_a, wins_b, ties }) =>
    make("tr", {}, make("th", { scope: "row" }, who), [wins_a, wins_b, ties].map((count) => make("td", {}, String(count))));
  const head = make("tr", {}, ["", "a", "b", "neither"].map((name) => make("th", { scope: "col" }, name)));
  const rows = [row("You", found.mine)];
  if (found.all.voters > 1) rows.push(row(counted(found.all.voters, "voter"), found.all));
  show(make("div", { class: "end" },
    make("h2", {}, "That was the last pair."),
    make("p", {}, "a: ", make("strong", {}, plain(found.model_a))), make("p", {}, "b: ", make("strong", {}, plain(found.model_b))),
    make("table", {}, make("thead", {}, head), make("tbody", {}, rows)),
    ...judged(found),
    make("p", {}, make("button", { type: "button", "aria-keyshortcuts": "u", disabled: !state.pairs.some((pair) => pair.choice), onclick: run(back) },
      "Vote again on the last one ", make("kbd", {}, "u")))));
  $("now").textContent = "That was the last pair.";
  $("main").focus();
}

/** What the judge said, and how far it agrees. */
function judged({ judge, mine, win_rate: rate, winner, no_winner_because: because }) {
  if (!judge) return [make("p", {}, "There was no judge.")];
  const wins = rate ? ` b wins ${percent(rate.mean)} (${percent(rate.low)} to ${percent(rate.high)}).` : "";
  const named = winner ? ` It prefers ${winner}.` : ` No winner is named: ${because}.`;
  const agreed = mine.kappa == null ? `no kappa for ${counted(mine.compared, "pair")}`
    : `kappa ${mine.kappa.toFixed(2)} over ${counted(mine.compared, "pair")}`;
  return [make("p", {}, "Judge: ", make("strong", {}, plain(judge)), plain(`.${wins}${named}`)),
    make("p", { id: "agreement" }, `Agreement with you: ${agreed}.`)];
}

const keys = { 1: () => vote("left"), 2: () => vote("right"), 0: () => vote("tie"), u: back };

document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.repeat || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
  if (state.id === null) return;
  event.preventDefault();
  run(keys[event.key])();
});
$("list-button").addEventListener("click", run(list));

const asked = new URLSearchParams(location.hash.slice(1)).get("comparison");
run(() => (/^\d+$/.test(asked ?? "") ? open(Number(asked)) : list()))();
