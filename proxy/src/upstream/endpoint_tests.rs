use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_discovery::{Target, TargetKey};

use super::{Endpoint, Loss};
use crate::clock;

fn endpoint(shared_port: bool) -> Arc<Endpoint> {
    let target = Target {
        key: TargetKey {
            task: "arn:task/1".into(),
            container: "web".into(),
            port: 80,
        },
        address: ([127, 0, 0, 1], 1).into(),
        zone: None,
        weight: 1,
        instance: None,
        shared_port,
        started_at: None,
        protocol_version: None,
        claim: None,
        confirmed_at: clock::now(),
    };
    Endpoint::new("app".into(), &target, 1)
}

/// Our end of a connection, and the target's.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    ours.set_nonblocking(true).expect("set");
    let (theirs, _) = listener.accept().expect("accepted");
    (ours, theirs)
}

/// Waits until the kernel has something for us.
fn arrived(socket: &TcpStream) {
    let deadline = clock::now() + Duration::from_secs(10);
    while socket.peek(&mut [0]).is_err() {
        assert!(clock::now() < deadline, "nothing arrives");
        std::thread::yield_now();
    }
}

fn later(seconds: u64) -> Instant {
    clock::now() + Duration::from_secs(seconds)
}

/// Whether a new connection is taken for one to the target.
fn admits(endpoint: &Endpoint, connection: u64) -> bool {
    let admitted = endpoint.admits(connection, pair().0, false);
    endpoint.closed(connection);
    admitted
}

#[test]
fn a_loss_is_a_doubt_until_a_later_look_confirms_the_target() {
    let endpoint = endpoint(true);
    assert!(!endpoint.is_doubtful());
    endpoint.lost_connection(later(10), Loss::Sudden);
    assert!(endpoint.is_doubtful() && !admits(&endpoint, 1));
    endpoint.confirm(later(10));
    assert!(endpoint.is_doubtful(), "ECS may not know of the end yet");
    endpoint.confirm(later(12));
    assert!(!endpoint.is_doubtful() && admits(&endpoint, 1));
}

#[test]
fn an_announced_loss_is_cleared_by_the_next_look() {
    let endpoint = endpoint(true);
    endpoint.lost_connection(later(10), Loss::Announced);
    assert!(endpoint.is_doubtful());
    endpoint.confirm(later(11));
    assert!(!endpoint.is_doubtful());
}

#[test]
fn an_open_connection_proves_that_the_target_lives() {
    let endpoint = endpoint(true);
    let (ours, theirs) = pair();
    assert!(endpoint.admits(1, ours, false));
    endpoint.lost_connection(later(10), Loss::Sudden);
    assert!(!endpoint.is_doubtful() && admits(&endpoint, 2));
    drop(theirs);
    arrived(&endpoint.connections.lock().expect("not poisoned")[0].1);
    assert!(endpoint.is_doubtful() && !admits(&endpoint, 2));
    endpoint.closed(1);
    endpoint.confirm(later(20));
    assert!(admits(&endpoint, 2));
}

#[test]
fn a_closed_connection_speaks_against_a_new_one_before_anybody_took_note_of_it() {
    let endpoint = endpoint(true);
    let (ours, theirs) = pair();
    assert!(endpoint.admits(1, ours, false));
    drop(theirs);
    arrived(&endpoint.connections.lock().expect("not poisoned")[0].1);
    assert!(!admits(&endpoint, 2));
}

#[test]
fn a_connection_with_data_to_read_says_nothing_against_the_target() {
    let endpoint = endpoint(true);
    let (ours, mut theirs) = pair();
    theirs.write_all(b"a slow download").expect("sent");
    arrived(&ours);
    assert!(endpoint.admits(1, ours, false));
    assert!(admits(&endpoint, 2), "nothing was lost");
    endpoint.lost_connection(later(10), Loss::Sudden);
    assert!(endpoint.is_doubtful(), "and it proves nothing either");
}

#[test]
fn a_port_that_no_other_task_can_get_is_never_in_doubt() {
    let endpoint = endpoint(false);
    endpoint.lost_connection(later(10), Loss::Sudden);
    assert!(!endpoint.is_doubtful() && admits(&endpoint, 1));
    endpoint.retire(Duration::ZERO);
    assert!(!admits(&endpoint, 1));
}

#[test]
fn two_new_connections_do_not_vouch_for_each_other() {
    let endpoint = endpoint(true);
    endpoint.lost_connection(later(10), Loss::Sudden);
    let (first, _open) = pair();
    let (second, _open) = pair();
    assert!(!endpoint.admits(1, first, false));
    assert!(!endpoint.admits(2, second, false));
    assert!(endpoint.is_doubtful());
}

#[test]
fn a_connection_that_is_trusted_for_want_of_proof_is_noted() {
    let endpoint = endpoint(true);
    endpoint.lost_connection(later(10), Loss::Sudden);
    let (ours, _open) = pair();
    assert!(endpoint.admits(1, ours, true));
    assert!(!endpoint.is_doubtful());
}

#[test]
fn a_target_that_closes_after_each_response_is_in_doubt_only_until_it_outlived_one() {
    for loss in [Loss::Announced, Loss::Sudden] {
        let endpoint = endpoint(true);
        // The first end may be that of its process.
        endpoint.ended_connection(later(10), loss);
        assert!(endpoint.is_doubtful());
        endpoint.confirm(later(12));
        endpoint.ended_connection(later(20), loss);
        assert!(!endpoint.is_doubtful(), "{loss:?}");
    }
}

#[test]
fn a_target_that_keeps_connections_is_in_doubt_each_time_one_ends() {
    let endpoint = endpoint(true);
    endpoint.reused();
    for time in [10, 20] {
        endpoint.ended_connection(later(time), Loss::Sudden);
        endpoint.confirm(later(time));
        assert!(endpoint.is_doubtful(), "ECS may not know of the end yet");
        endpoint.confirm(later(time + 2));
        assert!(!endpoint.is_doubtful());
    }
}

#[test]
fn the_end_of_a_connection_that_was_announced_may_be_that_of_the_target_until_it_outlived_one() {
    let endpoint = endpoint(true);
    endpoint.reused();
    endpoint.ended_connection(later(10), Loss::Announced);
    endpoint.confirm(later(10) + Duration::from_millis(500));
    assert!(
        endpoint.is_doubtful(),
        "it may have ended by itself, and ECS does not know"
    );
    endpoint.confirm(later(12));
    assert!(!endpoint.is_doubtful());
    endpoint.ended_connection(later(20), Loss::Announced);
    assert!(endpoint.is_doubtful());
    endpoint.confirm(later(20) + Duration::from_millis(500));
    assert!(!endpoint.is_doubtful(), "it does so while it lives");
}
