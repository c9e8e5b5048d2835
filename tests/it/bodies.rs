//! Bodies of any size in constant memory, at the pace of the slower side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore_tests::origin::Origin;
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const GIB: u64 = 1 << 30;
/// What memory may grow by while a body passes: room for the allocator, far below any body here.
const GROWTH_MAX: u64 = 8 << 20;

/// The longest that one of these tests may take. They move a lot, so it is more than elsewhere;
/// without it, bytes that stop would stop the whole run.
const LIMIT: Duration = Duration::from_secs(120);

async fn limited(test: impl Future<Output = ()>) {
    let done = tokio::time::timeout(LIMIT, test).await;
    assert!(done.is_ok(), "not within {LIMIT:?}");
}

/// `longshore` before one target.
fn balancer(origin: &Origin) -> (Process, std::net::SocketAddr, TempFile) {
    let config = TempFile::new(&format!(
        "listeners: [{{name: web, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
        free_port(),
        origin.address.port()
    ));
    let (process, address) = Process::run(&config);
    (process, address, config)
}

/// Writes that many bytes, or less if the other side ends.
async fn write(stream: &mut (impl tokio::io::AsyncWrite + Unpin), total: u64, moved: &AtomicU64) {
    let block = vec![b'x'; 256 * 1024];
    let mut left = total;
    while left > 0 {
        let count = usize::try_from(left.min(block.len() as u64)).expect("small");
        match stream.write(&block[..count]).await {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                left -= count as u64;
                moved.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    }
}

/// Reads that many bytes.
async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin), total: u64) {
    let mut buffer = vec![0; 256 * 1024];
    let mut left = total;
    while left > 0 {
        let count = stream.read(&mut buffer).await.expect("read");
        assert!(count > 0, "{left} bytes are missing");
        left = left.saturating_sub(count as u64);
    }
}

#[tokio::test]
async fn a_body_of_1_gib_passes_up_and_down_in_flat_memory() {
    limited(up_and_down()).await;
}

async fn up_and_down() {
    let origin = Origin::raw(|mut wire| async move {
        let head = wire.head().await.expect("a head");
        let up: u64 = head
            .get("content-length")
            .and_then(|length| length.parse().ok())
            .expect("a length");
        let buffered = wire.buffered() as u64;
        read(&mut wire.stream, up - buffered).await;
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n"))
            .await;
        write(&mut wire.stream, GIB, &AtomicU64::new(0)).await;
        wire.rest().await;
    })
    .await;
    let (process, address, _config) = balancer(&origin);
    let before = process.memory();
    let mut client = Wire::connect(address).await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n"
        ))
        .await;
    // The head may hold no body bytes yet, so what is sent from here on is the body alone.
    write(&mut client.stream, GIB, &AtomicU64::new(0)).await;
    let head = within("a response", client.head()).await.expect("a head");
    assert_eq!(head.status(), 200);
    let first = client.exactly(1).await.expect("a byte").len() as u64;
    let buffered = client.buffered() as u64;
    read(&mut client.stream, GIB - first - buffered).await;
    let growth = process.memory_peak().saturating_sub(before);
    println!("memory grew by {} KiB", growth / 1024);
    assert!(growth < GROWTH_MAX, "memory grew by {growth} bytes");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_target() {
    limited(slow_reader()).await;
}

async fn slow_reader() {
    let moved = Arc::new(AtomicU64::new(0));
    let sent = Arc::clone(&moved);
    let origin = Origin::raw(move |mut wire| {
        let sent = Arc::clone(&sent);
        async move {
            wire.head().await.expect("a head");
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n"))
                .await;
            write(&mut wire.stream, GIB, &sent).await;
        }
    })
    .await;
    let (process, address, _config) = balancer(&origin);
    let before = process.memory();
    let mut client = Wire::connect(address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let stopped = settled(&moved).await;
    // What the kernel's buffers hold on both sides; the balancer's own share is seen in its memory.
    assert!(stopped < 64 << 20, "{stopped} bytes were sent to nobody");
    assert!(process.memory().saturating_sub(before) < GROWTH_MAX);
    // And it goes on when the client does.
    let head = within("a head", client.head()).await.expect("a head");
    assert_eq!(head.status(), 200);
    read(&mut client.stream, 128 << 20).await;
    assert!(moved.load(Ordering::Relaxed) > stopped);
}

#[tokio::test]
async fn a_target_that_does_not_read_stops_the_client() {
    limited(slow_target()).await;
}

async fn slow_target() {
    let origin = Origin::raw(|mut wire| async move {
        wire.head().await.expect("a head");
        std::future::pending::<()>().await;
    })
    .await;
    let (process, address, _config) = balancer(&origin);
    let before = process.memory();
    let moved = Arc::new(AtomicU64::new(0));
    let sent = Arc::clone(&moved);
    let client = tokio::spawn(async move {
        let mut client = Wire::connect(address).await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n"
            ))
            .await;
        write(&mut client.stream, GIB, &sent).await;
    });
    let stopped = settled(&moved).await;
    assert!(stopped < 64 << 20, "{stopped} bytes were taken for nobody");
    assert!(process.memory().saturating_sub(before) < GROWTH_MAX);
    client.abort();
}

/// Waits until a count that has begun to grow does not grow for half a second.
async fn settled(moved: &AtomicU64) -> u64 {
    let mut last = (0, std::time::Instant::now());
    eventually("it stops", async || {
        let now = moved.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        (now > 0 && last.1.elapsed() > Duration::from_millis(500)).then_some(now)
    })
    .await
}
