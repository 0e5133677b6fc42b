//! Addresses: links, reloads and the browser's Back open what they name.

use crate::{
    browser::{self, Browser, Page, looking},
    support::ewe,
};

const FIRST: i64 = 216;

/// Waits until so many lines are in the queue.
#[track_caller]
fn lines(browser: &Browser, count: usize) {
    browser.wait(&format!(
        "document.querySelectorAll('#tasks li').length === {count}"
    ));
}

/// Follows a link within the page.
fn follow(browser: &Browser, hash: &str) {
    browser.js(&format!("location.hash = '{hash}'"));
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_link_opens_its_task_wherever_it_is_in_the_queue() {
    let dir = browser::numbered(450);
    let page = Page::start(&dir, &[]);
    // Far beyond the first page of the queue.
    let browser = Browser::open(&format!("{}#task=500", page.url));
    browser.at(500);
    browser.wait("document.querySelector('#tasks [aria-current=true]').innerText.includes('import 500')");
    browser.wait("document.getElementById('count').textContent === '450 tasks'");
    browser.reload();
    browser.at(500);
    // The queue goes on in both directions.
    lines(&browser, 100);
    browser.press(&"k".repeat(60));
    browser.at(440);
    lines(&browser, 200);
    browser.press(&"j".repeat(60));
    browser.at(500);
    browser.js("document.getElementById('earlier').click()");
    lines(&browser, 300);
    browser.js("document.getElementById('earlier').click()");
    browser.wait("document.getElementById('earlier').hidden");
    browser.at(500);
    // Others' changes keep the place.
    browser::import_numbered(&dir, 451, 1);
    browser.wait("document.getElementById('count').textContent === '451 tasks'");
    browser.at(500);
    browser.wait("document.querySelector('#tasks [aria-current=true]').innerText.includes('import 500')");
    // Another order, another filter.
    follow(&browser, "review=&sort=newest&task=101");
    browser.at(101);
    browser.wait("document.getElementById('count').textContent === '666 tasks'");
    assert_eq!(
        browser.js("return location.hash"),
        "#review=&sort=newest&task=101"
    );
    browser.close();
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_link_to_a_task_outside_of_the_filter_says_so() {
    let dir = browser::numbered(8);
    ewe(&dir, &["accept", "--db", "d.db", "218"]).success();
    let page = Page::start(&dir, &[]);
    let browser = Browser::open(&format!("{}#task=218", page.url));
    browser.at(218);
    browser.says("Task 218 does not pass the filter: review pending.");
    // It stands where it would be, and is not counted.
    browser.wait("document.getElementById('count').textContent === '7 tasks'");
    let around = "return [...document.querySelectorAll('#tasks li')].slice(0, 4).map((line) => line.innerText.match(/import (\\d+)/)[1]).join(' ')";
    assert_eq!(browser.js(around), "216 217 218 219");
    browser.press("j");
    browser.at(219);
    follow(&browser, "task=99999");
    browser.says("There is no task 99999.");
    browser.at(FIRST);
    assert_eq!(browser.js("return location.hash"), "#task=216");
    browser.close();
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_link_with_a_token_admits_a_page_that_is_open() {
    let dir = browser::numbered(8);
    let page = Page::start(&dir, &["--token", "open sesame"]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.js("sessionStorage.removeItem('token')");
        follow(&browser, "token=open+sesame&task=218");
        browser.at(218);
        assert_eq!(browser.js("return location.hash"), "#task=218");
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn back_and_forward_go_through_what_was_opened() {
    let dir = browser::numbered(8);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("a");
        browser.at(FIRST + 1);
        browser.js("document.querySelectorAll('#tasks button')[5].click()");
        browser.at(FIRST + 5);
        // What was decided stays in the queue, which is the same.
        browser.js("history.back()");
        browser.at(FIRST + 1);
        lines(&browser, 8);
        browser.js("history.forward()");
        browser.at(FIRST + 5);
        browser.js(
            "const list = document.querySelector('[name=review]'); list.value = 'accepted'; \
             list.dispatchEvent(new Event('input', { bubbles: true }))",
        );
        browser.wait("document.getElementById('count').textContent === '216 tasks'");
        browser.wait("location.hash.startsWith('#review=accepted')");
        browser.js("history.back()");
        browser.at(FIRST + 5);
        browser.wait("document.getElementById('count').textContent === '7 tasks'");
        assert_eq!(
            browser.js("return document.querySelector('[name=review]').value"),
            "pending"
        );
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn the_dashboard_has_an_address_and_says_what_it_is_of() {
    let dir = browser::numbered(8);
    let page = Page::start(&dir, &[]);
    let open = "document.querySelectorAll('#dashboard svg').length >= 5 && !document.getElementById('dashboard').hidden";
    let browser = Browser::open(&format!("{}#dashboard", page.url));
    browser.wait(open);
    browser.wait("document.title === 'Dashboard · d.db · ewe'");
    let of = "document.getElementById('filtered').textContent";
    browser.wait(&format!(
        "{of} === 'Charts and figures are of all tasks. The filter above (review pending) has 8 tasks.'"
    ));
    browser.press("d");
    browser.at(FIRST);
    assert_eq!(browser.js("return location.hash"), "#task=216");
    browser.press("jd");
    browser.wait(open);
    assert_eq!(browser.js("return location.hash"), "#dashboard&task=217");
    // Back closes it instead of leaving the page.
    browser.js("history.back()");
    browser.wait("document.getElementById('dashboard').hidden");
    browser.at(FIRST + 1);
    browser.js("history.forward()");
    browser.wait(open);
    browser.reload();
    browser.wait(open);
    browser.close();
}
