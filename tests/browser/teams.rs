//! Reviewers on the page: their queue, opinions by keys, comments, disagreements.

use crate::{
    browser::{self, ENTER, Page, looking},
    looks::fits,
    shell::Dir,
    support::{ewe, number},
};

const FIRST: i64 = 216;

/// Four pending tasks of ann, who uses the page, and ben.
fn with_team() -> Dir {
    let dir = browser::numbered(5);
    for arguments in [
        &[
            "assign", "--db", "d.db", "216-219", "--to", "ann,ben", "--each", "2",
        ][..],
        &[
            "reject",
            "--db",
            "d.db",
            "216",
            "--as",
            "ben",
            "--reason",
            "wrong <b>",
        ],
        &["accept", "--db", "d.db", "217", "--as", "ben"],
        &["comment", "--db", "d.db", "216", "look twice"],
    ] {
        ewe(&dir, arguments).success();
    }
    dir
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_reviewer_works_through_the_queue_by_keys() {
    let dir = with_team();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.wait("document.querySelector('#team-queues button')");
        assert_eq!(browser.text("#team-queues"), "Assigned to you (4)");
        browser.js("document.querySelector('#team-queues button').click()");
        browser.wait("document.getElementById('count').textContent === '4 tasks'");
        browser.wait("document.querySelector('#team-queues [aria-pressed=true]')");
        let team = browser.text("#team");
        assert!(
            team.contains("ben: has an opinion, which you see once you have given yours"),
            "{team}"
        );
        assert!(team.contains("look twice") && !team.contains("wrong"), "{team}");
        browser.picture("team");
        for width in [1200, 400] {
            browser.size(width, 800);
            fits(&browser);
        }
        browser.size(1200, 800);
        browser.press("a");
        browser.says("Your opinion of task 216 is accepted: its reviewers do not agree. Undo");
        browser.at(FIRST + 1);
        browser.press("a");
        browser.says("Your opinion of task 217 is accepted: all its reviewers accept it. Undo");
        browser.at(FIRST + 2);
        browser.press("t");
        browser.wait("document.querySelector('#unsure[open]')");
        browser.press(&format!("ask a vet{ENTER}"));
        browser.says("Your opinion of task 218 is unsure. Undo");
        browser.at(FIRST + 3);
        browser.press("m");
        browser.wait("document.querySelector('#comment[open]')");
        browser.press("see <i>there</i>");
        browser.js("document.querySelector('#comment [value=yes]').click()");
        browser.says("Commented on task 219. Undo");
        assert!(browser.text("#team").contains("see <i>there</i>"));
        browser.press("u");
        browser.says("Undone: task 219.");
        browser.wait("!document.getElementById('team').textContent.includes('see')");
        browser.press("u");
        browser.says("Undone: task 218.");
        assert_eq!(
            number(&dir, "select count(*) from opinion_now where reviewer = 'ann'"),
            2
        );
        assert_eq!(
            number(
                &dir,
                "select count(*) from task where id = 217 and review = 'accepted'"
            ),
            1
        );
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn disagreements_are_a_queue_with_what_each_said() {
    let dir = with_team();
    ewe(&dir, &["accept", "--db", "d.db", "216", "--as", "ann"]).success();
    let page = Page::start(&dir, &["--as", "lead"]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.wait("document.querySelector('#team-queues button')");
        assert_eq!(browser.text("#team-queues"), "Disagreements (1)");
        browser.js("document.querySelector('#team-queues button').click()");
        browser.wait("document.getElementById('count').textContent === '1 task'");
        let team = browser.text("#team");
        assert!(
            team.contains("ann: accepted") && team.contains("ben: rejected: wrong <b>"),
            "{team}"
        );
        for theme in ["light", "dark"] {
            browser.theme(theme);
            browser.picture(&format!("disagreement-{theme}"));
        }
        // Only reviewers are unsure; whoever is none decides.
        browser.press("t");
        browser.says("This task is not assigned to you: you can accept it or reject it.");
        browser.press("r");
        browser.says("Task 216 rejected. That was the last one. Undo");
        assert_eq!(number(&dir, "select count(*) from disagreement"), 0);
        browser.close();
    });
}
