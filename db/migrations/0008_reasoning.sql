-- What a model thinks before it answers, and answers that are none: kept with the request, apart from the response.

PRAGMA user_version = 8;

-- Reasoning that the server told apart from the text; what it left in the text is in `response`, as it came.
ALTER TABLE request ADD COLUMN reasoning TEXT NOT NULL DEFAULT '';
-- Why the response is no answer: the model refused, or its server held the answer back.
ALTER TABLE request ADD COLUMN refusal TEXT;
