//! What `ewe influence` and `ewe score --db` found, and the filters and orders for it.

use crate::{
    browser::{Browser, ESCAPE, Page, looking},
    looks::{fits, readable},
    shell::Dir,
    support::add_influence,
};

/// Chooses a value of a list of the filter, as a click would.
fn choose(browser: &Browser, name: &str, value: &str) {
    browser.js(&format!(
        "const list = document.querySelector('[name={name}]'); list.value = '{value}'; \
         list.dispatchEvent(new Event('input', {{ bubbles: true }}))"
    ));
}

/// Waits until the page has counted so many tasks.
#[track_caller]
fn counts(browser: &Browser, count: &str) {
    browser.wait(&format!(
        "document.getElementById('count').textContent === '{count}'"
    ));
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_task_says_which_held_out_tasks_it_helped_and_hurt() {
    let dir = Dir::with_dataset();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.press("c");
        counts(&browser, "215 tasks");
        browser.at(1);
        // Found while the page is open.
        add_influence(&dir);
        browser.wait("document.querySelector('.effect')");
        let effect = browser.text(".effect");
        let at = |words: &str| effect.find(words).unwrap_or_else(|| panic!("{words}: {effect}"));
        assert!(at("helped: influence +0.250") < at("difficulty: IFD 0.25"));
        assert!(at("Held-out tasks that it helped") < at("+0.750 task 5: "));
        assert!(at("+0.750 task 5: ") < at("Held-out tasks that it hurt"));
        assert!(at("Held-out tasks that it hurt") < at("−0.250 task 6: "));
        for (width, height) in [(1600, 1000), (400, 900)] {
            browser.size(width, height);
            fits(&browser);
            readable(&browser);
        }
        browser.size(1600, 1000);
        // What hurt most comes first, then what is most difficult.
        let first = "document.querySelector('#tasks .facts').textContent";
        choose(&browser, "sort", "influence");
        browser.wait(&format!("{first}.includes('influence −0.125')"));
        choose(&browser, "sort", "ifd");
        browser.wait(&format!("{first}.includes('IFD 0.25')"));
        browser.wait("location.hash.includes('sort=ifd')");
        choose(&browser, "sort", "helped");
        browser.wait(&format!("{first}.includes('influence +0.250')"));
        // A task without figures says nothing of them; those come last. Keys are for the order that
        // was just chosen, and wait for it.
        choose(&browser, "sort", "influence");
        browser.wait(&format!("{first}.includes('influence −0.125')"));
        choose(&browser, "sort", "helped");
        browser.hurry("jj");
        browser.at(215);
        assert_eq!(
            browser.js("return document.querySelector('.effect')"),
            serde_json::Value::Null
        );
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn split_and_condition_are_filters_that_the_address_keeps() {
    let dir = Dir::with_dataset();
    add_influence(&dir);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.press("c");
        counts(&browser, "215 tasks");
        browser.press("f");
        browser.wait("!document.getElementById('more-fields').hidden");
        choose(&browser, "split", "eval");
        counts(&browser, "2 tasks");
        browser.wait("location.hash.includes('split=eval')");
        browser.at(5);
        assert!(browser.text("#task .facts").contains("held out"));
        assert!(browser.text("#tasks .facts").contains("held out"));
        let by = browser.text(".effect");
        assert!(
            by.starts_with("Tasks that helped it") && by.contains("+0.750 task 1: "),
            "{by}"
        );
        choose(&browser, "split", "");
        counts(&browser, "215 tasks");
        // While a condition is typed, the page says what is missing, and the queue stays.
        browser.js("document.getElementById('where').focus()");
        browser.press("influence <");
        browser.wait(
            "document.getElementById('where-wrong').textContent.startsWith('character 12: want a number')",
        );
        counts(&browser, "215 tasks");
        browser.size(400, 900);
        fits(&browser);
        readable(&browser);
        browser.size(1600, 1000);
        browser.press(" 0");
        counts(&browser, "1 task");
        browser.at(2);
        assert_eq!(browser.text("#where-wrong"), "");
        browser.wait("new URLSearchParams(location.hash.slice(1)).get('where') === 'influence < 0'");
        browser.reload();
        counts(&browser, "1 task");
        browser.at(2);
        assert!(browser.text("#filters-button").contains("(1)"));
        // A bulk action is about the condition, too.
        browser.press("b");
        browser.wait("document.querySelector('#bulk[open]')");
        assert_eq!(browser.text("#bulk-count"), "1 task: where influence < 0.");
        browser.press(&ESCAPE.to_string());
        browser.wait("!document.querySelector('dialog[open]')");
        // An address with a wrong condition says so at its field.
        browser.js("history.replaceState(null, '', '/#review=&where=colour+%3D+1')");
        browser.reload();
        browser.wait(
            "document.getElementById('where-wrong').textContent.includes('there is no column `colour`')",
        );
        browser.wait("!document.getElementById('more-fields').hidden");
        browser.press(&format!("{ESCAPE}c"));
        counts(&browser, "0 tasks");
        browser.press("c");
        counts(&browser, "215 tasks");
        assert_eq!(
            browser.js("return document.getElementById('where-wrong').textContent"),
            ""
        );
        browser.close();
    });
}
