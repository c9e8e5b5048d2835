use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::api::{ApiError, Detail, Event, Summary};
use super::super::resolve::tests::{port, spec};
use super::{Answer, Book, Inspection};

fn running(id: &str, public: u16) -> Summary {
    Summary {
        id: id.into(),
        name: Some(format!("name-of-{id}").into()),
        state: Some("running".to_owned()),
        labels: Some(spec().labels),
        ports: vec![port(80, "0.0.0.0", public)],
        ..Summary::default()
    }
}

fn since(started_at: i64) -> Detail {
    Detail {
        running: true,
        started_at: Some(started_at),
        ..Detail::default()
    }
}

fn event(id: &str, action: &str, at: i64) -> Event {
    Event {
        id: id.into(),
        action: action.to_owned(),
        at: Some(at),
        signal: None,
    }
}

fn kill(id: &str, signal: u8, at: i64) -> Event {
    Event {
        signal: Some(signal),
        ..event(id, "kill", at)
    }
}

fn failed() -> ApiError {
    ApiError {
        operation: "GET /containers/{id}/json",
        reason: "reset".to_owned(),
    }
}

/// A book, and its clock: seconds from the start.
struct Play {
    book: Book,
    start: Instant,
}

impl Play {
    fn new() -> Self {
        Self {
            book: Book::default(),
            start: Instant::now(),
        }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn asks(&self, second: u64, list: &[Summary]) -> Vec<Arc<str>> {
        self.book.to_inspect(list, self.at(second))
    }

    /// A look whose inspections, of exactly those containers that are wanted, say `detail`.
    fn look(
        &mut self,
        second: u64,
        list: &[Summary],
        detail: impl Fn(&str) -> Result<Option<Detail>, ApiError>,
    ) {
        let began = self.at(second);
        let inspected = self.asks(second, list).into_iter();
        let inspected = inspected
            .map(|id| Inspection {
                asked_at: began + Duration::from_millis(1),
                result: detail(&id),
                id,
            })
            .collect();
        self.book.looked(Answer {
            began,
            list: list.to_vec(),
            inspected,
        });
    }

    fn hear(&mut self, second: u64, event: &Event) -> bool {
        let at = self.at(second);
        self.book.heard(event, at)
    }

    /// The ids and host ports of the targets.
    fn targets(&self) -> Vec<(String, u16)> {
        let (targets, _) = self.book.targets(&spec());
        targets
            .iter()
            .map(|target| (target.key.task.to_string(), target.address.port()))
            .collect()
    }

    fn problem(&self) -> String {
        let (_, problems) = self.book.targets(&spec());
        assert_eq!(problems.len(), 1, "{problems:?}");
        format!("{}: {}", problems[0].subject, problems[0].reason)
    }
}

fn both() -> Vec<(String, u16)> {
    vec![("a".to_owned(), 1), ("b".to_owned(), 2)]
}

/// Two containers that are targets, seen in second 1.
fn two() -> (Play, Vec<Summary>) {
    let mut play = Play::new();
    let list = vec![running("a", 1), running("b", 2)];
    play.look(1, &list, |_| Ok(Some(since(1_000))));
    assert_eq!(play.targets(), both());
    (play, list)
}

#[test]
fn who_dies_stops_or_is_paused_leaves_before_any_list() {
    for event in [
        event("a", "die", 2_000),
        event("a", "stop", 2_000),
        event("a", "destroy", 2_000),
        event("a", "pause", 2_000),
        kill("a", 15, 2_000),
        kill("a", 9, 2_000),
    ] {
        let (mut play, _) = two();
        assert!(play.hear(2, &event), "{event:?}");
        assert_eq!(play.targets(), both()[1..], "{event:?}");
        assert!(play.problem().starts_with("name-of-a: "));
        assert!(!play.hear(2, &event), "it has left already");
    }
}

#[test]
fn other_events_and_other_signals_remove_nobody() {
    let (mut play, list) = two();
    for event in [
        event("a", "start", 2_000),
        event("a", "health_status: unhealthy", 2_000),
        event("stranger", "die", 2_000),
        kill("a", 1, 2_000),
        event("a", "kill", 2_000),
    ] {
        assert!(!play.hear(2, &event), "{event:?}");
        assert_eq!(play.targets(), both());
    }
    // But what was known of it is asked again.
    assert_eq!(play.asks(3, &list), [Arc::from("a")]);
}

#[test]
fn the_images_own_stop_signal_is_a_stop() {
    let mut play = Play::new();
    let stopped_by_quit = Detail {
        stop_signal: Some(3),
        ..since(1_000)
    };
    play.look(1, &[running("a", 1)], |_| Ok(Some(stopped_by_quit.clone())));
    assert!(play.hear(2, &kill("a", 3, 2_000)));
    assert!(play.problem().contains("signal 3"));
}

#[test]
fn a_list_from_before_the_end_brings_nobody_back() {
    let (mut play, list) = two();
    assert!(play.hear(3, &event("a", "die", 3_000)));
    // The look began in second 2 and ends now. An inspection may even show the next run: the
    // ports of the list are still those of the former one.
    let began = play.at(2);
    play.book.looked(Answer {
        began,
        list,
        inspected: vec![Inspection {
            id: "a".into(),
            asked_at: play.at(4),
            result: Ok(Some(since(3_500))),
        }],
    });
    assert_eq!(play.targets(), both()[1..]);
}

#[test]
fn an_end_is_remembered_for_a_container_that_a_look_in_flight_finds() {
    let mut play = Play::new();
    assert!(!play.hear(2, &event("a", "die", 2_000)));
    play.look(1, &[running("a", 1)], |_| Ok(Some(since(1_000))));
    assert_eq!(play.targets(), []);
    play.look(3, &[], |_| Ok(None));
    assert!(play.book.leaving.is_empty());
}

#[test]
fn a_container_that_is_told_to_stop_stays_out_while_it_still_runs() {
    let (mut play, list) = two();
    play.hear(2, &kill("a", 15, 2_000));
    for second in [3, 10, 40, 61] {
        play.look(second, &list, |_| Ok(Some(since(1_000))));
        assert_eq!(play.targets(), both()[1..], "second {second}");
    }
    // Whoever sent the signal did not mean an end.
    play.look(62, &list, |_| Ok(Some(since(1_000))));
    assert_eq!(play.targets(), both());
}

#[test]
fn a_container_with_a_long_time_to_stop_is_given_it() {
    let (mut play, list) = two();
    let patient = Detail {
        stop_seconds: Some(300),
        ..since(1_000)
    };
    play.hear(2, &kill("a", 15, 2_000));
    for (second, count) in [(311, 1), (312, 2)] {
        play.look(second, &list, |_| Ok(Some(patient.clone())));
        assert_eq!(play.targets().len(), count, "second {second}");
    }
}

#[test]
fn a_restart_in_place_is_the_same_target_at_its_new_port() {
    let (mut play, _) = two();
    let before = play.book.targets(&spec()).0[0].key.clone();
    assert!(play.hear(2, &event("a", "die", 2_000)));
    play.hear(2, &event("a", "start", 2_500));
    let list = [running("a", 7), running("b", 2)];
    play.look(3, &list, |_| Ok(Some(since(2_400))));
    let (targets, _) = play.book.targets(&spec());
    assert_eq!(targets[0].key, before);
    assert_eq!(targets[0].address.port(), 7);
    assert_eq!(targets[0].started_at, Some(2_400));
}

#[test]
fn an_event_of_a_former_run_that_is_told_again_removes_nobody() {
    let (mut play, _) = two();
    assert!(!play.hear(2, &event("a", "die", 999)));
    assert_eq!(play.targets(), both());
}

#[test]
fn a_paused_container_is_back_when_it_goes_on() {
    let (mut play, list) = two();
    assert!(play.hear(2, &event("a", "pause", 2_000)));
    // The list has running containers only.
    let paused = Detail {
        running: false,
        paused: true,
        ..since(1_000)
    };
    play.look(3, &list[1..], |_| Ok(Some(paused.clone())));
    assert_eq!(play.targets(), both()[1..]);
    play.hear(4, &event("a", "unpause", 4_000));
    play.look(5, &list, |_| Ok(Some(since(1_000))));
    assert_eq!(play.targets(), both());
    play.hear(6, &event("a", "pause", 6_000));
    play.hear(6, &event("a", "unpause", 6_100));
    play.look(7, &list, |_| Ok(Some(since(1_000))));
    assert_eq!(play.targets(), both());
}

#[test]
fn who_left_the_list_is_asked_about_before_it_goes() {
    let (mut play, list) = two();
    assert_eq!(play.asks(2, &list[1..]), [Arc::from("a")]);
    play.look(2, &list[1..], |_| Ok(Some(since(1_000))));
    assert_eq!(play.targets(), both(), "the engine says that it runs");
    let (targets, _) = play.book.targets(&spec());
    assert_eq!(
        targets[0].confirmed_at,
        play.at(1),
        "but nothing confirms it"
    );
    play.look(3, &list[1..], |_| Err(failed()));
    assert_eq!(play.targets(), both(), "no answer is no end");
    assert!(play.problem().contains("kept as it was"));
    // Whoever runs anew waits for a list with its ports; whoever is not known is gone.
    for answer in [None, Some(since(3_900))] {
        let before = play.book.clone();
        play.look(4, &list[1..], |_| Ok(answer.clone()));
        assert_eq!(play.targets(), both()[1..]);
        play.book = before;
    }
}

#[test]
fn nobody_is_kept_without_a_list_for_ever() {
    let (mut play, list) = two();
    play.look(10, &list[1..], |_| Err(failed()));
    play.look(69, &list[1..], |_| Err(failed()));
    assert_eq!(play.targets(), both());
    play.look(70, &list[1..], |_| Err(failed()));
    assert_eq!(play.targets(), both()[1..]);
}

#[test]
fn an_inspection_that_fails_leaves_a_container_as_it_was() {
    let (mut play, mut list) = two();
    list.push(running("c", 3));
    play.hear(2, &event("a", "health_status: unhealthy", 2_000));
    play.look(3, &list, |_| Err(failed()));
    assert_eq!(play.targets(), both(), "a stays, c is not known yet");
    assert!(play.book.is_unsettled());
    play.look(4, &list, |id| {
        let mut detail = since(1_000);
        detail.health = (id == "a").then(|| "unhealthy".to_owned());
        Ok(Some(detail))
    });
    assert!(!play.book.is_unsettled());
    assert_eq!(play.targets(), [("b".to_owned(), 2), ("c".to_owned(), 3)]);
    assert!(play.problem().contains("unhealthy"));
}

#[test]
fn only_what_is_new_in_motion_or_old_is_inspected() {
    let (mut play, mut list) = two();
    assert_eq!(play.asks(60, &list), Vec::<Arc<str>>::new());
    assert_eq!(
        play.asks(62, &list).len(),
        2,
        "an inspection is believed for a minute"
    );
    list.push(running("c", 3));
    assert_eq!(play.asks(2, &list), [Arc::from("c")]);
    play.look(2, &list, |_| {
        Ok(Some(Detail {
            health: Some("starting".to_owned()),
            ..since(1_500)
        }))
    });
    assert_eq!(play.asks(3, &list), [Arc::from("c")]);
    let at = play.at(3);
    play.book.missed_events(at);
    assert_eq!(play.asks(4, &list).len(), 3);
}

#[test]
fn an_event_during_an_inspection_brings_another_one() {
    let (mut play, list) = two();
    let asked_at = play.at(2);
    play.hear(3, &event("a", "health_status: unhealthy", 3_000));
    play.book.looked(Answer {
        began: asked_at,
        list: list.clone(),
        inspected: vec![Inspection {
            id: "a".into(),
            asked_at,
            result: Ok(Some(since(1_000))),
        }],
    });
    assert_eq!(play.asks(4, &list), [Arc::from("a")]);
}

#[test]
fn malformed_elements_fail_nobody_else() {
    let mut play = Play::new();
    let list = [
        Summary::default(),
        Summary {
            name: None,
            ..running("0123456789abcdef", 1)
        },
        running("b", 2),
        running("b", 2),
    ];
    play.look(1, &list, |_| Ok(Some(since(1_000))));
    let (targets, problems) = play.book.targets(&spec());
    assert_eq!(targets.len(), 2);
    assert_eq!(&*targets[0].key.container, "0123456789ab");
    assert_eq!(problems.len(), 1);
    assert!(problems[0].reason.contains("id"));
    play.look(2, &list[2..], |_| Ok(None));
    assert_eq!(
        play.book.targets(&spec()).1,
        [],
        "what was malformed is gone"
    );
}

#[test]
fn a_renamed_container_stays_the_same_target() {
    let (mut play, mut list) = two();
    let before = play.book.targets(&spec()).0[0].key.clone();
    list[0].name = Some("old-a".into());
    play.look(2, &list, |_| Ok(Some(since(1_000))));
    assert_eq!(play.book.targets(&spec()).0[0].key, before);
}

#[test]
fn an_engine_that_checks_a_healthy_container_from_the_beginning_makes_nobody_leave() {
    let says = |health: &str, started_at| {
        let health = Some(health.to_owned());
        move |_: &str| {
            Ok(Some(Detail {
                health: health.clone(),
                ..since(started_at)
            }))
        }
    };
    let mut play = Play::new();
    let list = [running("a", 1)];
    play.look(1, &list, says("starting", 1_000));
    assert!(play.targets().is_empty(), "it never was healthy");
    play.look(2, &list, says("healthy", 1_000));
    for second in [3, 4] {
        play.book.missed_events(play.at(second));
        play.look(second, &list, says("starting", 1_000));
        assert_eq!(play.targets().len(), 1);
        assert_eq!(play.asks(second, &list).len(), 1, "it is asked about again");
    }
    play.look(5, &list, says("unhealthy", 1_000));
    assert!(play.targets().is_empty());
    play.look(6, &list, says("healthy", 1_000));
    play.book.missed_events(play.at(7));
    play.look(7, &list, says("starting", 7_000));
    assert!(play.targets().is_empty(), "another run");
}

#[test]
fn who_was_never_described_is_named_and_inspected_last() {
    let (mut play, mut list) = two();
    assert_eq!(play.book.unseen(&spec()), None);
    list.insert(0, running("0", 3));
    play.look(2, &list, |_| Err(failed()));
    let unseen = play.book.unseen(&spec()).expect("one");
    assert!(unseen.starts_with("name-of-0: "), "{unseen}");
    list.push(running("z", 4));
    let asked: Vec<String> = play
        .asks(3, &list)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(asked, ["z", "0"]);
}
