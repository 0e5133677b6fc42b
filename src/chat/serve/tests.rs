//! The server over models that fail as those of a GPU do, called over plain sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::engine::batch::{BatchConfig, OutOfMemoryPolicy};
use crate::engine::tests::watched::Watched;
use crate::model::fault;
use crate::model::tests::loaded;

/// Starts a tiny model that looks at the number of rows of each pass first.
fn backend(look: impl Fn(i64) + Send + 'static) -> LocalBackend {
    let mut tiny = loaded("gemma3");
    tiny.model = Watched::new(tiny.model, move |tokens_bt| look(tokens_bt.size()[0]));
    let config = BatchConfig {
        out_of_memory: OutOfMemoryPolicy::ShedNewest,
        ..BatchConfig::default()
    };
    LocalBackend::start(tiny, "tiny".into(), config).unwrap()
}

async fn server_of(backend: LocalBackend) -> (TcpListener, SocketAddr, Arc<ServerState>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let template = ConversationTemplate::for_inference(None, backend.tokenizer()).unwrap();
    let models = vec![ServedModel {
        names: ModelNames::new(&[], backend.model(), None),
        template,
        adapter: None,
        end_tokens: Vec::new(),
    }];
    let guard = OriginGuard::new(address);
    let server = ServerState::new(backend, models, guard, None, 16);
    (listener, address, Arc::new(server))
}

/// Starts two engines of a tiny model, of which the second breaks with its first pass.
fn half_broken() -> LocalBackend {
    let engine = |breaks: bool| {
        let mut tiny = loaded("gemma3");
        tiny.model = Watched::new(tiny.model, move |_| {
            if breaks {
                fault::raise(&"CUDA error: an illegal memory access was encountered");
            }
        });
        let name = if breaks { "cuda:1" } else { "cuda:0" };
        (name.to_owned(), tiny, BatchConfig::default())
    };
    LocalBackend::start_all(vec![engine(false), engine(true)], Vec::new(), "tiny".into()).unwrap()
}

/// Asks for a path. Returns the whole response.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8(response).unwrap()
}

/// Sends a request to `/v1/completions`. Returns the whole response.
async fn complete(address: SocketAddr, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8(response).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_context_is_told_to_clients_and_ends_the_server() {
    let lost = backend(|_| fault::raise(&"CUDA error: an illegal memory access was encountered"));
    let (listener, address, server) = server_of(lost).await;
    let client = tokio::spawn(async move { complete(address, r#"{"prompt": "t", "n": 3}"#).await });
    // No signal comes.
    let served = serve_until(listener, &server, Duration::from_secs(30), std::future::pending());
    let (_, lost) = served.await;
    let response = client.await.unwrap();
    assert!(
        response.starts_with("HTTP/1.1 500") && response.contains("illegal memory access"),
        "{response}"
    );
    assert!(server.is_stopping());
    let line = device_lost(&lost.unwrap());
    assert!(
        line.contains("illegal memory access") && line.contains("75"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_way_may_try_again() {
    let scarce = backend(|rows| {
        // The first answer must still be running when the second one joins.
        std::thread::sleep(Duration::from_millis(50));
        if rows > 1 {
            fault::raise(&"CUDA out of memory. Tried to allocate 2.00 GiB");
        }
    });
    let (listener, address, server) = server_of(scarce).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.clone();
    let served = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        serve_until(listener, &serving, Duration::from_secs(30), stopped)
            .await
            .1
    });
    // Two answers of one request: the second gives way, and with it the request.
    let two = r#""prompt": "t", "max_tokens": 4, "temperature": 0, "ignore_eos": true, "n": 2"#;
    let response = complete(address, &format!("{{{two}}}")).await;
    let has = |words: &str| response.to_ascii_lowercase().contains(words);
    assert!(
        response.starts_with("HTTP/1.1 503") && has("retry-after: 1") && has("\"code\":\"overloaded\""),
        "{response}"
    );
    // Until the engine is idle, it takes no more at once than memory was enough for.
    while server.backend.stats().running + server.backend.stats().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let response = complete(address, &format!("{{{two}, \"stream\": true}}")).await;
    assert!(
        response.starts_with("HTTP/1.1 200")
            && response.contains("\"code\":\"overloaded\"")
            && !response.contains("[DONE]"),
        "{response}"
    );
    let one = two.replace("\"n\": 2", "\"n\": 1");
    let response = complete(address, &format!("{{{one}}}")).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert_eq!(server.backend.broken(), None);
    stop.send(()).unwrap();
    assert_eq!(served.await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_lost_a_device_answers_and_says_so() {
    let (listener, address, server) = server_of(half_broken()).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.clone();
    let served = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        serve_until(listener, &serving, Duration::from_secs(30), stopped)
            .await
            .1
    });
    let health = get(address, "/health").await;
    assert!(health.ends_with(r#"{"status":"ok"}"#), "{health}");
    let response = complete(
        address,
        r#"{"prompt": "t", "max_tokens": 4, "temperature": 0, "ignore_eos": true, "n": 6}"#,
    )
    .await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert_eq!(
        response.matches("\"finish_reason\":\"length\"").count(),
        6,
        "{response}"
    );
    let health = get(address, "/health").await;
    assert!(
        health.starts_with("HTTP/1.1 200")
            && health.contains(r#""status":"degraded""#)
            && health.contains(r#""device":"cuda:1""#)
            && health.contains("illegal memory access"),
        "{health}"
    );
    // The answer is sent before the engine has counted its end.
    while server.backend.stats().running + server.backend.stats().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let metrics = get(address, "/metrics").await;
    for line in [
        r#"ewe_device_up{device="cuda:0"} 1"#,
        r#"ewe_device_up{device="cuda:1"} 0"#,
        r#"ewe_running{device="cuda:0"} 0"#,
        r#"ewe_running{device="cuda:1"} 0"#,
        "ewe_queued 0",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} in {metrics}");
    }
    assert!(!server.is_stopping());
    stop.send(()).unwrap();
    assert_eq!(served.await.unwrap(), None);
}
