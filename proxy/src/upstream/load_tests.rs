use super::Load;

fn beats(one: &Load, other: &Load, now: u64) -> bool {
    one.figures(now).beats(1, &other.figures(now), 1)
}

fn seen(samples: &[(u64, bool)], now: u64) -> Load {
    let load = Load::default();
    for (micros, failed) in samples {
        load.observe(*micros, *failed, now);
    }
    load
}

#[test]
fn the_faster_one_wins_and_more_requests_in_flight_weigh_against_it() {
    let (fast, slow) = (seen(&[(1_000, false)], 0), seen(&[(5_500, false)], 0));
    assert!(beats(&fast, &slow, 1) && !beats(&slow, &fast, 1));
    for _ in 0..4 {
        fast.begin();
    }
    assert!(beats(&fast, &slow, 1));
    fast.begin();
    assert!(!beats(&fast, &slow, 1), "6 times 1 ms are more than 5.5 ms");
    for _ in 0..5 {
        fast.end();
    }
    assert!(beats(&fast, &slow, 1));
}

#[test]
fn a_peak_counts_at_once_and_is_forgotten_in_time() {
    let (peaky, other) = (seen(&[(1_000, false)], 0), seen(&[(2_000, false)], 0));
    assert!(beats(&peaky, &other, 0));
    peaky.observe(500_000, false, 10);
    other.observe(2_000, false, 10);
    assert!(!beats(&peaky, &other, 10));
    // The other goes on; of the peak nothing is left but the guess that it is as the other.
    other.observe(2_000, false, 60_000);
    let (old, new) = (peaky.figures(60_000), other.figures(60_000));
    assert!(old.say < 0.001 && new.say > 0.999);
    other.begin();
    assert!(
        beats(&peaky, &other, 60_000),
        "the idle one gets its chance"
    );
}

#[test]
fn a_target_without_a_figure_is_judged_by_its_requests_in_flight() {
    let (new, known) = (Load::default(), seen(&[(3_000, false)], 0));
    assert!(!beats(&new, &known, 0) && !beats(&known, &new, 0));
    new.begin();
    assert!(beats(&known, &new, 0), "not flooded");
    known.begin();
    known.begin();
    assert!(beats(&new, &known, 0), "not starved");
}

#[test]
fn failing_fast_is_not_being_fast() {
    let good = seen(&[(20_000, false)], 0);
    let bad = seen(&[(20_000, false)], 0);
    for now in 0..20 {
        bad.observe(100, true, now);
        good.observe(20_000, false, now);
    }
    assert!(beats(&good, &bad, 20));
    for _ in 0..20 {
        good.begin();
    }
    assert!(beats(&good, &bad, 20), "even at twenty times the load");
    // It answers again, and is as good as before.
    for now in 20..200 {
        bad.observe(20_000, false, now);
    }
    assert!(beats(&bad, &good, 200));
}

#[test]
fn a_target_that_never_succeeded_loses_too() {
    let (bad, good) = (seen(&[(100, true); 10], 0), seen(&[(20_000, false)], 0));
    let figures = bad.figures(0);
    assert!(figures.failing > 0.6, "{figures:?}");
    for _ in 0..20 {
        good.begin();
    }
    assert!(!beats(&bad, &good, 0), "{figures:?}");
}

#[test]
fn a_weight_scales_the_requests_in_flight_and_an_idle_target_has_room_for_one() {
    let (small, large) = (seen(&[(1_000, false)], 0), seen(&[(1_000, false)], 0));
    large.begin();
    assert!(small.figures(0).beats(10, &large.figures(0), 1));
    small.begin();
    assert!(!small.figures(0).beats(10, &large.figures(0), 1));
    for _ in 0..17 {
        large.begin();
    }
    assert!(
        !small.figures(0).beats(10, &large.figures(0), 1),
        "20 against 19"
    );
    large.begin();
    large.begin();
    assert!(
        small.figures(0).beats(10, &large.figures(0), 1),
        "20 against 21"
    );
}
