//! The charts of the dashboard as the browser draws them, compared with counts by SQL.

use std::collections::BTreeMap;

use crate::{
    browser::{self, Page, looking},
    support::ewe,
};

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn charts_show_the_counts_of_sql() {
    let dir = browser::numbered(40);
    ewe(&dir, &["accept", "--db", "d.db", "216-230"]).success();
    ewe(&dir, &["reject", "--db", "d.db", "231-236", "3"]).success();
    dir.sql(
        "delete from neighbor; insert into neighbor (task_id, neighbor_id, rank, rouge_l)
        select id, 1, 1, (id % 7) / 10.0 + 0.02 from task where id > 215",
    );
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(237);
        browser.press("d");
        browser.wait("document.querySelector('#chart-reviews svg')");

        // Bars: each part has its number in a title, and its width is proportional.
        let script = "return [...document.querySelectorAll('#chart-reviews rect')].map((r) => \
            `${r.querySelector('title')?.textContent}|${r.getBBox().width}`)";
        let parts = browser.js(script);
        let mut drawn = BTreeMap::new();
        for part in parts.as_array().unwrap() {
            let (title, width) = part.as_str().unwrap().rsplit_once('|').unwrap();
            // The legend has entries without a number.
            if let Some((name, count)) = title.split_once(": ") {
                let count: f64 = count.replace(',', "").parse().unwrap();
                drawn.insert(name.to_string(), (count, width.parse::<f64>().unwrap()));
            }
        }
        let counted: BTreeMap<String, f64> = dir
            .sql("select origin || ', ' || review, count(*) from task group by origin, review")
            .into_iter()
            .map(|row| (row[0].clone(), row[1].parse().unwrap()))
            .collect();
        assert_eq!(
            drawn
                .iter()
                .map(|(name, (count, _))| (name.clone(), *count))
                .collect::<BTreeMap<_, _>>(),
            counted
        );
        let most = drawn
            .values()
            .copied()
            .fold((0.0, 0.0), |most, part| if part.0 > most.0 { part } else { most });
        for (name, (count, width)) in &drawn {
            let expected = count / most.0 * most.1;
            assert!(
                (width - expected).abs() < 3.0,
                "{name}: {width} wide, not {expected}"
            );
        }

        // Columns: their heights, and the numbers in the accessible table.
        let script = "return [...document.querySelectorAll('#chart-similarities rect')].map((r) => r.getBBox().height)";
        let heights = browser.js(script);
        let heights: Vec<f64> = heights
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|height| height.as_f64())
            .collect();
        let script = "return [...document.querySelectorAll('#chart-similarities tbody td')].map((c) => Number(c.textContent.replaceAll(',', '')))";
        let table = browser.js(script);
        let table: Vec<i64> = table
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|count| count.as_i64())
            .collect();
        let counted = dir.sql(
            "select cast(rouge_l * 20 as integer), count(*) from neighbor join task on task.id = task_id
            where rank = 1 and review <> 'rejected' group by 1",
        );
        let mut expected = vec![0; table.len()];
        for row in counted {
            expected[row[0].parse::<usize>().unwrap()] = row[1].parse().unwrap();
        }
        assert_eq!(table, expected);
        assert_eq!(heights.len(), table.len());
        let tallest = heights.iter().copied().fold(0.0, f64::max);
        let most = *table.iter().max().unwrap() as f64;
        for (height, count) in heights.iter().zip(&table) {
            assert!(
                (height - *count as f64 / most * tallest).abs() < 2.0,
                "{height} high for {count}"
            );
        }
        assert!(browser.text("#dashboard .lead").starts_with(&format!(
            "{} tasks",
            dir.sql("select count(distinct task_id) from dataset")[0][0]
        )));
        browser.close();
    });
}
