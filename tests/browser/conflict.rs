//! Two people at once.

use crate::{
    browser::{self, Browser, CONTROL, ESCAPE, Page},
    support::ewe,
};

const FIRST: i64 = 216;

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn an_edit_of_what_changed_meanwhile_is_refused() {
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
    theirs.press("Name a fish.");
    theirs.wait("document.querySelector('.state').textContent === 'Saved.'");
    // Ours hears of it while typing, keeps what was typed, and shows both.
    ours.press("Name a colour.");
    ours.wait("document.querySelector('.conflict')");
    let both = ours.text(".conflict");
    assert!(
        both.contains("Name a colour.") && both.contains("Name a fish."),
        "{both}"
    );
    assert_eq!(
        ours.js("return document.querySelector('textarea').value"),
        "Name a colour."
    );
    assert_eq!(text(), [["Name a fish.", "Blue."]]);
    // Leaving is not a way around it.
    ours.press(&format!("{ESCAPE}{ESCAPE}"));
    ours.says("Keep yours or take theirs first.");
    ours.picture("conflict");
    ours.press("m");
    ours.wait("document.querySelector('.state').textContent === 'Saved.'");
    assert_eq!(text(), [["Name a colour.", "Blue."]]);

    // Now theirs is the one that is late, and gives in.
    theirs.wait("document.querySelector('.conflict')");
    theirs.press(&format!("{ESCAPE}t"));
    theirs.wait("document.querySelector('textarea').value === 'Name a colour.'");
    // Where one did not type, the other's text appears, and one goes on.
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
fn a_review_of_what_changed_meanwhile_is_refused() {
    let dir = browser::numbered(3);
    let page = Page::start(&dir, &[]);
    let review = |id: i64| dir.sql(&format!("select review from task where id = {id}"))[0][0].clone();
    let browser = Browser::open(&page.url);
    browser.at(FIRST);
    // Before the page hears of it. A person cannot be so quick, two of them can.
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
    // Somebody who decided the same is not in the way.
    ewe(&dir, &["accept", "--db", "d.db", "217"]).success();
    browser.press("a");
    browser.at(218);
    browser.says("Somebody else has accepted task 217 already.");
    browser.close();
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn undo_is_ones_own_first() {
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
    // Another one's is taken back only by somebody who says so.
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
