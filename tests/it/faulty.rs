//! One target of three is faulty in some way: whoever got it has a correct error or a correct
//! retry, nobody else notices, and it is taken out where it should be.

use std::net::SocketAddr;

use longshore_tests::balancer::{Running, fixed, start};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    /// The answer of a good target, whole.
    Good,
    /// An answer of the balancer.
    Error(u16, String),
    /// A response that ended early, and could be seen to.
    Short,
}

/// One request on a connection of its own, as different as requests can be.
async fn ask(address: SocketAddr, number: usize) -> Got {
    let mut client = Wire::connect(address).await;
    let request = if number.is_multiple_of(2) {
        format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")
    } else {
        format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
    };
    client.send(request).await;
    let Ok(got) = within("an end", client.try_response()).await else {
        return Got::Short;
    };
    match got.reason() {
        Some(reason) => Got::Error(got.status(), reason.to_owned()),
        None => {
            assert_eq!((got.status(), got.text()), (200, format!("/{number}")));
            assert_eq!(client.buffered(), 0, "nothing comes after a response");
            Got::Good
        }
    }
}

/// A target whose answers are the paths that it was asked for.
async fn good() -> Origin {
    Origin::http(|request| {
        let path = request.head.line.split(' ').nth(1).expect("a path");
        response(200, path)
    })
    .await
}

/// A balancer before a bad target and two good ones.
async fn before(bad: &Origin, goods: &[Origin; 2], keys: &str) -> Running {
    let addresses = [bad.address, goods[0].address, goods[1].address];
    let group = format!(
        "health_check: {{enabled: false}}\noutlier_detection: {{base_ejection_time: 1h, max_ejection_time: 1h}}\n{keys}"
    );
    start(&fixed(&addresses, &group, "runtime: {workers: 2}")).await
}

async fn ejection(balancer: &Running, bad: &Origin) -> Option<&'static str> {
    let at = bad.address.to_string();
    let group = balancer.group().await;
    let mut targets = group.targets.into_iter();
    let bad = targets.find(|target| target.address == at);
    Some(bad?.ejection?.reason)
}

/// Asks until the bad target is out, from four clients at a time. Tells what was not good.
async fn until_ejected(balancer: &Running, bad: &Origin) -> Vec<Got> {
    let address = balancer.address();
    let mut number = 0;
    let mut not_good = Vec::new();
    while ejection(balancer, bad).await.is_none() {
        assert!(number < 400, "it was not taken out: {not_good:?}");
        let four = tokio::join!(
            ask(address, number),
            ask(address, number + 1),
            ask(address, number + 2),
            ask(address, number + 3),
        );
        number += 4;
        let four = [four.0, four.1, four.2, four.3];
        not_good.extend(four.into_iter().filter(|got| *got != Got::Good));
    }
    assert_eq!(
        ejection(balancer, bad).await,
        Some("consecutive_failures"),
        "{not_good:?}"
    );
    for number in 0..20 {
        assert_eq!(
            ask(address, number).await,
            Got::Good,
            "nobody is left with it"
        );
    }
    not_good
}

/// No more clients are hurt than had the bad target before it was out: five, and those that were on
/// their way at the time.
fn assert_few(not_good: &[Got], expected: &Got) {
    assert!((2..=8).contains(&not_good.len()), "{not_good:?}");
    assert!(not_good.iter().all(|got| got == expected), "{not_good:?}");
}

#[tokio::test]
async fn one_that_accepts_and_never_answers_costs_each_of_a_few_clients_a_504() {
    let bad = Origin::raw(|mut wire| async move { while read(&mut wire).await.is_some() {} }).await;
    let goods = [good().await, good().await];
    let balancer = before(&bad, &goods, "timeouts: {response_header: 1s}").await;
    let not_good = until_ejected(&balancer, &bad).await;
    assert_few(&not_good, &Got::Error(504, "target_timeout".to_owned()));
}

#[tokio::test]
async fn one_that_resets_in_the_middle_of_bodies_cuts_a_few_responses_and_is_out() {
    let bad = Origin::raw(|mut wire| async move {
        if read(&mut wire).await.is_some() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthis much")
                .await;
            socket2::SockRef::from(&wire.stream)
                .set_linger(Some(std::time::Duration::ZERO))
                .expect("set");
        }
    })
    .await;
    let goods = [good().await, good().await];
    let balancer = before(&bad, &goods, "").await;
    assert_few(&until_ejected(&balancer, &bad).await, &Got::Short);
}

#[tokio::test]
async fn one_that_answers_half_of_its_content_length_cuts_a_few_responses_and_is_out() {
    let bad = Origin::raw(|mut wire| async move {
        if read(&mut wire).await.is_some() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!")
                .await;
        }
    })
    .await;
    let goods = [good().await, good().await];
    let balancer = before(&bad, &goods, "").await;
    assert_few(&until_ejected(&balancer, &bad).await, &Got::Short);
}

#[tokio::test]
async fn one_that_answers_garbage_gives_a_few_502_and_is_out() {
    let seed = 31;
    println!("seed {seed}");
    let bad = Origin::raw(move |mut wire| async move {
        let mut rng = SmallRng::seed_from_u64(seed);
        while read(&mut wire).await.is_some() {
            let garbage: Vec<u8> = (0..200).map(|_| rng.random()).collect();
            wire.send(garbage).await;
        }
    })
    .await;
    let goods = [good().await, good().await];
    let balancer = before(&bad, &goods, "").await;
    let not_good = until_ejected(&balancer, &bad).await;
    assert_few(&not_good, &Got::Error(502, "target_malformed".to_owned()));
}

#[tokio::test]
async fn with_retries_no_client_sees_any_of_it() {
    let policy = "retry: {on: [reset, timeout, malformed, 500], methods: all, body_buffer: 64}\n\
                  timeouts: {response_header: 1s}";
    for kind in 0..3 {
        let bad = Origin::raw(move |mut wire| async move {
            while read(&mut wire).await.is_some() {
                match kind {
                    // Silence; the end; garbage.
                    0 => {}
                    1 => return,
                    _ => wire.send("no HTTP at all\r\n\r\n").await,
                }
            }
        })
        .await;
        let goods = [good().await, good().await];
        let balancer = before(&bad, &goods, policy).await;
        let not_good = until_ejected(&balancer, &bad).await;
        assert_eq!(not_good, [], "kind {kind}");
    }
}

#[tokio::test]
async fn one_that_closes_idle_connections_at_random_is_noticed_by_nobody_and_stays() {
    let seed = 32;
    println!("seed {seed}");
    let bad = Origin::at(
        ([127, 0, 0, 1], 0).into(),
        move |mut wire, seen| async move {
            let number = seen.lock().expect("not poisoned").len() as u64;
            let mut rng = SmallRng::seed_from_u64(seed + number);
            for _ in 0..rng.random_range(1..4) {
                let Some(request) = read(&mut wire).await else {
                    return;
                };
                let line = request.head.line.clone();
                seen.lock().expect("not poisoned").push(request);
                let path = line.split(' ').nth(1).expect("a path");
                wire.send(response(200, path)).await;
            }
        },
    )
    .await;
    let goods = [good().await, good().await];
    let balancer = before(&bad, &goods, "").await;
    for number in (0..300).step_by(2) {
        assert_eq!(ask(balancer.address(), number).await, Got::Good);
    }
    assert!(bad.seen().len() >= 40, "it stays: {}", bad.seen().len());
    assert_eq!(ejection(&balancer, &bad).await, None);
}

#[tokio::test]
async fn one_that_sends_a_second_response_hands_it_to_nobody_and_stays() {
    let bad = Origin::at(([127, 0, 0, 1], 0).into(), |mut wire, seen| async move {
        while let Some(request) = read(&mut wire).await {
            let line = request.head.line.clone();
            seen.lock().expect("not poisoned").push(request);
            let path = line.split(' ').nth(1).expect("a path");
            let both = [response(200, path), response(200, "of another client")];
            wire.send(both.concat()).await;
        }
    })
    .await;
    let goods = [good().await, good().await];
    let balancer = before(&bad, &goods, "").await;
    for number in 0..120 {
        assert_eq!(ask(balancer.address(), number).await, Got::Good);
    }
    assert!(bad.seen().len() >= 30, "it stays: {}", bad.seen().len());
    assert_eq!(ejection(&balancer, &bad).await, None);
}

#[tokio::test]
async fn the_only_target_of_a_group_stays_whatever_it_does() {
    let bad = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
    })
    .await;
    let text = fixed(&[bad.address], "health_check: {enabled: false}", "");
    let balancer = start(&text).await;
    for number in 0..12 {
        let got = ask(balancer.address(), number).await;
        assert_eq!(got, Got::Error(502, "target_closed".to_owned()));
    }
    let asked = bad.connections();
    eventually("it is asked still", async || {
        ask(balancer.address(), 1).await;
        (bad.connections() > asked).then_some(())
    })
    .await;
}
