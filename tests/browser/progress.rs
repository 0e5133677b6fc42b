//! How far the review has come, its end, and undo by mouse.

use serde_json::json;

use crate::{
    browser::{self, ESCAPE, Page, looking},
    looks::{fits, readable},
    support::{ewe, number},
};

const FIRST: i64 = 216;

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn progress_and_choices_are_counted() {
    let dir = browser::numbered(8);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.wait("document.title === 'Task 216 · d.db · ewe'");
        assert_eq!(browser.text("h1"), "ewe d.db");
        // Nobody reviewed the seeds here.
        let progress = |text: &str| {
            browser.wait(&format!(
                "document.querySelector('#progress span').textContent === '{text}'"
            ));
        };
        let labels = |name: &str| {
            browser.js(&format!(
                "return [...document.querySelector('[name={name}]').options].map((option) => option.label)"
            ))
        };
        progress("0 of 8 reviewed");
        assert_eq!(
            labels("review"),
            json!([
                "pending (8)",
                "accepted (215)",
                "rejected (0)",
                "any review (223)"
            ])
        );
        assert_eq!(
            labels("origin"),
            json!(["any origin (8)", "machine (0)", "import (8)", "seed (0)"])
        );
        browser.press("ar");
        progress("2 of 8 reviewed");
        assert_eq!(
            labels("review"),
            json!([
                "pending (6)",
                "accepted (216)",
                "rejected (1)",
                "any review (223)"
            ])
        );
        // By others, too, and by what the rest of the filter has.
        ewe(&dir, &["accept", "--db", "d.db", "223"]).success();
        progress("3 of 8 reviewed");
        browser.press("/");
        browser.wait("document.activeElement.id === 'text'");
        browser.press("number 8");
        progress("1 of 1 reviewed");
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn the_end_offers_export_and_training() {
    let dir = browser::numbered(8);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("aararar");
        browser.at(FIRST + 7);
        assert_eq!(browser.js("return document.getElementById('end')"), json!(null));
        browser.press("a");
        browser.says("Task 223 accepted. That was the last one.");
        browser.wait(
            "document.getElementById('end')?.innerText.includes('Well done: all 8 tasks are reviewed.')",
        );
        let end = browser.text("#end");
        assert!(
            end.contains("5 accepted, 3 rejected.")
                && end.contains("ewe train --db d.db --review accepted --model DIR --out tuned"),
            "{end}"
        );
        for (width, height) in [(1600, 1000), (1000, 800), (400, 900)] {
            browser.size(width, height);
            for theme in ["light", "dark"] {
                browser.theme(theme);
                browser.picture(&format!("end-{width}-{theme}"));
                fits(&browser);
                readable(&browser);
            }
        }
        // It is taken back with the decision.
        browser.press("u");
        browser.wait("document.getElementById('end') === null");
        browser.press("a");
        browser.wait("document.getElementById('end')");
        // A queue without any task says the same.
        browser.press("g");
        browser.wait("document.querySelectorAll('#tasks li').length === 0");
        browser.wait("document.getElementById('end')?.innerText.includes('all 8 tasks are reviewed')");
        browser.js("[...document.querySelectorAll('#end button')].find((b) => b.textContent.startsWith('Export')).click()");
        browser.wait("document.querySelector('#export[open]')");
        browser.press(&ESCAPE.to_string());
        browser.wait("!document.querySelector('dialog[open]')");
        browser.js("[...document.querySelectorAll('#end button')].find((b) => b.textContent.startsWith('Show')).click()");
        browser.wait("document.getElementById('count').textContent === '220 tasks'");
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn an_empty_queue_says_how_to_clear_the_filter() {
    let dir = browser::numbered(8);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("/");
        browser.wait("document.activeElement.id === 'text'");
        browser.press("zebra");
        let end = "document.getElementById('end')";
        browser.wait(&format!(
            "{end}?.innerText.startsWith('Nothing passes the filter: “zebra”, review pending.')"
        ));
        // In the search field, c is a letter: the key that leaves it comes first.
        let button = "document.querySelector('#end button').innerText.replace(/\\s+/g, ' ')";
        browser.wait(&format!("{button} === 'Clear the filter Esc c'"));
        browser.press(&ESCAPE.to_string());
        browser.wait(&format!("{button} === 'Clear the filter c'"));
        // First to what is pending; where that is shown already, to everything.
        browser.press("c");
        browser.wait("document.getElementById('count').textContent === '8 tasks'");
        browser.press("c");
        browser.wait("document.getElementById('count').textContent === '223 tasks'");
        browser.press("/");
        browser.wait("document.activeElement.id === 'text'");
        browser.press("zebra");
        browser.wait(end);
        browser.js("document.querySelector('#end button').click()");
        browser.wait("document.getElementById('count').textContent === '8 tasks'");
        // What is chosen under More filters stays in sight, with a button that takes it away.
        browser.js(
            "const least = document.querySelector('[name=min_length]'); least.value = '1'; \
             least.dispatchEvent(new Event('input', { bubbles: true }))",
        );
        let chips = "[...document.querySelectorAll('#chips button')].map((of) => of.innerText.trim()).join()";
        browser.wait(&format!("{chips} === 'characters at least 1 ×'"));
        browser.wait("document.getElementById('clear-button').checkVisibility()");
        browser.js("document.querySelector('#chips button').click()");
        browser.wait(&format!(
            "{chips} === '' && !document.getElementById('clear-button').checkVisibility()"
        ));
        browser.wait("document.getElementById('count').textContent === '8 tasks'");
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_message_offers_to_undo() {
    let dir = browser::numbered(8);
    let page = Page::start(&dir, &[]);
    let accepted = || {
        number(
            &dir,
            "select count(*) from task where review = 'accepted' and origin = 'import'",
        )
    };
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("a");
        browser.at(FIRST + 1);
        browser.says("Task 216 accepted. Undo");
        browser.js("document.querySelector('#status button').click()");
        browser.at(FIRST);
        browser.says("Undone: task 216. Redo");
        assert_eq!(accepted(), 0);
        browser.js("document.querySelector('#status button').click()");
        browser.says("Redone: task 216. Undo");
        assert_eq!(accepted(), 1);
        // After the message is gone, the tools have it.
        browser.js("document.getElementById('undo-button').click()");
        browser.says("Undone: task 216. Redo");
        assert_eq!(accepted(), 0);
        // On a narrow screen the button is within reach of a finger: visible, and on top.
        browser.size(400, 900);
        browser.press("a");
        browser.says("Task 216 accepted. Undo");
        browser.wait(
            "(() => { const b = document.querySelector('#status button').getBoundingClientRect(); \
             return document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2)?.closest('#status button') && b.height >= 24; })()",
        );
        // It covers none of those that decide.
        let covered = "[...document.querySelectorAll('#task > .actions button')].filter((of) => { \
             const b = of.getBoundingClientRect(); \
             return !of.contains(document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2)); }) \
             .map((of) => of.textContent)";
        assert_eq!(browser.js(&format!("return {covered}")), json!([]));
        browser.close();
    });
}
