//! How each algorithm spreads requests over real sockets, with one, two and eight workers, also
//! while targets come and go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore_tests::balancer::{self, Running};
use longshore_tests::origin::Origin;
use longshore_tests::wire::Wire;
use longshore_tests::within;
use tokio::task::JoinSet;

/// Connections of clients, so that each of eight workers has some.
const CLIENTS: usize = 16;
const REQUESTS: usize = 50;
const SENT: usize = CLIENTS * REQUESTS;
const TARGETS: usize = 4;
/// How often a target comes or goes while they are sent.
const SWAPS: usize = 24;

struct Algorithm {
    keys: &'static str,
    /// How many requests a target may be off its equal part, in percent of that.
    off: usize,
    /// How often it may be tried, where a target that the machine holds up at a bad moment gets less
    /// for the rest of a run.
    tries: usize,
}

/// Five standard deviations of a binomial distribution where chance decides, 800 requests and a
/// quarter for each: 5 × √(800 × ¼ × ¾) of 200 are 31 %.
const ALGORITHMS: [Algorithm; 5] = [
    // Eight workers end in the middle of their rounds.
    Algorithm {
        keys: "load_balancing_algorithm_type: round_robin",
        off: 10,
        tries: 1,
    },
    Algorithm {
        keys: "load_balancing_algorithm_type: weighted_random",
        off: 31,
        tries: 1,
    },
    // Who is idle at the moment gets the next one, and targets on one machine are not idle for
    // equally long.
    Algorithm {
        keys: "load_balancing_algorithm_type: least_outstanding_requests",
        off: 40,
        tries: 3,
    },
    // As before, and latencies on a busy machine are not equal either.
    Algorithm {
        keys: "load_balancing_algorithm_type: peak_ewma",
        off: 75,
        tries: 3,
    },
    // 800 values, each with its place.
    Algorithm {
        keys: "load_balancing_algorithm_type: consistent_hash\nhash_policy: {type: path}",
        off: 31,
        tries: 1,
    },
];

fn text(targets: &[SocketAddr], keys: &str, workers: usize) -> String {
    let group = format!("health_check: {{enabled: false}}\n{keys}");
    let top = format!("runtime: {{workers: {workers}}}");
    balancer::fixed(targets, &group, &top)
}

/// Clients that send all requests, each with a path of its own, on connections that stay. `sent`
/// counts.
async fn clients(balancer: &Running, sent: &Arc<AtomicUsize>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let mut wire = Wire::connect(balancer.address()).await;
        let sent = Arc::clone(sent);
        clients.spawn(async move {
            for request in 0..REQUESTS {
                let path = format!("/{client}-{request}");
                let got = within("a response", wire.get(&path)).await;
                assert_eq!(got.status(), 200, "{:?}", got.reason());
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    clients
}

async fn ended(mut clients: JoinSet<()>) {
    while let Some(ended) = clients.join_next().await {
        ended.expect("no client failed");
    }
}

/// How many requests each target had, and where each path went.
fn seen(origins: &[Origin]) -> (Vec<usize>, BTreeMap<String, Vec<usize>>) {
    let mut paths = BTreeMap::<String, Vec<usize>>::new();
    let counts = origins.iter().enumerate().map(|(number, origin)| {
        let seen = origin.seen();
        for request in &seen {
            paths
                .entry(request.head.line.clone())
                .or_default()
                .push(number);
        }
        seen.len()
    });
    (counts.collect(), paths)
}

async fn origins() -> Vec<Origin> {
    let mut origins = Vec::new();
    for number in 0..TARGETS {
        origins.push(Origin::ok(&number.to_string()).await);
    }
    origins
}

fn are_equal(counts: &[usize], off: usize) -> bool {
    let part = counts.iter().sum::<usize>() / counts.len();
    let fits = |count: &usize| count.abs_diff(part) * 100 <= off * part;
    counts.iter().all(fits)
}

/// Runs it until what came of it is good, as often as the algorithm may be tried.
async fn tried(
    algorithm: &Algorithm,
    run: impl AsyncFn() -> Vec<usize>,
    good: impl Fn(&[usize]) -> bool,
    what: &str,
) {
    let mut came = Vec::new();
    for _ in 0..algorithm.tries {
        let counts = run().await;
        if good(&counts) {
            return;
        }
        came.push(counts);
    }
    panic!("{what}, {}: {came:?}", algorithm.keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_spreads_requests_equally_with_any_number_of_workers() {
    for workers in [1, 2, 8] {
        for algorithm in &ALGORITHMS {
            let run = async || {
                let origins = origins().await;
                let addresses: Vec<SocketAddr> = origins.iter().map(|it| it.address).collect();
                let balancer = balancer::start(&text(&addresses, algorithm.keys, workers)).await;
                ended(clients(&balancer, &Arc::default()).await).await;
                let (counts, _) = seen(&origins);
                assert_eq!(counts.iter().sum::<usize>(), SENT);
                counts
            };
            let good = |counts: &[usize]| are_equal(counts, algorithm.off);
            tried(algorithm, run, good, &format!("{workers} workers")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_stay_share_equally_while_another_one_comes_and_goes() {
    for workers in [1, 2, 8] {
        for algorithm in &ALGORITHMS {
            let run = async || swapped(algorithm.keys, workers).await;
            let good = |counts: &[usize]| {
                let (stayed, other) = counts.split_at(TARGETS - 1);
                // It was there about half of the time.
                let most = stayed.iter().max().copied().unwrap_or_default();
                are_equal(stayed, algorithm.off + 10) && other[0] > 0 && other[0] < most
            };
            tried(algorithm, run, good, &format!("{workers} workers")).await;
        }
    }
}

/// How many requests each target had, of which the last one came and went.
async fn swapped(keys: &str, workers: usize) -> Vec<usize> {
    let origins = origins().await;
    let all: Vec<SocketAddr> = origins.iter().map(|it| it.address).collect();
    let (with, without) = (
        text(&all, keys, workers),
        text(&all[..TARGETS - 1], keys, workers),
    );
    let mut balancer = balancer::start(&with).await;
    let sent = Arc::<AtomicUsize>::default();
    let sending = clients(&balancer, &sent).await;
    for swap in 0..SWAPS {
        // Spread over the requests, whatever the machine's pace.
        while sent.load(Ordering::Relaxed) < swap * SENT / SWAPS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let next = if swap % 2 == 0 { &without } else { &with };
        let reloaded = balancer.balancer.reload(balancer::config(next)).await;
        reloaded.expect("reloaded");
    }
    ended(sending).await;
    let (counts, paths) = seen(&origins);
    // Nothing was sent twice.
    assert!(paths.values().all(|targets| targets.len() == 1), "{keys}");
    assert_eq!(counts.iter().sum::<usize>(), SENT, "{keys}");
    counts
}
