//! The sentences, in every case that there is.

use super::*;
use crate::gain::job::tests::job;
use crate::gain::paired::tests::{answers, halved};
use crate::gain::paired::{ScoredAnswer, compare};
use crate::job::influence::ProjectionNoise;
use crate::store::query::evaluation::{CutText, InfluentialRow};

fn said(before: &[ScoredAnswer], after: &[ScoredAnswer]) -> String {
    let held_out: Vec<i64> = (1..=before.len() as i64).collect();
    sentence(&job(), &compare(before, after, &held_out))
}

fn found(comparison: Comparison) -> Found {
    Found {
        held_out: comparison.tasks + comparison.left_out.len(),
        comparison,
        evaluations: [1, 2],
        influence: None,
        without_worst: None,
    }
}

#[test]
fn a_difference_is_better_or_worse() {
    let [before, after] = halved(22);
    let better = said(&before, &after);
    assert!(
        better.starts_with("your data made base better: 2.02 ± 0.1")
            && better.ends_with(" nats a token on 22 held-out tasks"),
        "{better}"
    );
    let worse = said(&after, &before);
    assert!(
        worse.starts_with("your data made base worse: 2.02 ± 0.1"),
        "{worse}"
    );
}

#[test]
fn what_cannot_be_told_is_said_so() {
    let before = answers(&[(20.0, 10.0); 20]);
    let after: Vec<(f64, f64)> = (0..20)
        .map(|at| (if at % 2 == 0 { 17.0 } else { 22.0 }, 10.0))
        .collect();
    let undecided = said(&before, &answers(&after));
    assert!(
        undecided.starts_with(
            "your data made base no different, as far as 20 held-out tasks can show: 0.05 ± 0.1"
        ),
        "{undecided}"
    );
    assert!(
        undecided.contains(" nats a token better; if it is truly so much, about ")
            && undecided.ends_with("0 such tasks would show it"),
        "{undecided}"
    );
    // No difference at all: no number of tasks would show it.
    let same = said(&before, &before);
    assert!(
        same.ends_with("can show: 0.0000 ± 0.0000 nats a token better"),
        "{same}"
    );
    let [one, halved] = halved(1);
    assert_eq!(
        said(&one, &halved),
        "one held-out task cannot show whether your data made base better: 1.500 nats a token better on it"
    );
    assert!(said(&one, &[]).starts_with("nothing can be said of base"));
}

#[test]
fn figures_that_are_no_numbers_say_nothing() {
    let [before, after] = halved(3);
    let mut comparison = compare(&before, &after, &[1, 2, 3]);
    comparison.figures[0].difference = Interval {
        mean: f64::NAN,
        low: f64::NAN,
        high: f64::NAN,
    };
    assert!(sentence(&job(), &comparison).ends_with("its figures are no numbers"));
    assert!(left_out_sentence(&comparison).ends_with("the figures are no numbers"));
}

#[test]
fn what_restricts_the_sentence_is_said() {
    let [before, mut after] = halved(5);
    after.remove(1);
    after[3].found_in = Some(77);
    let few = found(compare(&before, &after, &[1, 2, 3, 4, 5]));
    let text = lines(&job(), &few).join("\n");
    for words in [
        "base on 4 held-out tasks of my.db, before and after training:\n  NLL        3.225 → 1.613, a difference of -1.613 (",
        "\n  ROUGE-L    10.0 → 15.0, a difference of +5.0 (+5.0 to +5.0) points; higher is better\n",
        "\nleft out: 1 of 5 held-out tasks, not answered before or not after: 2\n",
        "\ncontamination: 1 held-out task was found in the rows to train on: 5; without it: ",
        "\nwarning: 4 held-out tasks are few",
        "\nhint: `ewe split --db my.db --eval 50`",
        "every weight was trained",
        "\nnext:\n  ewe ",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let [before, after] = halved(12);
    let enough = found(compare(&before, &after, &(1..=12).collect::<Vec<_>>()));
    let text = lines(&job(), &enough).join("\n");
    assert!(!text.contains("warning") && !text.contains("left out"), "{text}");
    assert!(
        text.contains("contamination: no held-out task was found"),
        "{text}"
    );
}

#[test]
fn rows_that_made_it_worse_are_named_with_what_they_hurt() {
    let cut = |text: &str| CutText {
        text: text.into(),
        length: text.len() as i64,
    };
    let row = |task_id, value| InfluentialRow {
        task_id,
        value,
        instruction: cut("Write a\npoem"),
        input: cut(""),
        output: cut("no"),
        speaks_to: Some((4, cut("Sing"))),
    };
    let [before, after] = halved(12);
    let comparison = compare(&before, &after, &(1..=12).collect::<Vec<_>>());
    let mut found = found(comparison.clone());
    found.influence = Some(FoundInfluence {
        run: 9,
        worst: vec![row(31, -0.25), row(30, -0.125)],
        noise: Some(ProjectionNoise {
            dimensions: 4096,
            deviation: 0.05,
            bound: 0.2,
        }),
    });
    found.without_worst = Some(FoundWithout::Compared {
        out: "tuned-without-worst".into(),
        tasks: vec![30, 31],
        evaluation: 3,
        comparison,
    });
    let text = lines(&job(), &found).join("\n");
    for words in [
        "\nthese 2 rows made it worse:\n  -0.2500  task 31  Write a poem; hurts task 4: Sing\n  -0.1250  task 30",
        "\nof these 2 rows, 1 lies within ±0.2000, which this projection cannot tell from zero: `ewe influence` with more \
         --dimensions can, and --check-worst says",
        "\nleaving them out: 1.77",
        " nats a token better on 12 held-out tasks\n  (they were chosen by these held-out tasks",
        "\n  ewe show --db my.db 31\n",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    found.influence = Some(FoundInfluence {
        run: 9,
        worst: Vec::new(),
        noise: None,
    });
    found.without_worst = Some(FoundWithout::NoRows);
    let text = lines(&job(), &found).join("\n");
    assert!(
        text.contains("\nno row made it worse\n") && !text.contains("ewe show"),
        "{text}"
    );
}

#[test]
fn rows_that_are_checked_need_no_check() {
    let row = |value| InfluentialRow {
        task_id: 1,
        value,
        instruction: CutText {
            text: "Sing".into(),
            length: 4,
        },
        input: CutText {
            text: String::new(),
            length: 0,
        },
        output: CutText {
            text: "no".into(),
            length: 2,
        },
        speaks_to: None,
    };
    let influence = |value| FoundInfluence {
        run: 9,
        worst: vec![row(value)],
        noise: Some(ProjectionNoise {
            dimensions: 4096,
            deviation: 0.01,
            bound: 0.03,
        }),
    };
    let last = |value, are_checked| rows(&influence(value), are_checked).pop().unwrap();
    assert_eq!(
        last(-0.01, true),
        "this row lies within ±0.0300, which this projection cannot tell from zero: `ewe influence` with more --dimensions can"
    );
    assert!(last(-0.01, false).contains("--check-worst"));
    assert!(last(-0.04, false).starts_with("  -0.0400  task 1"));
}

#[test]
fn many_ids_are_counted() {
    let all: Vec<i64> = (1..=13).collect();
    assert_eq!(ids(&all), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more");
    assert_eq!(ids(&all[..2]), "1, 2");
}
