//! Changes by others to the same file.

use std::time::Duration;

use crate::{
    browser::{self, CONTROL, ESCAPE, Page, import_numbered, looking},
    mock::Mock,
    support::{ewe, number, spawn},
    waiting::pause,
};

const FIRST: i64 = 216;

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn imported_tasks_appear_and_the_position_stays() {
    let dir = browser::numbered(5);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.press("jj");
        browser.at(FIRST + 2);
        browser.press("e");
        browser.wait("document.activeElement.name === 'instruction'");
        browser.press_with(CONTROL, 'a');
        browser.press("Half a sen");
        import_numbered(&dir, 6, 4);
        browser.wait("document.getElementById('count').textContent === '9 tasks'");
        browser.wait("document.querySelectorAll('#tasks li').length === 9");
        // The field still has the focus, and typing continues.
        browser.press("tence");
        assert_eq!(
            browser.js("return document.activeElement.value"),
            "Half a sentence"
        );
        browser.press(&ESCAPE.to_string());
        browser.wait("!document.querySelector('textarea')");
        assert_eq!(
            dir.sql("select instruction from task where id = 218"),
            [["Half a sentence"]]
        );

        // Another user decides: the line and the open task show it, the position stays.
        ewe(&dir, &["reject", "--db", "d.db", "218", "217"]).success();
        browser.wait("document.getElementById('count').textContent === '7 tasks'");
        browser.wait("document.querySelector('#task .facts').textContent.includes('rejected')");
        browser.at(FIRST + 2);
        let reviews = browser.js("return [...document.querySelectorAll('#tasks .facts span:first-child')].map((s) => s.textContent).join(' ')");
        assert_eq!(
            reviews,
            "pending rejected rejected pending pending pending pending pending pending"
        );
        // A search in progress is not disturbed either.
        browser.press("/");
        browser.press("thing num");
        import_numbered(&dir, 10, 1);
        browser.wait("document.getElementById('count').textContent === '8 tasks'");
        browser.press("ber 10");
        browser.wait("document.getElementById('count').textContent === '1 task'");
        assert_eq!(
            browser.js("return document.activeElement.value"),
            "thing number 10"
        );
        // Even a change by plain SQL.
        dir.sql("update task set review = 'accepted' where id > 215");
        browser.wait("document.getElementById('count').textContent === '0 tasks'");
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn tasks_appear_while_a_model_writes_them() {
    let dir = browser::numbered(2);
    let mock = Mock::start();
    mock.set_latency(Duration::from_millis(20));
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("e");
        browser.wait("document.activeElement.name === 'instruction'");
        browser.press_with(CONTROL, 'a');
        let generate = [
            "generate",
            "--db",
            "d.db",
            "--target",
            "60",
            "--seed",
            "3",
            "--endpoint",
            &mock.url,
            "--endpoint-model",
            "m",
            "-q",
        ];
        let mut child = spawn(&dir, &generate);
        let mut counts = vec![2];
        let mut typed = String::new();
        // A user edits and reviews while tasks arrive; neither waits long for the other.
        while child.try_wait().unwrap().is_none() {
            browser.press("x");
            typed.push('x');
            let text = browser.text("#count");
            let count: i64 = text.split(' ').next().unwrap().parse().unwrap();
            if counts.last() != Some(&count) {
                counts.push(count);
            }
            pause(Duration::from_millis(100));
        }
        assert!(child.wait().unwrap().success());
        assert!(counts.is_sorted(), "{counts:?}");
        assert_eq!(browser.js("return document.activeElement.value"), typed);
        browser.press(&ESCAPE.to_string());
        browser.wait("!document.querySelector('textarea')");
        assert_eq!(dir.sql("select instruction from task where id = 216"), [[typed]]);
        let pending = number(&dir, "select count(*) from task where review = 'pending'");
        assert_eq!(
            number(&dir, "select count(*) from task where origin = 'machine'"),
            60
        );
        browser.wait(&format!(
            "document.getElementById('count').textContent === '{pending} tasks'"
        ));
        browser.wait(&format!(
            "document.querySelectorAll('#tasks li').length === {pending}"
        ));
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_server_that_stops_loses_nothing_that_was_typed() {
    let dir = browser::numbered(2);
    let page = Page::start(&dir, &[]);
    let address = page
        .url
        .trim_end_matches('/')
        .trim_start_matches("http://")
        .to_string();
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("e");
        browser.wait("document.activeElement.name === 'instruction'");
        browser.press_with(CONTROL, 'a');
        std::process::Command::new("kill")
            .args(["-9", &page.id().to_string()])
            .status()
            .unwrap();
        browser.press("Kept.");
        browser.wait("document.querySelector('.state').textContent.startsWith('Not saved: ewe curate does not answer')");
        let _again = spawn_again(&dir, &address);
        browser.wait("document.querySelector('.state').textContent === 'Saved.'");
        assert_eq!(
            dir.sql("select instruction from task where id = 216"),
            [["Kept."]]
        );
        browser.close();
    });
}

fn spawn_again(dir: &crate::shell::Dir, address: &str) -> Ended {
    Ended(spawn(dir, &["curate", "--db", "d.db", "--bind", address]))
}

/// A process that ends with its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
