// The messages of a conversation after its first answer.

import { make, prose } from "./element.js";
import { titled } from "./reading.js";

/** Returns the messages of an instance after its output. */
export function later(instance) {
  try {
    const turns = JSON.parse(instance.turns ?? "[]");
    return Array.isArray(turns) ? turns : [];
  } catch {
    return [];
  }
}

/** Names each message by its speaker and the number of the exchange that it belongs to: the first answer ends the first. */
function named(turns) {
  let exchange = 1;
  return turns.map((turn, place) => {
    if (turn.role === "user") exchange += 1;
    const speaker = { user: "User", assistant: "Assistant" }[turn.role] ?? `Tool (${turn.role})`;
    return { turn, place, label: `${speaker} ${exchange}` };
  });
}

const REASONING = ["reasoning_content", "thinking", "reasoning"];

/** Parts a message into its reasoning, in a field or between `<think>` and `</think>` at its beginning, its text and its other fields. */
export function parted({ role, content, ...fields }) {
  const isReasoning = ([name, value]) => REASONING.includes(name) && typeof value === "string";
  const said = Object.entries(fields).filter(isReasoning).map(([, value]) => value);
  const others = Object.fromEntries(Object.entries(fields).filter((field) => !isReasoning(field)));
  const marked = role === "assistant" ? /^\s*<think>([\s\S]*?)<\/think>\s*([\s\S]+)$/i.exec(content ?? "") : null;
  return { role, others, reasoning: [...said, marked?.[1].trim()].filter(Boolean).join("\n\n"), content: marked ? marked[2] : content ?? "" };
}

/** Shows reasoning, folded. */
export const thought = (reasoning) => reasoning && make("details", { class: "reasoning" }, make("summary", {}, "Reasoning"), prose(reasoning));

/** Returns the first answer of an instance as a message, with the other fields that its row has for it. */
export function firstAnswer(instance) {
  let fields = {};
  try {
    const extra = JSON.parse(instance.extra ?? "{}");
    const list = extra.messages ?? extra.conversations;
    fields = Array.isArray(list) ? list.at(-1) : {};
  } catch {
    // The column is not JSON, and is shown as it is.
  }
  return { ...fields, role: "assistant", content: instance.output };
}

/** Lays out the messages of an instance in their order. `key` names the instance, so that long texts stay unfolded;
    `remove` removes the turn of a question. */
export function laidOut(instance, key, remove) {
  const turns = later(instance);
  if (!turns.length) return null;
  return make("ol", { class: "conversation", "aria-label": "Later turns" }, named(turns).map(({ turn, place, label }) => {
    const { role, content, reasoning, others } = parted(turn);
    return make("li", { class: role === "user" || role === "assistant" ? role : "tool" },
      thought(reasoning),
      titled(label, content, { key: `${key} turn ${place}` }),
      role === "user" && make("button", { class: "remove", "aria-label": `Remove turn: ${label}`, onclick: () => remove(instance.ordinal, place) }, "Remove this turn"),
      Object.entries(others).map(([name, value]) => [make("h3", {}, name), prose(JSON.stringify(value, null, 1), "raw")]).flat());
  }));
}

/** Returns the texts of the messages by the names of their fields. */
export const texts = (instance) =>
  later(instance).map((turn, place) => [`turn ${instance.ordinal} ${place}`, turn.content ?? ""]);

/** Makes a field for the text of each message. */
export const fields = (instance, field) =>
  named(later(instance)).map(({ turn, place, label }) => field(label, `turn ${instance.ordinal} ${place}`, turn.content ?? ""));

/** Gives a message another text. */
export function say(instance, place, content) {
  const turns = later(instance);
  if (turns[place]) turns[place].content = content;
  instance.turns = JSON.stringify(turns);
}

/** Returns the messages of a column of the history as one text. */
export const asText = (column) => later({ turns: column || "[]" }).map((turn) => `${turn.role}: ${turn.content ?? ""}`).join("\n\n");
