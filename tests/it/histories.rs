//! Thousands of random histories of two ECS services on shared hosts: tasks that come and go, ports
//! that are used again at once, hosts that are lost, clocks that jump; revisions that speak another
//! protocol; looks that fail in whole (a page) and in part, and calls that are throttled; and
//! events that are lost, doubled, late and in no order.

mod mail;
mod world;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt as _;
use world::World;

const HISTORIES: u64 = 2_400;
const STEPS: usize = 60;
/// The most that a task is kept for want of an answer; see `book.rs`.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much was seen of what was meant to be tried.
#[derive(Debug, Default)]
struct Seen {
    /// Looks that saw everything.
    looks: usize,
    /// Looks that were throttled.
    throttled: usize,
    /// Events that arrived.
    events: usize,
    /// Steps after which a service was spoken to in something else than before.
    changed_over: usize,
}

fn play(seed: u64) -> Result<Seen, String> {
    let mut world = World::new(seed);
    let chance = [0, 10, 40][usize::try_from(seed % 3).expect("small")];
    // Some services have no queue.
    let queue = !seed.is_multiple_of(4);
    let mut seen = Seen::default();
    for step in 0..STEPS {
        let spoken = [0, 1].map(|service| world.spoken(service).0);
        let fault = |what: String| format!("seed {seed}, step {step}: {what}");
        match world.rng.random_range(0..20) {
            0..8 => world.start(),
            8..12 => world.end(true),
            12..14 => world.end(false),
            14 => world.lose_host(),
            15 => world.learn(),
            // A clock that jumps, a laptop that slept.
            16 => world.pass(Duration::from_secs(3600)),
            17 => world.revise(),
            18 if chance > 0 => world.throttle(),
            _ => {}
        }
        let pause = Duration::from_millis(world.rng.random_range(50..8_000));
        world.pass(pause);
        // Events before the looks, between them, and after them.
        let mut deliver = |world: &mut World| {
            if queue {
                seen.events += world.deliver(chance).map_err(fault)?;
                always(world).map_err(fault)?;
            }
            Ok::<_, String>(())
        };
        deliver(&mut world)?;
        for service in 0..2 {
            if world.rng.random_range(0..4) == 0 {
                continue;
            }
            let before: Vec<u32> = world.candidates(service).into_keys().collect();
            seen.throttled += usize::from(world.is_throttled());
            if world.look(service, chance) {
                world.blind_since[service] = None;
                seen.looks += 1;
                whole(&world, service).map_err(fault)?;
            } else {
                let since = *world.blind_since[service].get_or_insert(world.now);
                if world.now - since < PATIENCE {
                    kept(&world, service, &before).map_err(fault)?;
                }
            }
            always(&world).map_err(fault)?;
            deliver(&mut world)?;
        }
        let after = [0, 1].map(|service| world.spoken(service).0);
        let changed = spoken.iter().zip(&after).filter(|(a, b)| a != b);
        seen.changed_over += changed.count();
    }
    Ok(seen)
}

/// What holds after each step, whatever has failed.
fn always(world: &World) -> Result<(), String> {
    let candidates = [world.candidates(0), world.candidates(1)];
    let all = || candidates.iter().flatten();
    let risen: Vec<_> = all().filter(|(id, _)| world.told.contains(id)).collect();
    if !risen.is_empty() {
        return Err(format!("targets although their end was told: {risen:?}"));
    }
    let spoken = [0, 1].map(|service| world.spoken(service));
    if !spoken.iter().all(|(_, same)| *same) {
        return Err(format!(
            "a target is not spoken to like its group: {spoken:?}"
        ));
    }
    let distinct: BTreeSet<&SocketAddr> = all().map(|(_, at)| at).collect();
    if distinct.len() != all().count() {
        return Err(format!("one address twice: {candidates:?}"));
    }
    Ok(())
}

/// What holds after a look that saw everything.
fn whole(world: &World, service: usize) -> Result<(), String> {
    let candidates = world.candidates(service);
    // ECS may not know of an end yet; then an address may be the next one's already, and the
    // younger task has it.
    let all: Vec<(u32, SocketAddr)> = [world.truth(0), world.truth(1)]
        .into_iter()
        .flatten()
        .collect();
    let mut truth = world.truth(service);
    truth.retain(|id, at| !all.iter().any(|(rival, other)| other == at && rival > id));
    let known = world.candidates(1 - service);
    let surplus: Vec<_> = candidates
        .iter()
        .filter(|(id, at)| {
            // The other service does not know its newcomer yet.
            truth.get(id) != Some(at) && known.values().any(|other| other == *at)
        })
        .collect();
    let missing: Vec<_> = truth
        .iter()
        .filter(|(id, _)| world.tasks[id].alive && !candidates.contains_key(id))
        .collect();
    let stopped: Vec<_> = candidates
        .keys()
        .filter(|id| !world.tasks[id].wanted)
        .collect();
    if surplus.is_empty() && missing.is_empty() && stopped.is_empty() {
        return Ok(());
    }
    Err(format!(
        "after a whole look: {surplus:?} too many, {missing:?} missing, {stopped:?} stopped"
    ))
}

/// What holds after a look that did not, as long as it is no use to believe it.
fn kept(world: &World, service: usize, before: &[u32]) -> Result<(), String> {
    let candidates = world.candidates(service);
    let lost: Vec<_> = before
        .iter()
        .filter(|id| {
            let task = &world.tasks[id];
            task.alive && task.wanted && !candidates.contains_key(id)
        })
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err(format!("good targets lost through an outage: {lost:?}"))
}

#[test]
fn no_history_loses_a_good_target_or_keeps_a_stopped_one_or_shares_an_address() {
    let first = std::env::var("LONGSHORE_SEED").map_or(0, |seed| seed.parse().expect("a number"));
    println!("seeds {first} to {}", first + HISTORIES - 1);
    let mut all = Seen::default();
    let mut faults = Vec::new();
    for seed in first..first + HISTORIES {
        match play(seed) {
            Ok(seen) => {
                all.looks += seen.looks;
                all.events += seen.events;
                all.throttled += seen.throttled;
                all.changed_over += seen.changed_over;
            }
            Err(fault) => faults.push(fault),
        }
    }
    println!("{all:?}");
    assert!(
        faults.is_empty(),
        "{} of {HISTORIES}, such as\n{}",
        faults.len(),
        faults[..faults.len().min(5)].join("\n")
    );
    assert!(all.looks > 10_000 && all.events > 10_000, "{all:?}");
    assert!(all.throttled > 1_000 && all.changed_over > 1_000, "{all:?}");
}
