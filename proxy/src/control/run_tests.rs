use std::time::Duration;

use longshore_discovery::Update;
use tokio::sync::{mpsc, watch};

use super::{Event, KEEP_AGAIN, Message, tell, watch_over};
use crate::clock;
use crate::control::ids::GroupId;
use crate::control::remembered::tests::target;

#[tokio::test]
async fn a_set_is_kept_when_it_is_another_or_old_also_if_the_first_is_empty() {
    let (keep, mut kept) = watch::channel(None);
    let (updates, inbox) = mpsc::channel(1);
    let (outbox, mut messages) = mpsc::channel(1);
    tokio::spawn(tell(GroupId(0), inbox, keep, outbox));
    let begin = clock::now();
    let second = Duration::from_secs(1);
    let old = KEEP_AGAIN;
    for (ids, after, is_kept) in [
        (&[][..], Duration::ZERO, true),
        (&[], second, false),
        (&[1], 2 * second, true),
        (&[1], old, false),
        (&[1], old + 2 * second, true),
        (&[1], 2 * old, false),
        (&[2], 2 * old, true),
        (&[], 2 * old, true),
    ] {
        let set = Update::Set {
            targets: ids.iter().copied().map(target).collect(),
            problems: Vec::new(),
            at: begin + after,
        };
        updates.send(set).await.expect("it listens");
        messages.recv().await.expect("handed on");
        assert_eq!(
            kept.has_changed().expect("there"),
            is_kept,
            "{ids:?} {after:?}"
        );
        if is_kept {
            let kept = kept.borrow_and_update();
            assert_eq!(kept.as_ref().map(Vec::len), Some(ids.len()));
        }
    }
}

#[tokio::test]
async fn a_source_that_a_fault_has_ended_has_failed_and_begins_anew() {
    let (outbox, mut messages) = mpsc::channel(2);
    let faulty = async { panic!("a fault") };
    watch_over(GroupId(3), faulty, outbox.clone(), Duration::ZERO).await;
    let told = messages.try_recv();
    let Ok(Message::Event(Event::Discovered(GroupId(3), Update::Failed { error, .. }))) = told
    else {
        panic!("it was told of");
    };
    assert!(error.contains("a fault of its own"), "{error}");
    let told = messages.try_recv();
    assert!(matches!(
        told,
        Ok(Message::Event(Event::SourceEnded(GroupId(3))))
    ));
    watch_over(GroupId(3), async {}, outbox, Duration::ZERO).await;
    assert!(
        messages.try_recv().is_err(),
        "one that nobody wants any more"
    );
}
