// How many tasks there are behind each choice of the filter, and how far the review has come.

import { $, grouped } from "./element.js";
import { call } from "./server.js";

/** Tasks by origin and review, by run and by label that pass the rest of the filter; null until they are counted. */
let known = null;
/** Whether those of the present filter are yet to come: the old ones stay on the screen until then. */
let isOld = true;
/** How many decisions were followed. */
let moves = 0;

const choices = (name) => [...$("filter").elements.namedItem(name).options];

/** Counts the tasks of the `query` with a filter. */
export async function facets(query, signal) {
  const before = moves;
  const answer = await call(`/api/facets?${query}`, undefined, signal);
  if (signal.aborted) return;
  // Nobody knows whether the answer has a decision made meanwhile.
  if (moves !== before) return facets(query, signal);
  known = answer;
  isOld = false;
  show();
}

/** Marks the counts as those of a filter that was left. */
export function outdate() {
  isOld = true;
}

/** Forgets the counts. */
export function drop() {
  known = null;
  isOld = false;
  show();
}

/** Follows a decision that was just made. */
export function moved(origin, from, to) {
  moves += 1;
  const reviews = known?.tasks[origin];
  if (isOld || !reviews || [from, to].some((review) => reviews[review].is_about)) return;
  reviews[from].tasks -= 1;
  reviews[to].tasks += 1;
  show();
}

/** Adds up tasks of these origins and reviews; an empty value stands for all. `isAbout`: an estimate. */
function sum(origins, reviews) {
  const some = Object.entries(known.tasks).filter(([origin]) => origins(origin))
    .flatMap(([, of]) => Object.entries(of).filter(([review]) => reviews(review)).map(([, amount]) => amount));
  return { count: some.reduce((all, { tasks }) => all + tasks, 0), isAbout: some.some((amount) => amount.is_about) };
}

const is = (value) => (other) => !value || other === value;
const written = ({ count, isAbout }) => `${isAbout ? "about " : ""}${grouped(count)}`;
/** The amount behind a run or a label. */
const amount = (of) => ({ count: of.tasks, isAbout: of.is_about });
const value = (name) => $("filter").elements.namedItem(name).value;

/** Whether the counts of the present filter are yet to come. */
export const isAwaited = () => isOld;

/** How far the review of the filter's tasks has come, whatever review is chosen. Seeds are only counted if they are chosen:
    who wrote them has decided already. Null until it is known. */
export function progress() {
  if (!known || isOld) return null;
  const origins = value("origin") ? is(value("origin")) : (origin) => origin !== "seed";
  const of = (review) => sum(origins, is(review));
  return { all: of(""), reviewed: sum(origins, (review) => review !== "pending"), accepted: of("accepted"), rejected: of("rejected") };
}

function show() {
  for (const option of choices("review")) label(option, () => sum(is(value("origin")), is(option.value)));
  for (const option of choices("origin")) label(option, () => sum(is(option.value), is(value("review"))));
  const runs = known?.runs ?? {};
  // A run that no task is of has none, unless only a sample was looked at.
  const isSample = Object.values(runs).some((of) => of.is_about);
  for (const option of choices("run_id").slice(1)) label(option, () => (runs[option.value] ? amount(runs[option.value]) : { count: 0, isAbout: isSample }));
  const of = (amounts, value) => (amounts?.[value] ? amount(amounts[value]) : { count: 0, isAbout: isSample });
  for (const option of choices("split").slice(1)) label(option, () => of(known.splits, option.value));
  for (const option of choices("is_classification").slice(1)) label(option, () => of(known.classification, String(option.value === "yes")));
  $("labels").replaceChildren(...(known?.labels ?? []).map(([value, of]) => new Option(`${value} (${written(amount(of))})`, value)));
  const now = progress();
  $("progress").hidden = !now || now.all.count === 0;
  if ($("progress").hidden) return;
  $("progress").querySelector("span").textContent = `${written(now.reviewed)} of ${written(now.all)} reviewed`;
  Object.assign($("progress").querySelector("progress"), { max: now.all.count, value: now.reviewed.count });
}

/** Shows the count beside the text of a choice, which stays what it is. */
function label(option, count) {
  if (known) option.label = `${option.textContent} (${written(count())})`;
  else option.removeAttribute("label");
}
