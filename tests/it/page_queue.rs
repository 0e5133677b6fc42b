//! The queue of `ewe curate`: parts of it, and the tasks behind each choice.

use serde_json::{Value, json};

use crate::{
    page::Page,
    support::{filled, number},
};

#[test]
fn the_queue_is_read_around_a_task() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    let part = |query: &str| page.get(&format!("/api/tasks?{query}")).1;
    let ids = |part: &Value| -> Vec<i64> {
        let rows = part["tasks"].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_i64().unwrap()).collect()
    };
    for (query, tasks, after, whole, outside) in [
        (
            "around=150&limit=4",
            vec![148, 149, 150, 151],
            json!(147),
            false,
            false,
        ),
        ("around=1&limit=4", vec![1, 2, 3, 4], json!(null), false, false),
        (
            r#"filter={"origin":"seed"}&around=215&limit=4"#,
            vec![213, 214, 215],
            json!(212),
            true,
            false,
        ),
        (
            "sort=newest&around=150&limit=4",
            vec![152, 151, 150, 149],
            json!(153),
            false,
            false,
        ),
        ("before=150&limit=2", vec![148, 149], json!(147), false, false),
        ("before=3&limit=5", vec![1, 2], json!(null), false, false),
        // A task that does not pass the filter stands where it would be.
        (
            r#"filter={"where":"id < 150 or id > 150"}&around=150&limit=4"#,
            vec![148, 149, 150, 151, 152],
            json!(147),
            false,
            true,
        ),
        (
            r#"filter={"where":"id < 100"}&around=150&limit=2"#,
            vec![99, 150],
            json!(98),
            true,
            true,
        ),
        (
            r#"filter={"text":"zyzzyva"}&around=150&limit=2"#,
            vec![150],
            json!(null),
            true,
            true,
        ),
    ] {
        let found = part(query);
        assert_eq!(ids(&found), tasks, "{query}");
        assert_eq!(
            [&found["after"], &found["whole"], &found["outside"]],
            [&after, &json!(whole), &json!(outside)],
            "{query}"
        );
    }
    // In every order it is a part of the whole list.
    for sort in [
        "id",
        "newest",
        "longest",
        "shortest",
        "similar",
        "score",
        "influence",
        "ifd",
    ] {
        let all = ids(&part(&format!("sort={sort}&limit=500")));
        for at in [0, 7, 100, all.len() - 1] {
            let found = part(&format!("sort={sort}&around={}&limit=20", all[at]));
            let end = all.len().min(at.saturating_sub(10) + 20);
            assert_eq!(ids(&found), all[at.saturating_sub(10)..end], "{sort} {at}");
        }
    }
    assert_eq!(page.get("/api/tasks?around=99999").0, 404);
    assert_eq!(page.get("/api/tasks?after=1&before=3").0, 400);
}

#[test]
fn tasks_are_counted_behind_each_choice() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    assert_eq!(page.get("/api/choices").1["file"], "d.db");
    // Whatever review and origin the filter has: those are the choices.
    for (filter, condition) in [
        ("", "true"),
        (r#"{"review":"rejected","origin":"seed"}"#, "true"),
        (r#"{"review":"pending","where":"id > 200"}"#, "id > 200"),
    ] {
        let (_, facets) = page.get(&format!("/api/facets?filter={filter}"));
        for origin in ["machine", "import", "seed"] {
            for review in ["pending", "accepted", "rejected"] {
                let count = number(
                    &dir,
                    &format!(
                        "select count(*) from task where origin = '{origin}' and review = '{review}' and {condition}"
                    ),
                );
                assert_eq!(
                    facets["tasks"][origin][review],
                    json!({ "tasks": count, "is_about": false }),
                    "{filter} {origin} {review}"
                );
            }
        }
    }
    dir.sql("insert into held_out (task_id, run_id) values (5, 1)");
    let (_, facets) = page.get(r#"/api/facets?filter={"split":"eval"}"#);
    let all = number(&dir, "select count(*) from task");
    assert_eq!(facets["splits"]["eval"]["tasks"], 1);
    assert_eq!(facets["splits"]["train"]["tasks"], all - 1);
    let kind = number(&dir, "select is_classification from task where id = 5") != 0;
    for is in [true, false] {
        assert_eq!(
            facets["classification"][is.to_string()]["tasks"],
            i64::from(is == kind)
        );
    }
    assert_eq!(page.get("/api/facets?filter=x").0, 400);
}
