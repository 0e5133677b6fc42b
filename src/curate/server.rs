//! The page's server: where it listens, what it serves.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, bail};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::header,
    middleware,
    response::IntoResponse,
    routing::{get, post},
};
use tokio::net::TcpListener;

use super::{
    api::{self, Room},
    guard::{self, Guard},
};
use crate::{report::chart, store::Store};

/// The largest body that is read, in bytes: an edit of a long task is far below it.
const BODY_LIMIT: usize = 4 << 20;

/// Where the page is, and for whom.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address to listen on; port 0 takes a free one.
    pub bind: SocketAddr,
    /// What a visitor must know. Without it, only this machine may be listened to.
    pub token: Option<String>,
    /// The name that the history notes.
    pub who: String,
}

/// A page that is ready to be served.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
    url: String,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    ///
    /// When others than this machine could come and there is no token, or the address cannot be had.
    pub async fn bind(store: Store, config: Config) -> anyhow::Result<Server> {
        if !config.bind.ip().is_loopback() && config.token.is_none() {
            bail!(
                "`{}` can be reached from other machines, and there is no token\nhint: --token TEXT lets in those who know it, --bind 127.0.0.1:8017 nobody else",
                config.bind
            );
        }
        if config.token.as_deref().is_some_and(|token| token.len() < 8) {
            bail!("the token is short enough to guess\nhint: take at least 8 characters");
        }
        let listener = TcpListener::bind(config.bind)
            .await
            .with_context(|| format!("cannot listen on `{}`", config.bind))?;
        let address = listener.local_addr()?;
        // The part behind `#` stays in the browser; the script sends it as a header.
        let url = match &config.token {
            Some(token) => format!("http://{address}/#token={token}"),
            None => format!("http://{address}/"),
        };
        let guard = Arc::new(Guard::new(address, config.token));
        let router = Router::new()
            .route("/api/tasks", get(api::list))
            .route("/api/tasks/{id}", get(api::show))
            .route("/api/tasks/{id}/edit", post(api::edit))
            .route("/api/review", post(api::review))
            .route("/api/undo", post(api::undo))
            .route("/api/redo", post(api::redo))
            .route("/api/dashboard", get(api::dashboard))
            .with_state(Room {
                store,
                who: config.who.into(),
            })
            .layer(middleware::from_fn_with_state(guard.clone(), guard::token))
            .route(
                "/",
                get(|| asset("text/html; charset=utf-8", include_str!("assets/page.html"))),
            )
            .route(
                "/page.js",
                get(|| asset("text/javascript; charset=utf-8", include_str!("assets/page.js"))),
            )
            .route(
                "/view.js",
                get(|| asset("text/javascript; charset=utf-8", include_str!("assets/view.js"))),
            )
            .route(
                "/page.css",
                get(|| asset("text/css; charset=utf-8", include_str!("assets/page.css"))),
            )
            .route(
                "/chart.css",
                get(|| asset("text/css; charset=utf-8", chart::STYLE)),
            )
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .layer(middleware::from_fn_with_state(guard, guard::door));
        Ok(Server {
            listener,
            router,
            url,
        })
    }

    /// Where to point a browser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves until `stop` is ready.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        axum::serve(self.listener, self.router)
            .with_graceful_shutdown(stop)
            .await?;
        Ok(())
    }
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], text)
}
