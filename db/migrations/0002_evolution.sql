-- Rounds that rewrite a task (Evol-Instruct) instead of asking for new ones: which task, and how.

PRAGMA user_version = 2;

-- A task whose round is here was made of parent_task_id, and so were the candidates that this round turned away.
CREATE TABLE evolution (
    round          INTEGER PRIMARY KEY REFERENCES round (round),
    parent_task_id INTEGER NOT NULL REFERENCES task (id),
    -- add_constraints, deepen, concretise, increase_reasoning, complicate_input or in_breadth.
    operator       TEXT NOT NULL
) STRICT;

CREATE INDEX evolution_by_parent ON evolution (parent_task_id);
