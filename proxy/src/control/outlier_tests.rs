use std::time::{Duration, Instant};

use longshore_config::{OutlierDetection, Ranged, Span};

use super::{Cause, Next, Outlier, Phase, Trial, compare, room};
use crate::clock;
use crate::control::anomaly::Counts;
use crate::upstream::passive::Timed;
use crate::upstream::trial::Shown;

fn policy() -> OutlierDetection {
    OutlierDetection {
        base_ejection_time: Span::from_millis(1_000).expect("within"),
        max_ejection_time: Span::from_millis(5_000).expect("within"),
        failure_percent: Ranged::new(50).expect("within"),
        latency_factor: Ranged::new(3).expect("within"),
        ..OutlierDetection::default()
    }
}

fn out_for(outlier: &Outlier, now: Instant) -> Duration {
    match outlier.phase {
        Phase::Out { until, .. } => until - now,
        phase => panic!("{phase:?}"),
    }
}

#[test]
fn each_ejection_in_a_row_is_twice_as_long_up_to_the_longest() {
    let (policy, mut now) = (policy(), clock::now());
    let mut outlier = Outlier::default();
    for seconds in [1, 2, 4, 5, 5] {
        outlier.eject(Cause::Refused, &policy, now);
        assert_eq!(out_for(&outlier, now), Duration::from_secs(seconds));
        now += Duration::from_secs(seconds);
        outlier.enter(Phase::In, now);
        // It stays in for less than it was out.
        now += Duration::from_millis(900);
    }
    outlier.times = 100;
    outlier.eject(Cause::Refused, &policy, now);
    assert_eq!(out_for(&outlier, now), Duration::from_secs(5));
}

#[test]
fn who_stays_in_as_long_as_it_was_out_begins_anew() {
    let (policy, mut now) = (policy(), clock::now());
    let mut outlier = Outlier::default();
    for _ in 0..3 {
        outlier.eject(Cause::Refused, &policy, now);
        assert_eq!((outlier.times, out_for(&outlier, now).as_secs()), (1, 1));
        outlier.enter(Phase::In, now);
        now += Duration::from_secs(1);
    }
}

#[test]
fn at_most_the_share_is_out_one_of_two_may_be_and_one_always_stays() {
    let rooms = |percent| {
        let policy = OutlierDetection {
            max_ejection_percent: Ranged::new(percent).expect("within"),
            ..policy()
        };
        [0, 1, 2, 3, 10].map(|healthy| room(&policy, healthy))
    };
    assert_eq!(rooms(50), [0, 0, 1, 1, 5]);
    assert_eq!(rooms(10), [0, 0, 1, 1, 1]);
    assert_eq!(rooms(100), [0, 0, 1, 2, 9]);
}

#[test]
fn a_trial_lets_through_one_then_more_as_they_go_well() {
    let now = clock::now();
    let mut trial = Trial::new(Shown::default(), now);
    let well = |well| Shown {
        well,
        ..Shown::default()
    };
    assert_eq!(trial.next(well(0), 1, 6, now), Next::Nothing);
    assert_eq!(trial.next(well(0), 0, 6, now), Next::Nothing, "on its way");
    assert_eq!(trial.next(well(1), 0, 6, now), Next::Grant(1, false));
    assert_eq!(trial.next(well(2), 0, 6, now), Next::Grant(2, false));
    assert_eq!(trial.next(well(3), 0, 6, now), Next::Nothing);
    assert_eq!(trial.next(well(4), 0, 6, now), Next::Grant(2, false));
    assert_eq!(trial.next(well(6), 0, 6, now), Next::Return);
}

#[test]
fn one_bad_end_is_a_relapse_and_one_that_tells_nothing_is_made_up_for() {
    let now = clock::now();
    let mut trial = Trial::new(Shown::default(), now);
    let shown = |badly, untold| Shown {
        well: 0,
        badly,
        untold,
    };
    assert_eq!(trial.next(shown(0, 1), 0, 3, now), Next::Grant(1, false));
    assert_eq!(trial.next(shown(1, 1), 0, 3, now), Next::Relapse);
}

#[test]
fn a_trial_that_nobody_comes_to_takes_any_request() {
    let now = clock::now();
    let mut trial = Trial::new(Shown::default(), now);
    let later = now + Duration::from_secs(1);
    assert_eq!(trial.next(Shown::default(), 1, 3, now), Next::Nothing);
    assert_eq!(
        trial.next(Shown::default(), 1, 3, later),
        Next::Grant(1, true)
    );
}

/// Compares targets that had so many requests, errors, and microseconds for each.
fn compared(targets: &[(u64, u64, u64)]) -> Vec<Option<Cause>> {
    let mut outliers = vec![Outlier::default(); targets.len()];
    let counted = outliers.iter_mut().zip(targets);
    compare(
        counted.map(|(outlier, (requests, errors, micros))| {
            let counts = Counts {
                requests: *requests,
                errors: *errors,
            };
            let timed = Timed {
                micros: micros * requests,
                count: *requests,
            };
            (outlier, counts, timed)
        }),
        &policy(),
    )
}

#[test]
fn who_fails_half_of_its_requests_and_more_than_the_others_stands_out() {
    let bad = Some(Cause::FailurePercent);
    let good = (200, 2, 10);
    assert_eq!(compared(&[(200, 100, 10), good, good]), [bad, None, None]);
    assert_eq!(compared(&[(200, 99, 10), good, good]), [None; 3]);
    assert_eq!(compared(&[(99, 99, 10), good, good]), [None; 3], "too few");
    assert_eq!(compared(&[(200, 200, 10), good]), [None; 2], "two");
    assert_eq!(compared(&[(200, 150, 10); 3]), [None; 3], "all alike");
}

#[test]
fn who_takes_so_many_times_as_long_as_the_others_stands_out() {
    let slow = Some(Cause::Latency);
    let good = (200, 0, 1_000);
    assert_eq!(compared(&[good, (200, 0, 3_001), good]), [None, slow, None]);
    assert_eq!(compared(&[good, (200, 0, 3_000), good]), [None; 3]);
    assert_eq!(compared(&[good, (99, 0, 9_000), good]), [None; 3], "few");
    assert_eq!(
        compared(&[(5, 0, 1), (200, 0, 9_000), (5, 0, 1)]),
        [None; 3]
    );
}
