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

/** Lays out the messages of an instance in their order. `key` names the instance, so that long texts stay unfolded. */
export function laidOut(instance, key) {
  const turns = later(instance);
  if (!turns.length) return null;
  return make("ol", { class: "conversation", "aria-label": "Later turns" }, named(turns).map(({ turn, place, label }) => {
    const { role, content, reasoning_content: reasoning, ...others } = turn;
    return make("li", { class: role === "user" || role === "assistant" ? role : "tool" },
      typeof reasoning === "string" && make("details", {}, make("summary", {}, "Reasoning"), prose(reasoning)),
      titled(label, content ?? "", { key: `${key} turn ${place}` }),
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
