//! The page's server: where it listens, what it serves.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use axum::{
    Router,
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use tokio::net::TcpListener;

use super::{
    api::{self, Room},
    assets,
    export::{self, Tickets},
    failure::Failure,
    guard::{self, Guard},
};
use crate::{http_server, store::Store};

/// How long a client may take to send a request's head, and how long a connection may idle.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long what was asked may take to be answered once the server is to stop.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
                "`{}` can be reached from other machines, and there is no token\nhint: --token-file FILE or the variable EWE_TOKEN lets in those who know it, --bind 127.0.0.1:8017 nobody else",
                config.bind
            );
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
        let guard = Arc::new(Guard::new(address, config.token.as_deref()));
        let room = Room {
            watch: store.watch().await?,
            store,
            who: config.who.into(),
            tickets: Tickets::default(),
        };
        let router = Router::new()
            .route("/api/tasks", get(api::list))
            .route("/api/count", get(api::count))
            .route("/api/tasks/{id}", get(api::show))
            .route("/api/tasks/{id}/trail", get(api::trail))
            .route("/api/tasks/{id}/edit", post(api::edit))
            .route("/api/tasks/{id}/review", post(api::review))
            .route("/api/glance", post(api::glance))
            .route("/api/news", get(api::news))
            .route("/api/choices", get(api::choices))
            .route("/api/bulk", post(api::bulk))
            .route("/api/latest", get(api::latest))
            .route("/api/undo", post(api::undo))
            .route("/api/redo", post(api::redo))
            .route("/api/export", post(export::order))
            .route("/api/dashboard", get(api::dashboard))
            .layer(middleware::from_fn(guard::body))
            .layer(middleware::from_fn_with_state(guard.clone(), guard::token))
            // The ticket in its path is as good as a token.
            .route("/export/{ticket}", get(export::fetch))
            .with_state(room)
            .merge(assets::routes())
            .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "there is nothing here") })
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

    /// Serves until `stop` is ready, and then for a moment those who have asked something.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let open = http_server::serve(self.listener, self.router, HEAD_TIME, stop).await;
        // What changes the dataset takes milliseconds; whoever takes an export slowly is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, open.ended()).await;
    }
}
