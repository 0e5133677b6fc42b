//! The course of a conversation in a round: what was said so far, and the verdicts on it.

use crate::filter::rules::RuleSet;
use crate::filter::turns::{Said, check_answer, check_question};
use crate::generate::recipe::Turns;
use crate::generate::recipe::turns::TurnStage as Stage;
use crate::prompt::turns::Talk;
use crate::store::asked::evolution::SingleTurn;
use crate::task::{Candidate, Instance, InstanceCandidate, Reason, Verdict};
use crate::text::counted;

/// A message with the verdict on it.
pub(super) struct Message {
    /// The response that it was parsed from: `request.id`.
    pub(super) request_id: i64,
    pub(super) text: String,
    pub(super) verdict: Verdict,
}

/// A conversation under way.
pub(super) struct Course {
    parent: SingleTurn,
    /// What the user said; one more than the answers while an answer is wanted.
    questions: Vec<String>,
    answers: Vec<String>,
    /// What prompts show as examples.
    examples: Vec<String>,
    /// The turns behind the first one, with their verdicts.
    turns: Vec<InstanceCandidate>,
}

impl Course {
    /// Begins with the only turn of a task. Prompts show these texts beside it.
    pub(super) fn of(parent: SingleTurn, examples: Vec<String>) -> Course {
        let first = &parent.opening.first;
        let question = match first.input.trim() {
            "" => parent.instruction.clone(),
            _ => format!("{}\n\n{}", parent.instruction, first.input),
        };
        Course {
            questions: vec![question],
            answers: vec![first.output.clone()],
            examples,
            turns: Vec::new(),
            parent,
        }
    }

    /// The conversation as prompts have it.
    pub(super) fn talk(&self) -> Talk {
        let mut messages = Vec::new();
        for (place, question) in self.questions.iter().enumerate() {
            messages.push(question.clone());
            messages.extend(self.answers.get(place).cloned());
        }
        Talk {
            system: self.parent.opening.system.clone().unwrap_or_default(),
            messages,
        }
    }

    /// Checks the next message: whether it is its speaker's and new, then by the rules.
    pub(super) fn check(&self, stage: Stage, text: &str, constants: &Turns, rules: &RuleSet) -> Verdict {
        let said = Said {
            questions: &self.questions,
            answers: &self.answers,
            examples: &self.examples,
        };
        match stage {
            Stage::FollowUp => check_question(text, said, constants.question_similarity)
                .or_else(|| rules.check_follow_up(text)),
            Stage::Reply => check_answer(text, said, constants.answer_similarity).or_else(|| {
                rules.check_later(&Instance {
                    input: self.questions.last().cloned().unwrap_or_default(),
                    output: text.to_owned(),
                })
            }),
        }
    }

    /// Adds a message of the user. Returns whether it is to be answered.
    pub(super) fn ask(&mut self, message: Message) -> bool {
        let is_accepted = message.verdict.is_accepted();
        if is_accepted {
            self.questions.push(message.text.clone());
        }
        self.turns.push(InstanceCandidate {
            request_id: message.request_id,
            instance: Instance {
                input: message.text,
                output: String::new(),
            },
            verdict: message.verdict,
        });
        is_accepted
    }

    /// Adds the answer to the last message. Returns whether the conversation may go on.
    pub(super) fn answer(&mut self, message: Message) -> bool {
        let is_accepted = message.verdict.is_accepted();
        if is_accepted {
            self.answers.push(message.text.clone());
        }
        if let Some(turn) = self.turns.last_mut() {
            turn.request_id = message.request_id;
            turn.instance.output = message.text;
            turn.verdict = message.verdict;
        }
        is_accepted
    }

    /// Ends with a failed request: for an answer, which its turn lacks, or for a further message,
    /// which is no turn then. Returns that the conversation does not go on.
    pub(super) fn fail(&mut self, error: String) -> bool {
        if self.questions.len() > self.answers.len()
            && let Some(turn) = self.turns.last_mut()
        {
            turn.verdict = Verdict::rejected(Reason::RequestFailed, error);
        }
        false
    }

    /// What came of it: accepted if it has at least so many turns. `None` without any message.
    pub(super) fn candidate(self, fewest: usize) -> Option<Candidate> {
        let request_id = self.turns.first()?.request_id;
        let turns = self.answers.len();
        let verdict = match turns >= fewest {
            true => Verdict::accepted(),
            false => Verdict::rejected(
                Reason::TooFewTurns,
                format!("{} of {fewest}", counted(turns as i64, "turn")),
            ),
        };
        Some(Candidate {
            is_classification: self.parent.is_classification,
            instances: self.turns,
            opening: Some(self.parent.opening),
            ..Candidate::new(request_id, self.parent.instruction, verdict)
        })
    }
}
