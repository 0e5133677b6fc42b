//! The page's server: its address and its routes.

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
    access::{self, PageAccess},
    api, assets, candidates, compare,
    error::ApiError,
    export, label, queue,
    state::AppState,
    team,
    tickets::Tickets,
};
use crate::{http_server, store::Store};

/// How long a client may take to send a request's head, and a connection may idle.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long open requests may take once the server is to stop.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The settings of the server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address to listen on; port 0 takes a free one.
    pub bind: SocketAddr,
    /// The token that visitors must know. Without it, only a loopback address is allowed.
    pub token: Option<String>,
    /// The name for the history.
    pub who: String,
}

/// A server that is ready to serve the page.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
    url: String,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    ///
    /// When other machines could reach the address and there is no token, or it cannot be bound.
    pub async fn bind(store: Store, config: ServerConfig) -> anyhow::Result<Server> {
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
        // Browsers do not send the part after `#`; the script sends it as a header.
        let url = match &config.token {
            Some(token) => format!("http://{address}/#token={token}"),
            None => format!("http://{address}/"),
        };
        let access = Arc::new(PageAccess::new(address, config.token.as_deref()));
        let state = AppState {
            watch: store.watch().await?,
            store,
            who: config.who.into(),
            tickets: Tickets::default(),
        };
        let router = Router::new()
            .route("/api/tasks", get(queue::list))
            .route("/api/count", get(queue::count))
            .route("/api/facets", get(queue::facets))
            .route("/api/tasks/{id}", get(api::show))
            .route("/api/tasks/{id}/trail", get(api::trail))
            .route("/api/tasks/{id}/edit", post(api::edit))
            .route("/api/tasks/{id}/review", post(api::review))
            .route("/api/tasks/{id}/label", post(label::label))
            .route("/api/tasks/{id}/opinion", post(team::opinion))
            .route("/api/tasks/{id}/comment", post(team::comment))
            .route("/api/team", get(team::team))
            .route("/api/fields", get(label::counts))
            .route("/api/glance", post(api::glance))
            .route("/api/news", get(api::news))
            .route("/api/choices", get(api::choices))
            .route("/api/bulk", post(api::bulk))
            .route("/api/selected", post(api::selected))
            .route("/api/others", get(api::others))
            .route("/api/latest", get(api::latest))
            .route("/api/undo", post(api::undo))
            .route("/api/redo", post(api::redo))
            .route("/api/export", post(export::order))
            .route("/api/dashboard", get(api::dashboard))
            .route("/api/training", get(api::training))
            .route("/api/candidates", get(candidates::list))
            .route("/api/candidates/counts", get(candidates::counts))
            .route("/api/candidates/rescue", post(candidates::rescue))
            .route("/api/candidates/{id}", get(candidates::show))
            .route("/api/compare", get(compare::api::list))
            .route("/api/compare/{id}", get(compare::api::pairs))
            .route("/api/compare/{id}/end", get(compare::api::end))
            .route("/api/pairs/{id}", get(compare::api::pair))
            .route("/api/pairs/{id}/vote", post(compare::api::vote))
            .layer(middleware::from_fn(access::limit_body))
            .layer(middleware::from_fn_with_state(
                access.clone(),
                access::check_token,
            ))
            // The ticket in its path is as good as a token.
            .route("/export/{ticket}", get(export::fetch))
            .with_state(state)
            .merge(assets::routes())
            .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "there is nothing here") })
            .layer(middleware::from_fn_with_state(access, access::check_origin));
        Ok(Server {
            listener,
            router,
            url,
        })
    }

    /// Returns the URL for a browser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves until `stop` is ready, then waits a moment for open requests.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let open = http_server::serve(self.listener, self.router, HEAD_TIME, stop).await;
        // Changes of the dataset take milliseconds; a slow reader of an export is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, open.ended()).await;
    }
}
