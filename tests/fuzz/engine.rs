//! Seeded mutation without coverage. In its place each target tells what came of an input; an input
//! with an outcome that was not seen before joins the pool that mutations are made of.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// The most inputs that mutations are made of.
const POOL_MAX: usize = 4096;

/// The longest input.
const INPUT_MAX: usize = 8192;

/// Shows the input of a target that panics.
struct Shown<'i> {
    target: &'i str,
    seed: u64,
    case: u64,
    input: &'i [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}: seed {}, case {}: \"{}\"",
                self.target,
                self.seed,
                self.case,
                self.input.escape_ascii()
            );
        }
    }
}

/// The number of an outcome.
pub(crate) fn outcome(of: impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The corpus of a file: each line is an input, with `\r`, `\n`, `\t`, `\0`, `\xNN` and `\\`.
pub(crate) fn corpus(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    lines.map(unescape).collect()
}

fn unescape(line: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next().expect("an escape") {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'0' => out.push(0),
            b'x' => {
                let digits = [
                    bytes.next().expect("a digit"),
                    bytes.next().expect("a digit"),
                ];
                let digits = std::str::from_utf8(&digits).expect("digits");
                out.push(u8::from_str_radix(digits, 16).expect("digits"));
            }
            other => out.push(other),
        }
    }
    out
}

/// Runs a target, with so many cases in the test command. `words` are put into inputs; `judge` panics if a promise is broken, and tells
/// what came of the input.
pub(crate) fn run(
    target: &str,
    cases: u64,
    corpus: &[Vec<u8>],
    words: &[&[u8]],
    judge: impl Fn(&[u8]) -> u64,
) {
    let seed = std::env::var("LONGSHORE_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let time = std::env::var("LONGSHORE_FUZZ_SECONDS")
        .ok()
        .map(|seconds| Duration::from_secs(seconds.parse().expect("a number of seconds")));
    println!("{target}: seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut pool = corpus.to_vec();
    let mut seen = HashSet::new();
    let began = Instant::now();
    let mut case = 0;
    let mut look = |case, input: &[u8]| {
        let shown = Shown {
            target,
            seed,
            case,
            input,
        };
        let is_new = seen.insert(judge(input));
        drop(shown);
        is_new
    };
    for input in corpus {
        look(case, input);
        case += 1;
    }
    loop {
        let over = time.map_or(case >= cases, |time| {
            case.is_multiple_of(256) && began.elapsed() >= time
        });
        if over {
            break;
        }
        let input = mutated(&pool, words, &mut rng);
        if look(case, &input) && pool.len() < POOL_MAX {
            pool.push(input);
        }
        case += 1;
    }
    println!(
        "{target}: {case} cases in {:.1} s, {} inputs in the pool, no finding",
        began.elapsed().as_secs_f32(),
        pool.len()
    );
}

fn mutated(pool: &[Vec<u8>], words: &[&[u8]], rng: &mut SmallRng) -> Vec<u8> {
    let mut input = pool.choose(rng).cloned().unwrap_or_default();
    for _ in 0..=rng.random_range(0..4_u32) {
        let at = rng.random_range(0..=input.len());
        let until = (at + rng.random_range(0..16)).min(input.len());
        match rng.random_range(0..9) {
            0 => flip(&mut input, rng),
            1 => drop(input.drain(at..until)),
            2 => {
                let part = input[at..until].to_vec();
                input.splice(at..at, part);
            }
            3 => input.truncate(at),
            4 => {
                let other = pool.choose(rng).cloned().unwrap_or_default();
                let from = rng.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            5 => {
                let mut bytes = [0; 4];
                rng.fill_bytes(&mut bytes);
                input.splice(at..at, bytes);
            }
            6 => {
                let many = rng.random_range(1..300);
                let byte = input.get(at).copied().unwrap_or(b'0');
                input.splice(at..at, std::iter::repeat_n(byte, many));
            }
            7 => {
                let word = words.choose(rng).copied().unwrap_or_default();
                input.splice(at..until, word.iter().copied());
            }
            _ => {
                let word = words.choose(rng).copied().unwrap_or_default();
                input.splice(at..at, word.iter().copied());
            }
        }
    }
    input.truncate(INPUT_MAX);
    input
}

fn flip(input: &mut [u8], rng: &mut SmallRng) {
    if !input.is_empty() {
        let at = rng.random_range(0..input.len());
        input[at] ^= 1 << rng.random_range(0..8);
    }
}
