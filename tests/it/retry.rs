//! What fails at one target is served by another, and nothing is sent twice that must not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use longshore_tests::balancer::{fixed, start};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const NO_CHECK: &str = "health_check: {enabled: false}";

/// An address that refuses connections: bound, but not listening, so that nobody else gets it.
fn refusing() -> (socket2::Socket, std::net::SocketAddr) {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("bound");
    let address = socket
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("IPv4");
    (socket, address)
}

#[tokio::test]
async fn a_target_that_refuses_is_passed_over_also_for_a_post() {
    let origin = Origin::ok("served").await;
    let (_held, refused) = refusing();
    let balancer = start(&fixed(&[refused, origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "served");
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        assert_eq!(client.response().await.text(), "served");
    }
    assert!(
        origin
            .seen()
            .iter()
            .all(|request| request.body.is_empty() || request.body == b"hi")
    );
}

#[tokio::test]
async fn when_every_target_refuses_the_answer_is_502() {
    let (_held, a) = refusing();
    let (_held, b) = refusing();
    let balancer = start(&fixed(&[a, b], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    let got = client.get("/").await;
    assert_eq!((got.status(), got.reason()), (502, Some("connect_failed")));
    assert_eq!(
        client.get("/").await.status(),
        502,
        "the client's connection stays"
    );
}

/// A target whose connections end after a random number of responses, some of them just when the
/// next request may be on its way.
async fn fickle(seed: u64) -> Origin {
    let count = Arc::new(AtomicUsize::new(0));
    Origin::at(([127, 0, 0, 1], 0).into(), move |mut wire, seen| {
        let number = count.fetch_add(1, Ordering::Relaxed) as u64;
        async move {
            let mut rng = SmallRng::seed_from_u64(seed + number);
            for _ in 0..rng.random_range(1..8) {
                let Some(request) = read(&mut wire).await else {
                    return;
                };
                seen.lock().expect("not poisoned").push(request);
                wire.send(response(200, "ok")).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_that_the_target_closed_is_never_seen_by_a_client_that_gets() {
    let seed = 7;
    println!("seed {seed}");
    let origins = [fickle(seed).await, fickle(seed + 1000).await];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let balancer = start(&fixed(&addresses, NO_CHECK, "")).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let address = balancer.address();
        clients.spawn(async move {
            let mut client = Wire::connect(address).await;
            for _ in 0..500 {
                let got = within("a response", client.get("/")).await;
                assert_eq!(got.status(), 200, "{:?}", got.reason());
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.expect("no client saw an error");
    }
}

#[tokio::test]
async fn a_post_is_not_sent_on_a_connection_that_the_target_has_closed() {
    // Each connection serves one response and then ends without saying so.
    let origin = Origin::at(([127, 0, 0, 1], 0).into(), |mut wire, seen| async move {
        if let Some(request) = read(&mut wire).await {
            seen.lock().expect("not poisoned").push(request);
            wire.send(response(200, "ok")).await;
        }
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for sent in 1..=50 {
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        let got = within("a response", client.response()).await;
        assert_eq!(got.status(), 200, "{:?}", got.reason());
        assert_eq!(origin.seen().len(), sent);
        // The target's end of the connection is closed when its task ends; the next request comes
        // after that, as a client that thinks would send it.
        eventually("the target has closed", async || {
            (origin.connections() == sent).then_some(())
        })
        .await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_post_that_a_target_has_read_is_not_sent_again() {
    let reads = Arc::new(AtomicUsize::new(0));
    let target = || {
        let reads = Arc::clone(&reads);
        Origin::raw(move |mut wire| {
            let reads = Arc::clone(&reads);
            async move {
                if read(&mut wire).await.is_some() {
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    let (a, b) = (target().await, target().await);
    let balancer = start(&fixed(&[a.address, b.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for sent in 1..=10 {
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        let got = within("a response", client.response()).await;
        assert_eq!((got.status(), got.reason()), (502, Some("target_closed")));
        assert_eq!(reads.load(Ordering::Relaxed), sent);
    }
}

#[tokio::test]
async fn a_get_goes_to_another_target_when_one_closes_without_an_answer() {
    let broken = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
    })
    .await;
    let origin = Origin::ok("served").await;
    let balancer = start(&fixed(&[broken.address, origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..10 {
        assert_eq!(within("a response", client.get("/")).await.text(), "served");
    }
    assert!(broken.connections() > 0, "it was tried");
}

#[tokio::test]
async fn a_target_that_speaks_no_http_gives_502_and_its_connection_is_not_used_again() {
    for garbage in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    ] {
        let origin = Origin::raw(move |mut wire| async move {
            while read(&mut wire).await.is_some() {
                wire.send(garbage).await;
            }
        })
        .await;
        let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
        let mut client = Wire::connect(balancer.address()).await;
        for asked in 1..=3 {
            let got = within("a response", client.get("/")).await;
            assert_eq!(
                (got.status(), got.reason()),
                (502, Some("target_malformed")),
                "{garbage:?}"
            );
            assert_eq!(origin.connections(), asked, "{garbage:?}");
        }
    }
}

#[tokio::test]
async fn a_second_response_that_nobody_asked_for_reaches_nobody() {
    let origin = Origin::raw(|mut wire| async move {
        while let Some(request) = read(&mut wire).await {
            let path = request
                .head
                .line
                .split(' ')
                .nth(1)
                .expect("a path")
                .to_owned();
            wire.send([response(200, &path), response(200, "unasked")].concat())
                .await;
        }
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for n in 0..20 {
        let path = format!("/{n}");
        assert_eq!(within("a response", client.get(&path)).await.text(), path);
    }
}

#[tokio::test]
async fn a_response_that_a_target_cuts_short_never_looks_whole() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let origin = Origin::raw(move |mut wire| async move {
            read(&mut wire).await;
            wire.send(cut).await;
        })
        .await;
        let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
        let mut client = Wire::connect(balancer.address()).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let got = within("the end", client.try_response()).await;
        assert!(got.is_err(), "{cut:?} became {got:?}");
    }
}

#[tokio::test]
async fn a_request_that_kills_its_target_is_not_shown_to_all_of_them() {
    let mut targets = Vec::new();
    for _ in 0..6 {
        targets.push(
            Origin::raw(|mut wire| async move {
                read(&mut wire).await;
            })
            .await,
        );
    }
    let addresses: Vec<_> = targets.iter().map(|target| target.address).collect();
    let balancer = start(&fixed(&addresses, NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    let got = within("a response", client.get("/poison")).await;
    assert_eq!((got.status(), got.reason()), (502, Some("target_closed")));
    let asked: usize = targets.iter().map(Origin::connections).sum();
    assert_eq!(asked, 2, "the first attempt and one replay");
}

#[tokio::test]
async fn what_no_client_should_see_of_a_response_is_502() {
    for bad in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
    ] {
        let origin = Origin::raw(move |mut wire| async move {
            read(&mut wire).await;
            wire.send(bad).await;
        })
        .await;
        let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
        let mut client = Wire::connect(balancer.address()).await;
        let got = within("a response", client.get("/")).await;
        assert_eq!(
            (got.status(), got.reason()),
            (502, Some("target_malformed")),
            "{bad:?}"
        );
    }
}

#[tokio::test]
async fn a_response_with_both_lengths_is_framed_by_its_chunks() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabcdefgh\r\n0\r\n\r\n";
    let origin = Origin::raw(move |mut wire| async move {
        read(&mut wire).await;
        wire.send(both).await;
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    let got = within("a response", client.get("/")).await;
    assert_eq!(got.text(), "abcdefgh");
    assert_eq!(got.head.get("content-length"), None);
}

#[tokio::test]
async fn a_response_that_is_cut_short_never_looks_whole_to_an_http_1_0_client() {
    // Its end is the end of the connection, so only a reset tells it from a whole one.
    for cut in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ] {
        let origin = Origin::raw(move |mut wire| async move {
            read(&mut wire).await;
            wire.send(cut).await;
        })
        .await;
        let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
        let mut stream = tokio::net::TcpStream::connect(balancer.address())
            .await
            .expect("connected");
        stream
            .write_all(b"GET / HTTP/1.0\r\n\r\n")
            .await
            .expect("sent");
        let mut got = Vec::new();
        let ended = within("the end", stream.read_to_end(&mut got)).await;
        let error = ended.expect_err("not a plain end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{cut:?}");
    }
}
