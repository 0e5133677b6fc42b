//! Two users at once.

use crate::{
    browser::{self, BACKSPACE, Browser, CONTROL, ENTER, ESCAPE, Page},
    support::ewe,
};

const FIRST: i64 = 216;

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn an_edit_of_a_task_changed_meanwhile_is_refused() {
    let dir = browser::imported(&[
        ["Name a colour of the sea.", "", "Blue."],
        ["Another.", "", "Yes."],
    ]);
    let page = Page::start(&dir, &[]);
    let text = || {
        dir.sql(&format!(
            "select instruction, output from task join instance on task_id = task.id where task.id = {FIRST}"
        ))
    };
    let ours = Browser::open(&page.url);
    let theirs = Browser::open(&page.url);
    for browser in [&ours, &theirs] {
        browser.at(FIRST);
        browser.press("e");
        browser.wait("document.activeElement.name === 'instruction'");
        browser.press_with(CONTROL, 'a');
    }
    // Our window hears of it after something is typed: a hidden page does not ask for news.
    let hide = |hidden: bool| {
        ours.js(&format!(
            "Object.defineProperty(document, 'hidden', {{ configurable: true, value: {hidden} }})"
        ))
    };
    hide(true);
    theirs.press("Name a fish.");
    theirs.wait("document.querySelector('.state').textContent === 'Saved.'");
    // It keeps the typed text, and shows both versions.
    ours.press("Name a colour.");
    hide(false);
    ours.wait("document.querySelector('.conflict')?.innerText.includes('Name a fish.')");
    // What is typed after the notice shows in it, too.
    ours.wait("document.querySelector('.conflict').innerText.includes('Name a colour.')");
    ours.press("!");
    ours.wait("document.querySelector('.conflict').innerText.includes('Name a colour.!')");
    ours.press(&BACKSPACE.to_string());
    ours.wait("!document.querySelector('.conflict').innerText.includes('Name a colour.!')");
    assert_eq!(
        ours.js("return document.querySelector('textarea').value"),
        "Name a colour."
    );
    assert_eq!(text(), [["Name a fish.", "Blue."]]);
    // Leaving the task does not avoid the conflict.
    ours.press(&format!("{ESCAPE}{ESCAPE}"));
    ours.says("Keep yours or take theirs first.");
    ours.picture("conflict");
    ours.press("m");
    ours.wait("document.querySelector('.state').textContent === 'Saved.'");
    assert_eq!(text(), [["Name a colour.", "Blue."]]);

    // Now the other window is late, and takes our version.
    theirs.wait("document.querySelector('.conflict')");
    theirs.press(&format!("{ESCAPE}t"));
    theirs.wait("document.querySelector('textarea').value === 'Name a colour.'");
    // In a field that was not edited, the other text appears, and editing continues.
    theirs.js("const area = document.querySelector('[name=\"output 0\"]'); area.focus(); area.select()");
    theirs.press("Green.");
    theirs.wait("document.querySelector('.state').textContent === 'Saved.'");
    assert_eq!(text(), [["Name a colour.", "Green."]]);
    ours.wait("document.querySelector('[name=\"output 0\"]').value === 'Green.'");
    ours.press("!");
    ours.wait("document.querySelector('.state').textContent === 'Saved.'");
    assert_eq!(text(), [["Name a colour.!", "Green."]]);
    ours.close();
    theirs.close();
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn the_keys_of_a_conflict_say_what_they_do_in_a_field() {
    let dir = browser::numbered(2);
    let page = Page::start(&dir, &[]);
    let browser = Browser::open(&page.url);
    browser.at(FIRST);
    browser.press("e");
    browser.wait("document.activeElement.name === 'instruction'");
    browser.press("MINE");
    ewe(&dir, &["edit", "--db", "d.db", "216", "--instruction", "Theirs."]).success();
    browser.press("!");
    browser.wait("document.querySelector('.conflict')");
    // In a field, letters are letters, and the buttons name the key that leaves it.
    let buttons = "[...document.querySelectorAll('.conflict button')].map((b) => b.innerText.replace(/\\s+/g, ' ')).join()";
    browser.wait(&format!("{buttons} === 'Keep mine Esc m,Take theirs Esc t'"));
    // Whoever tries to leave in any other way is led out of the fields, to the decision.
    browser.press_with(CONTROL, ENTER);
    browser.says("Keep yours or take theirs first.");
    browser.wait("document.activeElement.className === 'conflict'");
    browser.wait(&format!("{buttons} === 'Keep mine m,Take theirs t'"));
    browser.press("t");
    browser.wait("document.querySelector('textarea').value === 'Theirs.'");
    browser.press(&ESCAPE.to_string());
    browser.wait("!document.querySelector('textarea')");
    assert_eq!(
        dir.sql("select instruction from task where id = 216"),
        [["Theirs."]]
    );
    browser.close();
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_review_of_a_task_changed_meanwhile_is_refused() {
    let dir = browser::numbered(3);
    let page = Page::start(&dir, &[]);
    let review = |id: i64| dir.sql(&format!("select review from task where id = {id}"))[0][0].clone();
    let browser = Browser::open(&page.url);
    browser.at(FIRST);
    // Before the page is notified. One person cannot be that quick; two can.
    browser.js(
        "document.hidden || Object.defineProperty(document, 'hidden', { value: true, configurable: true })",
    );
    ewe(&dir, &["edit", "--db", "d.db", "216", "--output", "Other."]).success();
    browser.press("a");
    browser.wait("document.querySelector('.conflict')");
    let both = browser.text(".conflict");
    assert!(both.contains("Answer 1.") && both.contains("Other."), "{both}");
    assert_eq!(review(216), "pending");
    browser.press("t");
    browser.wait("!document.querySelector('.conflict')");
    assert_eq!(review(216), "pending");
    assert!(browser.text("#task").contains("Other."));
    ewe(&dir, &["edit", "--db", "d.db", "216", "--output", "Third."]).success();
    browser.press("r");
    browser.wait("document.querySelector('.conflict')");
    browser.press("m");
    browser.at(217);
    assert_eq!(review(216), "rejected");
    // A user who made the same decision is not in the way.
    ewe(&dir, &["accept", "--db", "d.db", "217"]).success();
    browser.press("a");
    browser.at(218);
    browser.says("ann has accepted task 217 already.");
    browser.close();
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn undo_takes_this_window_s_actions_first() {
    let dir = browser::numbered(3);
    let page = Page::start(&dir, &[]);
    let reviews = || {
        dir.sql("select review from task where id > 215 order by id")
            .concat()
    };
    let browser = Browser::open(&page.url);
    browser.at(FIRST);
    browser.press("a");
    browser.at(217);
    ewe(&dir, &["reject", "--db", "d.db", "218", "--reason", "mine"]).success();
    browser.press("u");
    browser.says("Undone: task 216");
    assert_eq!(reviews(), ["pending", "pending", "rejected"]);
    // Another user's action is undone only after a confirmation.
    browser.press("u");
    browser.wait("document.querySelector('#confirm[open]')");
    let what = browser.text("#confirm-text");
    assert!(
        what.contains("reject, task 218, by ann") && what.contains("(mine)"),
        "{what}"
    );
    browser.press(&ESCAPE.to_string());
    browser.wait("!document.querySelector('dialog[open]')");
    assert_eq!(reviews(), ["pending", "pending", "rejected"]);
    browser.press("u");
    browser.wait("document.querySelector('#confirm[open]')");
    browser.press("\u{e007}");
    browser.says("Undone: 1 task.");
    assert_eq!(reviews(), ["pending"; 3]);
    browser.close();
}
