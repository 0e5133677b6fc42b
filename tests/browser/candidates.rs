//! Rejected candidates on the page: from the chart to the list, a rescue, and its undo.

use crate::{
    browser::{ESCAPE, Page, looking},
    looks::{fits, readable},
    support::{filled, number},
};

const RESCUED: &str =
    "select count(*) from task where instruction = 'Name an animal, please.' and review = 'pending'";

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_candidate_is_found_by_the_chart_and_rescued() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(number(&dir, "select min(id) from task where origin = 'machine'"));
        browser.press("d");
        browser.wait("document.querySelectorAll('#chart-reasons svg a').length === 2");
        // A bar and a row of the table lead to the same list.
        let links = "return [...document.querySelectorAll('#chart-reasons a')].map((a) => a.getAttribute('href')).sort()";
        assert_eq!(
            browser.js(links),
            serde_json::json!([
                "#candidates&rule=empty_output",
                "#candidates&rule=empty_output",
                "#candidates&rule=near_duplicate",
                "#candidates&rule=near_duplicate"
            ])
        );
        browser.js("document.querySelector('#chart-reasons svg a[href$=near_duplicate]').dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }))");
        browser.wait("document.title.startsWith('Rejected candidates')");
        browser.wait("document.getElementById('candidates-count').textContent === '1 candidate'");
        let shown = browser.text("#candidate");
        for part in [
            "near_duplicate: The instruction is too similar",
            "Name an animal, please.",
            "ROUGE-L 0.75",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        // The nearest task is a link, with nothing marked but words of both.
        let marked = browser.js("return [...document.querySelectorAll('#candidate .near mark')].map((mark) => mark.textContent).join(' ')");
        for word in marked.as_str().unwrap().split_whitespace() {
            assert!(
                ["name", "an", "animal", "please"].contains(&word.to_lowercase().as_str()),
                "{word}"
            );
        }
        assert_eq!(browser.text("#candidate .near a"), "task 1");
        browser.press("s");
        browser.says("is pending. Undo");
        browser.wait("document.querySelector('#candidate .actions a')");
        assert_eq!(number(&dir, RESCUED), 1);
        browser.press("u");
        browser.says("Undone");
        browser.wait("document.querySelector('#candidate .actions button')");
        assert_eq!(number(&dir, RESCUED), 0);
        browser.press("s");
        browser.wait("document.querySelector('#candidate .actions a')");
        assert_eq!(number(&dir, RESCUED), 1);
        // The address opens the same candidate; Back goes to the dashboard.
        browser.wait("location.hash.includes('candidate=7')");
        browser.js("history.back()");
        browser.wait("!document.getElementById('dashboard').hidden");
        browser.js("history.forward()");
        browser.wait("!document.getElementById('candidates').hidden");
        browser.reload();
        browser.wait("document.querySelector('#candidate .actions a')");
        // Its link opens the task in the queue.
        browser.js("document.querySelector('#candidate .actions a').click()");
        browser.at(number(&dir, "select max(id) from task"));
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn candidates_fit_and_are_readable() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.press("w");
        browser.wait("document.querySelectorAll('#rejected li').length === 2");
        for (width, height) in [(1600, 1000), (1000, 800), (400, 900)] {
            browser.size(width, height);
            for theme in ["light", "dark"] {
                browser.theme(theme);
                browser.picture(&format!("candidates-{width}-{theme}"));
                fits(&browser);
                readable(&browser);
            }
        }
        browser.press("j");
        browser.wait("document.getElementById('candidate').textContent.includes('empty_output')");
        browser.press(&ESCAPE.to_string());
        browser.wait("document.getElementById('candidates').hidden");
        browser.close();
    });
}
