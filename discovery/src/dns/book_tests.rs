use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Answer, Book, FIRST_TTL, LookupError, Service, Verdict};
use crate::first::WHOLE_LOOKS;

const TTL: Duration = Duration::from_secs(20);

/// After this time a negative answer is in no cache any more.
const STEP: Duration = Duration::from_secs(21);

/// The answers about hosts in one look.
type Hosts = BTreeMap<String, Result<Answer<IpAddr>, LookupError>>;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn found(addresses: &[&str]) -> Result<Answer<IpAddr>, LookupError> {
    Ok(Answer::Found {
        records: addresses.iter().map(|text| ip(text)).collect(),
        ttl: TTL,
    })
}

fn nothing<T>() -> Result<Answer<T>, LookupError> {
    Ok(Answer::Nothing {
        reason: "NXDOMAIN".to_owned(),
        ttl: TTL,
    })
}

fn failed<T>() -> Result<Answer<T>, LookupError> {
    Err(LookupError("SERVFAIL".to_owned()))
}

#[allow(
    clippy::disallowed_methods,
    reason = "any instant will do to count from"
)]
fn start() -> Instant {
    Instant::now()
}

fn srv(priority: u16, host: &str, port: u16) -> Service {
    Service {
        host: host.to_owned(),
        port,
        priority,
        weight: 0,
        addresses: Vec::new(),
    }
}

fn hosts<const N: usize>(answers: [(&str, Result<Answer<IpAddr>, LookupError>); N]) -> Hosts {
    answers
        .map(|(name, answer)| (name.to_owned(), answer))
        .into()
}

/// The targets of a set as text, and its problems.
#[track_caller]
fn set(verdict: Verdict) -> (Vec<String>, Vec<String>) {
    match verdict {
        Verdict::Set {
            targets, problems, ..
        } => (
            targets.iter().map(|t| t.address.to_string()).collect(),
            problems
                .iter()
                .map(|p| format!("{}: {}", p.subject, p.reason))
                .collect(),
        ),
        other => panic!("no set: {other:?}"),
    }
}

#[track_caller]
fn error(verdict: Verdict) -> String {
    match verdict {
        Verdict::Failed(error) => error,
        other => panic!("no failure: {other:?}"),
    }
}

/// The TTL of a verdict that says nothing yet.
fn unconfirmed(verdict: &Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Unconfirmed { ttl, .. } => Some(*ttl),
        _ => None,
    }
}

fn is_unconfirmed(verdict: &Verdict) -> bool {
    unconfirmed(verdict) == Some(TTL)
}

#[test]
fn each_address_is_one_target_whatever_their_order_and_number() {
    let mut book = Book::new("app.internal");
    let now = start();
    let answer = found(&["10.0.0.9", "10.0.0.10", "10.0.0.9", "2001:db8::1"]);
    let Verdict::Set {
        targets,
        problems,
        ttl,
    } = book.addresses(answer, 8080, now)
    else {
        panic!("no set");
    };
    assert_eq!((ttl, problems.len()), (TTL, 0));
    let ids: Vec<String> = targets
        .iter()
        .map(|target| target.key.to_string())
        .collect();
    assert_eq!(
        ids,
        [
            "dns:app.internal/10.0.0.9:8080",
            "dns:app.internal/10.0.0.10:8080",
            "dns:app.internal/2001:db8::1:8080"
        ]
    );
    assert!(
        targets
            .iter()
            .all(|t| t.confirmed_at == now && !t.shared_port)
    );
}

#[test]
fn one_negative_answer_is_a_doubt_and_two_in_a_row_are_an_empty_set() {
    let mut book = Book::new("app.internal");
    let now = start();
    set(book.addresses(found(&["10.0.0.1"]), 80, now));
    assert!(is_unconfirmed(&book.addresses(nothing(), 80, now)));
    // The same one, out of a cache.
    let soon = now + STEP - Duration::from_millis(1);
    assert!(is_unconfirmed(&book.addresses(nothing(), 80, soon)));
    let later = now + STEP;
    assert_eq!(set(book.addresses(nothing(), 80, later)).0.len(), 0);
    assert_eq!(set(book.addresses(nothing(), 80, later)).0.len(), 0);
    assert_eq!(
        set(book.addresses(found(&["10.0.0.1"]), 80, later)).0.len(),
        1
    );
    assert!(is_unconfirmed(&book.addresses(nothing(), 80, later)));
}

#[test]
fn a_negative_answer_for_a_day_is_believed_after_a_quarter_of_an_hour() {
    let mut book = Book::new("app.internal");
    let (now, day) = (start(), Duration::from_secs(86_400));
    let mut look = |after| {
        let answer = Ok(Answer::Nothing {
            reason: "NXDOMAIN".to_owned(),
            ttl: day,
        });
        unconfirmed(&book.addresses(answer, 80, now + Duration::from_secs(after)))
    };
    assert_eq!([0, 900, 901].map(&mut look), [Some(day), Some(day), None]);
}

#[test]
fn a_failure_or_a_good_answer_between_two_negative_ones_begins_the_count_anew() {
    let mut book = Book::new("app.internal");
    let now = start();
    assert!(is_unconfirmed(&book.addresses(nothing(), 80, now)));
    let now = now + STEP;
    assert_eq!(error(book.addresses(failed(), 80, now)), "SERVFAIL");
    assert!(is_unconfirmed(&book.addresses(nothing(), 80, now)));
    let now = now + STEP;
    set(book.addresses(found(&["10.0.0.1"]), 80, now));
    assert!(is_unconfirmed(&book.addresses(nothing(), 80, now)));
}

#[test]
fn an_address_of_no_host_is_a_problem_and_a_set_of_such_is_a_failure() {
    let mut book = Book::new("app.internal");
    let now = start();
    let (targets, problems) = set(book.addresses(found(&["0.0.0.0", "10.0.0.1"]), 80, now));
    assert_eq!(targets, ["10.0.0.1:80"]);
    assert_eq!(problems, ["0.0.0.0: it is no address of a host"]);
    for address in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1"] {
        let said = error(book.addresses(found(&[address]), 80, now));
        assert!(said.contains(address), "{said}");
    }
}

#[test]
fn hosts_of_srv_records_have_their_own_ports_and_addresses() {
    let mut book = Book::new("_http._tcp.app.internal");
    let mut came_along = srv(0, "b.", 2);
    came_along.addresses = vec![ip("10.0.0.2")];
    let services = [srv(0, "a.", 1), came_along, srv(0, "a.", 3)];
    let answers = hosts([("a.", found(&["10.0.0.1", "10.0.0.7"]))]);
    let (targets, problems) = set(book.services(&services, TTL, answers, start()));
    assert_eq!(
        targets,
        [
            "10.0.0.1:1",
            "10.0.0.1:3",
            "10.0.0.2:2",
            "10.0.0.7:1",
            "10.0.0.7:3"
        ]
    );
    assert!(problems.is_empty());
}

#[test]
fn a_host_that_fails_to_resolve_keeps_its_addresses_as_long_as_its_record_is_there() {
    let mut book = Book::new("s.internal");
    let (first, later) = (start(), start() + Duration::from_secs(9));
    let both = [srv(0, "a.", 1), srv(0, "b.", 1)];
    let good = hosts([("a.", found(&["10.0.0.1"])), ("b.", found(&["10.0.0.2"]))]);
    set(book.services(&both, TTL, good, first));
    for _ in 0..3 {
        let answers = hosts([("a.", failed()), ("b.", found(&["10.0.0.2"]))]);
        let verdict = book.services(&both, TTL, answers, later);
        let Verdict::Set {
            targets,
            problems,
            ttl,
        } = verdict
        else {
            panic!("no set");
        };
        assert_eq!(ttl, super::UNRESOLVED_TTL, "it is asked again soon");
        let seen: Vec<Instant> = targets.iter().map(|target| target.confirmed_at).collect();
        assert_eq!(seen, [first, later], "a failed look confirms nothing");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].subject, "a.:1");
        assert_eq!(problems[0].reason, "its last addresses are kept: SERVFAIL");
    }
    let only_b = [srv(0, "b.", 1)];
    let (targets, _) = set(book.services(&only_b, TTL, hosts([("b.", failed())]), later));
    assert_eq!(targets, ["10.0.0.2:1"]);
    let answers = hosts([("a.", failed()), ("b.", failed())]);
    let (targets, problems) = set(book.services(&both, TTL, answers, later));
    assert_eq!(
        targets,
        ["10.0.0.2:1"],
        "what left with its record is not remembered"
    );
    assert_eq!(problems.len(), 2);
}

#[test]
fn a_host_that_the_zone_denies_twice_goes_and_stays_gone_through_failures() {
    let mut book = Book::new("s.internal");
    let mut now = start();
    let one = [srv(0, "a.", 1)];
    let mut look = |answer| {
        now += STEP;
        book.services(&one, TTL, hosts([("a.", answer)]), now)
    };
    set(look(found(&["10.0.0.1"])));
    assert_eq!(set(look(nothing())).0, ["10.0.0.1:1"]);
    assert_eq!(set(look(failed())).0, ["10.0.0.1:1"]);
    assert_eq!(set(look(nothing())).0, ["10.0.0.1:1"], "not in a row");
    let (targets, problems) = set(look(nothing()));
    assert_eq!(
        (targets.len(), problems),
        (0, vec!["a.:1: NXDOMAIN".to_owned()])
    );
    assert_eq!(set(look(failed())).0.len(), 0);
    assert_eq!(set(look(found(&["10.0.0.3"]))).0, ["10.0.0.3:1"]);
}

#[test]
fn a_set_that_is_empty_only_because_no_host_resolves_is_a_failure() {
    let mut book = Book::new("s.internal");
    let one = [srv(0, "a.", 1)];
    for _ in 1..WHOLE_LOOKS {
        let verdict = book.services(&one, TTL, hosts([("a.", failed())]), start());
        assert_eq!(unconfirmed(&verdict), Some(FIRST_TTL));
    }
    let said = error(book.services(&one, TTL, hosts([("a.", failed())]), start()));
    assert!(said.contains("a.:1: SERVFAIL"), "{said}");
    let mut zero = srv(0, "b.", 0);
    zero.addresses = vec![ip("10.0.0.1")];
    let said = error(book.services(&[zero], TTL, hosts([]), start()));
    assert!(said.contains("port 0"), "{said}");
}

#[test]
fn a_higher_priority_number_counts_only_while_the_lower_ones_have_nobody() {
    let mut book = Book::new("s.internal");
    let mut now = start();
    let all = [srv(20, "c.", 3), srv(10, "a.", 1), srv(10, "b.", 2)];
    let mut look = |a, b| {
        now += STEP;
        let answers = hosts([("a.", a), ("b.", b), ("c.", found(&["10.0.0.3"]))]);
        set(book.services(&all, TTL, answers, now)).0
    };
    look(found(&["10.0.0.1"]), found(&["10.0.0.2"]));
    assert_eq!(look(found(&["10.0.0.1"]), nothing()).len(), 2);
    assert_eq!(look(found(&["10.0.0.1"]), nothing()), ["10.0.0.1:1"]);
    assert_eq!(look(nothing(), nothing()), ["10.0.0.1:1"]);
    assert_eq!(look(nothing(), nothing()), ["10.0.0.3:3"]);
    assert_eq!(look(nothing(), found(&["10.0.0.2"])), ["10.0.0.2:2"]);
}

#[test]
fn the_first_looks_are_not_taken_without_a_host_that_fails_and_later_ones_are() {
    let both = [srv(0, "a.", 1), srv(0, "b.", 1)];
    let half = || hosts([("a.", failed()), ("b.", found(&["10.0.0.2"]))]);
    let mut book = Book::new("s.internal");
    for _ in 1..WHOLE_LOOKS {
        let verdict = book.services(&both, TTL, half(), start());
        assert_eq!(unconfirmed(&verdict), Some(FIRST_TTL));
    }
    let (targets, _) = set(book.services(&both, TTL, half(), start()));
    assert_eq!(targets, ["10.0.0.2:1"], "it must not keep out the others");
    // Once all has been seen, what fails is kept.
    let mut book = Book::new("s.internal");
    let whole = hosts([("a.", found(&["10.0.0.1"])), ("b.", found(&["10.0.0.2"]))]);
    set(book.services(&both, TTL, whole, start()));
    assert_eq!(set(book.services(&both, TTL, half(), start())).0.len(), 2);
}
