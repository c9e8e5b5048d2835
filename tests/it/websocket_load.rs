//! What WebSockets cost, and that the slower side sets the pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore_tests::origin::{Origin, read};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::websocket::{self, AGREED, TEXT, frame, open};
use longshore_tests::within;

/// A process before that target.
fn before(origin: &Origin) -> (Process, std::net::SocketAddr, TempFile) {
    let config = TempFile::new(&format!(
        "runtime: {{workers: 2}}\nlisteners: [{{name: web, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
        free_port(),
        origin.address.port()
    ));
    let (process, address) = Process::run(&config);
    (process, address, config)
}

/// A target that echoes.
async fn echoing() -> Origin {
    Origin::raw(|mut wire| async move {
        if read(&mut wire).await.is_some() {
            websocket::echo(&mut wire, "").await;
        }
    })
    .await
}

#[tokio::test]
async fn a_thousand_open_websockets_hold_no_buffers() {
    const COUNT: u64 = 1_000;
    let origin = echoing().await;
    let (process, address, _config) = before(&origin);
    let mut clients = Vec::new();
    // The first ones bring what is there for all of them.
    for _ in 0..50 {
        clients.push(open(address, "/", "").await.0);
    }
    let without = process.memory();
    for _ in 0..COUNT {
        clients.push(open(address, "/", "").await.0);
    }
    // One after the other, so that buffers which are lent and come back are few.
    for client in &mut clients {
        let name = within("a frame", websocket::read(client)).await;
        assert!(name.expect("a frame").content.is_empty());
        client.send(frame(TEXT, true, &[b'x'; 20_000])).await;
        let came = within("a frame", websocket::read(client)).await;
        assert_eq!(came.expect("a frame").content.len(), 20_000);
    }
    let each = process.memory().saturating_sub(without) / COUNT;
    println!("{each} bytes of memory for each of {COUNT} open WebSockets");
    // A buffer of 16 KiB on one side alone would be more.
    assert!(each < 12 * 1024, "{each} bytes for each");
}

#[tokio::test]
async fn a_side_that_does_not_read_stops_the_other() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let origin = Origin::raw(move |mut wire| {
        let counted = Arc::clone(&counted);
        async move {
            read(&mut wire).await;
            wire.send(AGREED).await;
            let message = frame(TEXT, false, &[b'x'; 65_536]);
            loop {
                let whole = tokio::io::AsyncWriteExt::write_all(&mut wire.stream, &message);
                if whole.await.is_err() {
                    return;
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    let (process, address, _config) = before(&origin);
    let (mut client, _) = open(address, "/", "").await;
    let without = process.memory();
    // What is waited for is that nothing moves any more.
    let mut before = u64::MAX;
    while sent.load(Ordering::Relaxed) != before {
        before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("{before} messages of 64 KiB are on their way to nobody");
    // The kernel's buffers on both sides.
    assert!(before < 1_024, "{before} messages were sent to nobody");
    let grown = process.memory().saturating_sub(without);
    // Room for the allocator, as in bodies.rs; the messages on their way are more.
    assert!(grown < 8 << 20, "memory grew by {grown} bytes");
    // And it goes on with the client, whole.
    for _ in 0..before + 100 {
        let came = within("a message", websocket::read(&mut client)).await;
        let came = came.expect("a message");
        assert_eq!((came.first, came.content.len()), (TEXT, 65_536));
    }
}
