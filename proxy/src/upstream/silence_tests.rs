use super::{APART, ASK_AFTER, ASKED_MAX, GIVE_UP_AFTER, Signs, Silence, Step};

const HEARD: Signs = Signs {
    heard: true,
    answered: false,
    opened: false,
};
const ANSWERED: Signs = Signs {
    answered: true,
    ..HEARD
};
const OPENED: Signs = Signs {
    heard: false,
    answered: false,
    opened: true,
};
const NOTHING: Signs = Signs {
    opened: false,
    ..OPENED
};

/// A connection that is looked at each second.
struct Looks {
    silence: Silence,
    now: u64,
}

impl Looks {
    fn new() -> Self {
        Self {
            silence: Silence::new(5_000),
            now: 5_000,
        }
    }

    fn look(&mut self, signs: Signs) -> Step {
        self.now += 1_000;
        self.silence.look(self.now, signs, true)
    }

    /// How many milliseconds of silence it takes until there is something to do, and what.
    fn until(&mut self, limit: u64) -> Option<(u64, Step)> {
        (1..=limit / 1_000).find_map(|second| match self.look(NOTHING) {
            Step::Wait => None,
            step => Some((second * 1_000, step)),
        })
    }
}

#[test]
fn silence_is_asked_about_and_then_given_up() {
    let mut looks = Looks::new();
    assert_eq!(looks.look(OPENED), Step::Wait);
    // The look with the opening has counted already.
    assert_eq!(looks.until(60_000), Some((ASK_AFTER - 1_000, Step::Ask)));
    assert!(looks.silence.is_suspect());
    assert_eq!(looks.until(60_000), Some((GIVE_UP_AFTER, Step::GiveUp)));
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut looks = Looks::new();
    looks.look(OPENED);
    looks.until(60_000).expect("asked");
    for _ in 0..19 {
        assert_eq!(looks.look(NOTHING), Step::Wait);
    }
    assert_eq!(looks.look(HEARD), Step::Wait);
    assert!(!looks.silence.is_suspect());
    // Streams that are opened again and again are no sign of life.
    let mut looks = Looks::new();
    let asked = (0..30).position(|_| looks.look(OPENED) == Step::Ask);
    assert_eq!(asked, Some(9));
}

#[test]
fn it_is_asked_no_more_often_than_servers_of_grpc_take() {
    let mut looks = Looks::new();
    let mut asked = Vec::new();
    // Requests that take long, one after the other, and a target that says nothing but PONG.
    for second in 0..2_000 {
        let signs = if second % 7 == 0 { OPENED } else { NOTHING };
        if looks.look(signs) == Step::Ask {
            asked.push(looks.now);
            assert_eq!(looks.look(HEARD), Step::Wait);
        }
    }
    let few = ASKED_MAX as usize;
    for pair in asked[few - 1..].windows(2) {
        assert!(pair[1] - pair[0] >= APART, "{asked:?}");
    }
    assert!(asked.len() >= few + 5, "{asked:?}");
    // A response gives back.
    assert_eq!(looks.look(ANSWERED), Step::Wait);
    looks.look(OPENED);
    assert_eq!(looks.until(60_000), Some((ASK_AFTER - 1_000, Step::Ask)));
}

#[test]
fn a_stream_that_is_quiet_for_ever_is_asked_about_seldom() {
    let mut looks = Looks::new();
    looks.look(OPENED);
    looks.until(60_000).expect("asked");
    looks.look(HEARD);
    let (passed, step) = looks.until(1_000_000).expect("asked again");
    assert_eq!(step, Step::Ask);
    assert!(passed >= APART - 1_000, "{passed}");
}

#[test]
fn without_a_stream_nobody_waits() {
    let mut silence = Silence::new(0);
    for second in 0..1_000 {
        assert_eq!(silence.look(second * 1_000, NOTHING, false), Step::Wait);
    }
}

#[test]
fn time_in_which_this_process_stood_still_does_not_count() {
    let mut looks = Looks::new();
    looks.look(OPENED);
    looks.until(60_000).expect("asked");
    looks.now += 600_000;
    assert_eq!(looks.look(NOTHING), Step::Wait);
    assert_eq!(looks.look(HEARD), Step::Wait);
}
