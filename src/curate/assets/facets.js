// How many tasks there are behind each choice of the filter, and how far the review has come.

import { $, grouped } from "./element.js";
import { call } from "./server.js";

/** Tasks by origin and review that pass the rest of the filter, each counted up to `most`; null until they are counted. */
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
  if (isOld || !reviews || reviews[from] >= known.most || reviews[to] >= known.most) return;
  reviews[from] -= 1;
  reviews[to] += 1;
  show();
}

/** Adds up tasks of these origins and reviews; an empty value stands for all. `isMore`: at least so many. */
function sum(origins, reviews) {
  const some = Object.entries(known.tasks).filter(([origin]) => origins(origin))
    .flatMap(([, of]) => Object.entries(of).filter(([review]) => reviews(review)).map(([, count]) => count));
  return { count: some.reduce((all, count) => all + count, 0), isMore: some.some((count) => count >= known.most) };
}

const is = (value) => (other) => !value || other === value;
const written = ({ count, isMore }) => `${grouped(count)}${isMore ? "+" : ""}`;
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
