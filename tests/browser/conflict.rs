//! Two people at once.

use crate::{
    browser::{self, Browser, CONTROL, ESCAPE, Page},
    support::{block_on, ewe},
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
    block_on(async {
        let ours = Browser::open(&page.url).await;
        let theirs = Browser::open(&page.url).await;
        for browser in [&ours, &theirs] {
            browser.at(FIRST).await;
            browser.press("e").await;
            browser
                .wait("document.activeElement.name === 'instruction'")
                .await;
            browser.press_with(CONTROL, 'a').await;
        }
        theirs.press("Name a fish.").await;
        theirs
            .wait("document.querySelector('.state').textContent === 'Saved.'")
            .await;
        // Ours hears of it while typing, keeps what was typed, and shows both.
        ours.press("Name a colour.").await;
        ours.wait("document.querySelector('.conflict')").await;
        let both = ours.text(".conflict").await;
        assert!(
            both.contains("Name a colour.") && both.contains("Name a fish."),
            "{both}"
        );
        assert_eq!(
            ours.js("return document.querySelector('textarea').value").await,
            "Name a colour."
        );
        assert_eq!(text(), [["Name a fish.", "Blue."]]);
        // Leaving is not a way around it.
        ours.press(&format!("{ESCAPE}{ESCAPE}")).await;
        ours.says("Keep yours or take theirs first.").await;
        ours.picture("conflict").await;
        ours.press("m").await;
        ours.wait("document.querySelector('.state').textContent === 'Saved.'")
            .await;
        assert_eq!(text(), [["Name a colour.", "Blue."]]);

        // Now theirs is the one that is late, and gives in.
        theirs.wait("document.querySelector('.conflict')").await;
        theirs.press(&format!("{ESCAPE}t")).await;
        theirs
            .wait("document.querySelector('textarea').value === 'Name a colour.'")
            .await;
        // Where one did not type, the other's text appears, and one goes on.
        theirs
            .js("const area = document.querySelector('[name=\"output 0\"]'); area.focus(); area.select()")
            .await;
        theirs.press("Green.").await;
        theirs
            .wait("document.querySelector('.state').textContent === 'Saved.'")
            .await;
        assert_eq!(text(), [["Name a colour.", "Green."]]);
        ours.wait("document.querySelector('[name=\"output 0\"]').value === 'Green.'")
            .await;
        ours.press("!").await;
        ours.wait("document.querySelector('.state').textContent === 'Saved.'")
            .await;
        assert_eq!(text(), [["Name a colour.!", "Green."]]);
        ours.close().await;
        theirs.close().await;
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_review_of_what_changed_meanwhile_is_refused() {
    let dir = browser::numbered(3);
    let page = Page::start(&dir, &[]);
    let review = |id: i64| dir.sql(&format!("select review from task where id = {id}"))[0][0].clone();
    block_on(async {
        let browser = Browser::open(&page.url).await;
        browser.at(FIRST).await;
        // Before the page hears of it. A person cannot be so quick, two of them can.
        browser.js("document.hidden || Object.defineProperty(document, 'hidden', { value: true, configurable: true })").await;
        ewe(&dir, &["edit", "--db", "d.db", "216", "--output", "Other."]).success();
        browser.press("a").await;
        browser.wait("document.querySelector('.conflict')").await;
        let both = browser.text(".conflict").await;
        assert!(both.contains("Answer 1.") && both.contains("Other."), "{both}");
        assert_eq!(review(216), "pending");
        browser.press("t").await;
        browser.wait("!document.querySelector('.conflict')").await;
        assert_eq!(review(216), "pending");
        assert!(browser.text("#task").await.contains("Other."));
        ewe(&dir, &["edit", "--db", "d.db", "216", "--output", "Third."]).success();
        browser.press("r").await;
        browser.wait("document.querySelector('.conflict')").await;
        browser.press("m").await;
        browser.at(217).await;
        assert_eq!(review(216), "rejected");
        // Somebody who decided the same is not in the way.
        ewe(&dir, &["accept", "--db", "d.db", "217"]).success();
        browser.press("a").await;
        browser.at(218).await;
        browser.says("Somebody else has accepted task 217 already.").await;
        browser.close().await;
    });
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
    block_on(async {
        let browser = Browser::open(&page.url).await;
        browser.at(FIRST).await;
        browser.press("a").await;
        browser.at(217).await;
        ewe(&dir, &["reject", "--db", "d.db", "218", "--reason", "mine"]).success();
        browser.press("u").await;
        browser.says("Undone: task 216").await;
        assert_eq!(reviews(), ["pending", "pending", "rejected"]);
        // Another one's is taken back only by somebody who says so.
        browser.press("u").await;
        browser.wait("document.querySelector('#confirm[open]')").await;
        let what = browser.text("#confirm-text").await;
        assert!(
            what.contains("reject, task 218, by ann") && what.contains("(mine)"),
            "{what}"
        );
        browser.press(&ESCAPE.to_string()).await;
        browser.wait("!document.querySelector('dialog[open]')").await;
        assert_eq!(reviews(), ["pending", "pending", "rejected"]);
        browser.press("u").await;
        browser.wait("document.querySelector('#confirm[open]')").await;
        browser.press("\u{e007}").await;
        browser.says("Undone: 1 task.").await;
        assert_eq!(reviews(), ["pending"; 3]);
        browser.close().await;
    });
}
