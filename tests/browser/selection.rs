//! Tasks that are selected one by one, saved filters, and who else is here.

use crate::{
    browser::{self, ENTER, ESCAPE, Page, looking},
    looks::fits,
    support::{command, number},
};

const FIRST: i64 = 216;

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn selected_tasks_are_decided_together() {
    let dir = browser::numbered(9);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.wait("document.getElementById('bulk-button').textContent === 'Decide 9 tasks…'");
        // By key, then a range with Shift.
        browser.press("s");
        browser.wait("document.getElementById('selected-count').textContent === '1 task selected'");
        let click = |at: usize, shift: bool| {
            browser.js(&format!(
                "document.querySelectorAll('#tasks input')[{at}].dispatchEvent(new MouseEvent('click', {{ bubbles: true, cancelable: true, shiftKey: {shift} }}))"
            ));
        };
        click(3, true);
        browser.wait("document.getElementById('selected-count').textContent === '4 tasks selected'");
        click(1, false);
        browser.wait("document.getElementById('selected-count').textContent === '3 tasks selected'");
        browser.picture("selection");
        fits(&browser);
        // Keys work while a box has the focus.
        browser.press("b");
        browser.wait("document.querySelector('#bulk[open]')");
        assert_eq!(browser.text("#bulk-count"), "3 tasks, selected one by one.");
        browser.js("document.querySelector('#bulk [value=rejected]').click()");
        browser.wait("document.getElementById('bulk-yes').textContent === 'Reject 3 tasks'");
        browser.js("document.getElementById('bulk-yes').click()");
        browser.says("3 tasks rejected. Undo");
        assert_eq!(
            dir.sql(
                "select group_concat(id) from (select id from task where review = 'rejected' order by id)"
            ),
            [["216,218,219"]]
        );
        browser.wait("document.getElementById('selection').hidden");
        browser.press("u");
        browser.says("Undone: 3 tasks.");
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'rejected'"),
            0
        );
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_filter_is_saved_under_a_name() {
    let dir = browser::numbered(12);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("/");
        browser.press("number 1");
        browser.wait("document.getElementById('count').textContent === '1 task'");
        browser.press(&format!("{ESCAPE}f"));
        browser.js("document.getElementById('save-filter-button').click()");
        browser.wait("document.querySelector('#save-filter[open]')");
        browser.press(&format!("ones <b>{ENTER}"));
        browser.says("Saved: ones <b>.");
        browser.press(&format!("{ESCAPE}{ESCAPE}c"));
        browser.wait("document.getElementById('count').textContent === '12 tasks'");
        browser.reload();
        browser.press("f");
        browser.wait("document.querySelector('#saved-list a')");
        assert_eq!(browser.text("#saved-list a"), "ones <b>");
        browser.js("document.querySelector('#saved-list a').click()");
        browser.wait("document.getElementById('count').textContent === '1 task'");
        browser.js("document.querySelector('#saved-list button').click()");
        browser.wait("document.getElementById('saved').hidden");
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn others_are_named() {
    let dir = browser::numbered(3);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        assert_eq!(
            browser.js("return document.getElementById('others').hidden"),
            true
        );
        let mut ben = command(&dir, &["accept", "--db", "d.db", "217"]);
        ben.env("EWE_USER", "ben <b>");
        assert!(ben.status().unwrap().success());
        browser.wait("document.getElementById('others').textContent.startsWith('Also here: ben <b> accepted task 217')");
        browser.close();
    });
}
