//! Every key, and fifty rows reviewed without a mouse.

use serde_json::json;

use crate::{
    browser::{self, CONTROL, DOWN, ENTER, ESCAPE, Page, TAB, UP, looking},
    shell::Dir,
    support::{ewe, filled, number},
    waiting::until,
};

/// The first imported task.
const FIRST: i64 = 216;

fn review(dir: &Dir, id: i64) -> String {
    dir.sql(&format!("select review from task where id = {id}"))[0][0].clone()
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn fifty_rows_are_reviewed_by_keys() {
    let dir = browser::numbered(60);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        // As fast as a browser takes them: every key applies to the task after the one before.
        browser.press(&"aarar".repeat(10));
        browser.at(FIRST + 50);
        let reviews =
            dir.sql("select task_id, action from revision where who = 'ann' and group_id = id and action <> 'import' order by id");
        let expected: Vec<[String; 2]> = (FIRST..)
            .zip("aarar".repeat(10).chars())
            .map(|(id, key)| {
                [
                    id.to_string(),
                    if key == 'a' { "accept" } else { "reject" }.into(),
                ]
            })
            .collect();
        assert_eq!(reviews, expected);
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'pending'"),
            10
        );
        // The count follows, and the remaining ten come one after the other.
        browser.wait("document.getElementById('count').textContent === '10 tasks'");
        browser.press("aaaaaaaaa");
        browser.at(FIRST + 59);
        browser.press("a");
        browser.says("That was the last one.");
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'pending'"),
            0
        );
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn every_key_of_the_queue_works() {
    let dir = browser::numbered(8);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("j");
        browser.at(FIRST + 1);
        browser.press(&format!("{DOWN}{DOWN}{UP}"));
        browser.at(FIRST + 2);
        browser.press("kk");
        browser.at(FIRST);
        browser.press("k");
        browser.says("That is the first one.");

        browser.press("a");
        browser.at(FIRST + 1);
        assert_eq!(review(&dir, FIRST), "accepted");
        browser.press("r");
        browser.at(FIRST + 2);
        assert_eq!(review(&dir, FIRST + 1), "rejected");

        // With a reason: the field has the focus, Enter submits it.
        browser.press("R");
        browser.wait("document.querySelector('#reason[open]')");
        browser.press(&format!("too easy{ENTER}"));
        browser.at(FIRST + 3);
        assert_eq!(
            dir.sql("select action, note from revision order by id desc limit 1"),
            [["reject", "too easy"]]
        );
        // Esc cancels.
        browser.press("R");
        browser.wait("document.querySelector('#reason[open]')");
        browser.press(&ESCAPE.to_string());
        browser.wait("!document.querySelector('dialog[open]')");
        assert_eq!(review(&dir, FIRST + 3), "pending");

        // Undo goes back to the task; redo repeats it.
        browser.press("u");
        browser.at(FIRST + 2);
        assert_eq!(review(&dir, FIRST + 2), "pending");
        browser.press("uu");
        browser.at(FIRST);
        assert_eq!([0, 1, 2].map(|n| review(&dir, FIRST + n)), ["pending"; 3]);
        browser.press("UUU");
        browser.at(FIRST + 2);
        assert_eq!(
            [0, 1, 2].map(|n| review(&dir, FIRST + n)),
            ["accepted", "rejected", "rejected"]
        );
        // After a reload, actions can still be undone.
        browser.reload();
        browser.press("u");
        browser.says(&format!("Undone: task {}", FIRST + 2));

        // A reloaded queue has no decided tasks.
        browser.press("g");
        browser.wait("document.querySelectorAll('#tasks li').length === 6");

        // Search as you type; Esc returns to the task, where letters are commands again.
        browser.press("/");
        browser.wait("document.activeElement.id === 'text'");
        browser.press("number 7");
        browser.at(FIRST + 6);
        browser.wait("document.getElementById('count').textContent === '1 task'");
        browser.press(&format!("{ESCAPE}a"));
        browser.says("That was the last one.");
        assert_eq!(review(&dir, FIRST + 6), "accepted");

        // Clear all filters: pending tasks, and again, all 223.
        browser.press("c");
        browser.wait("document.getElementById('text').value === '' && document.getElementById('count').textContent === '5 tasks'");
        browser.press("c");
        browser.wait("document.getElementById('count').textContent === '223 tasks'");

        browser.press("f");
        browser.wait("document.activeElement.closest('#more-fields')");
        browser.press(&ESCAPE.to_string());
        browser.wait("document.getElementById('more-fields').hidden");

        browser.press("?");
        browser.wait("document.querySelector('#help[open]')");
        // The help lists exactly the keys of the page.
        let named = browser
            .js("return [...document.querySelectorAll('#help kbd')].map((key) => key.textContent).sort().join(' ')")
            ;
        assert_eq!(
            named,
            "/ 1 9 ? Ctrl Enter Esc Esc Esc Esc R Shift Shift U a b c d e f g j k l m m n p r s s t t u v w x"
        );
        browser.press(&ESCAPE.to_string());

        browser.press("d");
        browser.wait("document.querySelectorAll('#dashboard svg').length >= 5");
        // A task that is not shown cannot be decided.
        browser.press("ar");
        browser.press("d");
        browser.wait("document.getElementById('dashboard').hidden");
        assert_eq!(
            number(&dir, "select count(*) from revision where task_id < 216"),
            0
        );
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn the_provenance_of_a_task_is_shown() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        let id = number(&dir, "select min(id) from task where origin = 'machine'");
        browser.at(id);
        browser.press("p");
        browser.wait("document.getElementById('trail').innerText.includes('Come up with tasks:')");
        let trail = browser.text("#trail");
        assert!(
            trail.contains("1. Name an animal.\n2. List late invoices."),
            "{trail}"
        );
        // The neighbors are beside it, with words marked that this task has, too.
        let nearest = format!(
            "select instruction from neighbor join task on task.id = neighbor_id where task_id = {id} and rank = 1"
        );
        let neighbour = dir.sql(&nearest)[0][0].clone();
        let beside = browser.text("#beside");
        assert!(beside.contains(&neighbour), "{neighbour} in {beside}");
        let script = "return [...document.querySelectorAll('#beside .near:first-of-type mark')].map((m) => m.textContent).join(' ')";
        let words = |text: &str| -> Vec<String> {
            let words = text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty());
            words.map(str::to_lowercase).collect()
        };
        let marked = words(browser.js(script).as_str().unwrap());
        let ours = words("Name an animal. <script>alert(1)</script>");
        let theirs = words(&neighbour);
        assert!(theirs.iter().any(|word| !ours.contains(word)), "{neighbour}");
        assert!(
            marked.iter().all(|word| ours.contains(word)),
            "{marked:?} {ours:?}"
        );
        // What is hardly similar is folded away.
        assert_eq!(browser.text("#beside .others summary"), "1 more below 0.40");
        // The judge's reason.
        assert!(
            browser
                .text("#task")
                .contains("2 of 5 by critic: A <b>ewe</b> is one animal")
        );
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_bulk_action_can_be_undone() {
    let dir = browser::numbered(119);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("/");
        browser.press("number 11");
        browser.wait("document.getElementById('count').textContent === '11 tasks'");
        browser.press(&format!("{ESCAPE}b"));
        browser.wait("document.querySelector('#bulk[open]')");
        assert_eq!(
            browser.text("#bulk-count"),
            "11 tasks: “number 11”, review pending."
        );
        // The number changes meanwhile: nothing happens until the user has seen it.
        browser::import(&dir, &[["Explain thing number 1100.", "", "x"]]);
        browser.press(&format!(" {TAB}far off{ENTER}"));
        browser.wait("document.getElementById('bulk-count').textContent.startsWith('12 tasks')");
        assert_eq!(
            number(&dir, "select count(*) from revision where action <> 'import'"),
            0
        );
        browser.press(&format!(" {TAB}far off{ENTER}"));
        browser.says("12 tasks accepted. Undo");
        assert_eq!(
            dir.sql(
                "select count(*), count(distinct group_id), min(note) from revision where action <> 'import'"
            ),
            [["12", "1", "far off"]]
        );
        assert_eq!(
            number(
                &dir,
                "select count(*) from task where review = 'accepted' and origin = 'import'"
            ),
            12
        );
        browser.wait("document.getElementById('count').textContent === '0 tasks'");
        browser.press("u");
        browser.says("Undone: 12 tasks.");
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'pending'"),
            120
        );
        browser.press("U");
        browser.says("Redone: 12 tasks.");
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'pending'"),
            108
        );
        // Cancelled, nothing happens.
        browser.press("cb");
        browser.wait("document.querySelector('#bulk[open]')");
        browser.press(&ESCAPE.to_string());
        browser.wait("!document.querySelector('dialog[open]')");
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'pending'"),
            108
        );
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn letters_typed_before_a_field_opens_review_nothing() {
    let dir = browser::numbered(4);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        // The keys before wait for the server, so the field opens later than a quick typist types.
        browser.hurry("jjearaR");
        browser.wait("document.activeElement.name === 'instruction'");
        browser.at(FIRST + 2);
        browser.press(&ESCAPE.to_string());
        browser.wait("!document.querySelector('#task textarea')");
        browser.hurry("kRar");
        browser.wait("document.querySelector('#reason[open]')");
        browser.press(&ESCAPE.to_string());
        browser.wait("!document.querySelector('dialog[open]')");
        // Leaving the field before it is there leaves it afterwards.
        browser.hurry(&format!("ke{ESCAPE}"));
        browser.at(FIRST);
        browser.wait("!document.querySelector('#task textarea')");
        browser.press("a");
        browser.says(&format!("Task {FIRST} accepted."));
        let reviewed = dir.sql("select task_id, action from revision where action in ('accept', 'reject')");
        assert_eq!(reviewed, [[&FIRST.to_string(), "accept"]]);
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn an_edit_saves_itself_and_is_one_step_to_undo() {
    let dir = browser::numbered(3);
    let page = Page::start(&dir, &[]);
    let text = || {
        dir.sql(&format!(
            "select instruction, output from task join instance on task_id = task.id where task.id = {FIRST}"
        ))
    };
    looking(&page, |browser| {
        browser.at(FIRST);
        let before = text();
        browser.press("e");
        browser.wait("document.activeElement.name === 'instruction'");
        // In a field, keys are letters.
        browser.press_with(CONTROL, 'a');
        browser.press("Say a");
        browser.wait("document.querySelector('.state').textContent === 'Saved.'");
        assert_eq!(text()[0][0], "Say a");
        // Every state is recorded, since polling may miss one.
        browser.js(
            "states = []; const note = () => states.push(document.querySelector('.state')?.textContent);
            new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true})",
        );
        browser.press("rue");
        browser.wait("states.indexOf('…') >= 0 && states.indexOf('Saved.', states.indexOf('…')) >= 0 && states.at(-1) === 'Saved.'");
        assert_eq!(text()[0][0], "Say arue");
        browser.press(&format!("{TAB}{TAB}"));
        browser.wait("document.activeElement.name === 'output 0'");
        browser.press_with(CONTROL, 'a');
        browser.press("b");
        browser.wait("document.querySelector('.state').textContent === 'Saved.'");
        // Leaving at once saves the last letters, too.
        browser.press(&format!("c{ESCAPE}"));
        browser.wait("!document.querySelector('#task textarea')");
        assert_eq!(text(), [["Say arue", "bc"]]);
        assert_eq!(
            dir.sql("select count(*) > 3, count(distinct group_id) from revision where action <> 'import'"),
            [["1", "1"]]
        );
        browser.press("u");
        browser.says(&format!("Undone: task {FIRST}"));
        assert_eq!(text(), before);
        browser.press("U");
        browser.says(&format!("Redone: task {FIRST}"));
        assert_eq!(text(), [["Say arue", "bc"]]);
        // A required text cannot be removed, and leaving does not lose what was typed.
        browser.press("e");
        browser.press_with(CONTROL, 'a');
        browser.press(&format!(" {ESCAPE}"));
        browser.says("Not saved: the instruction is empty");
        assert!(
            browser
                .js("return document.querySelector('#task textarea') !== null")
                .as_bool()
                .unwrap()
        );
        browser.js("[...document.querySelectorAll('#task button')].find((b) => b.textContent === 'Discard changes').click()");
        browser.wait("document.querySelector('.state').textContent.startsWith('Save')");
        browser.press_with(CONTROL, ENTER);
        browser.wait("!document.querySelector('#task textarea')");
        assert_eq!(text(), [["Say arue", "bc"]]);
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn an_export_is_saved_as_a_file() {
    let dir = browser::numbered(40);
    ewe(&dir, &["accept", "--db", "d.db", "216-230"]).success();
    let page = Page::start(&dir, &["--token", "open sesame"]);
    looking(&page, |browser| {
        // The token is removed from the address.
        browser.wait("location.hash === '#task=231'");
        let folder = dir.path("downloads");
        let behavior = json!({ "behavior": "allow", "downloadPath": folder.to_str().unwrap() });
        browser.devtools("Browser.setDownloadBehavior", behavior);
        browser.press("x");
        browser.wait("document.querySelector('#export[open]')");
        // The second format, then Enter.
        browser.press(&format!("{DOWN}{TAB}{TAB}{TAB}{ENTER}"));
        browser.says("The download has begun.");
        let file = folder.join("dolly.jsonl");
        until("a downloaded file", || file.exists());
        let out = [
            "export",
            "--db",
            "d.db",
            "--format",
            "dolly",
            "--review",
            "accepted",
            "--out",
            "ours.jsonl",
        ];
        ewe(&dir, &out).success();
        assert_eq!(std::fs::read_to_string(file).unwrap(), dir.read("ours.jsonl"));
        browser.close();
    });
}
