//! The page's own files, compiled in.

use axum::{Router, http::header, routing::get};

use crate::report::chart;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! script {
    ($name:literal) => {
        (
            concat!("/", $name),
            SCRIPT,
            include_str!(concat!("assets/", $name)),
        )
    };
}

/// Path, content type and text of each file.
const ASSETS: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("assets/page.html")),
    ("/page.css", CSS, include_str!("assets/page.css")),
    ("/chart.css", CSS, chart::STYLE),
    ("/compare", HTML, include_str!("assets/compare.html")),
    ("/compare.css", CSS, include_str!("assets/compare.css")),
    ("/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    script!("page.js"),
    script!("actions.js"),
    script!("server.js"),
    script!("element.js"),
    script!("facets.js"),
    script!("filter.js"),
    script!("queue.js"),
    script!("task.js"),
    script!("passage.js"),
    script!("conversation.js"),
    script!("editor.js"),
    script!("difference.js"),
    script!("undo.js"),
    script!("dialogs.js"),
    script!("turns.js"),
    script!("dashboard.js"),
    script!("end.js"),
    script!("live.js"),
    script!("candidates.js"),
    script!("reading.js"),
    script!("markdown.js"),
    script!("code.js"),
    script!("marks.js"),
    script!("selection.js"),
    script!("saved.js"),
    script!("others.js"),
    script!("fields.js"),
    script!("team.js"),
    script!("compare.js"),
];

/// Returns a route for each file.
pub fn routes() -> Router {
    ASSETS.iter().fold(Router::new(), |router, &(path, kind, text)| {
        router.route(
            path,
            get(move || async move { ([(header::CONTENT_TYPE, kind)], text) }),
        )
    })
}
