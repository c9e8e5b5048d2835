//! What the kernel accounts: CPU time and memory of a process with its children,
//! and how busy a core was.

use std::collections::BTreeMap;
use std::fs;

use crate::failure::{Context as _, Result, fail};

/// The fields of `/proc/PID/stat` in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// utime + stime of all threads, and those of children that ended and were
    /// waited for: a worker that is replaced must not take its time with it.
    ticks: u64,
}

/// Clock ticks of one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CoreTicks {
    /// All but idle and waiting for a disk; includes what the hypervisor took.
    pub(crate) busy: u64,
    /// All.
    pub(crate) total: u64,
}

/// CPU time in clock ticks of a process and all its descendants.
pub(crate) fn tree_ticks(root: u32) -> Result<u64> {
    let all = processes();
    if !all.contains_key(&root) {
        return fail(format!("process {root} is gone"));
    }
    Ok(descendants(&all, root)
        .iter()
        .filter_map(|id| all.get(id))
        .map(|stat| stat.ticks)
        .sum())
}

/// Resident memory in KiB of a process and all its descendants.
pub(crate) fn tree_resident_kib(root: u32) -> u64 {
    tree(root)
        .into_iter()
        .filter_map(|id| fs::read_to_string(format!("/proc/{id}/status")).ok())
        .filter_map(|status| parse_resident(&status))
        .sum()
}

/// A process and all its descendants, itself first.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    descendants(&processes(), root)
}

/// How busy a core was since the start of the machine.
pub(crate) fn core_ticks(core: usize) -> Result<CoreTicks> {
    let text = fs::read_to_string("/proc/stat").context(|| "cannot read /proc/stat".into())?;
    match parse_core(&text, core) {
        Some(ticks) => Ok(ticks),
        None => fail(format!("/proc/stat has no cpu{core}")),
    }
}

/// All processes that can be seen. Those that end meanwhile are left out.
fn processes() -> BTreeMap<u32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id: u32| {
            let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            Some((id, parse_stat(&text)?))
        })
        .collect()
}

fn descendants(all: &BTreeMap<u32, Stat>, root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(
            all.iter()
                .filter(|(_, stat)| stat.parent == parent)
                .map(|(&id, _)| id),
        );
        next += 1;
    }
    found
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name is in parentheses and may hold spaces and parentheses itself.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
    })
}

fn parse_resident(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

fn parse_core(text: &str, core: usize) -> Option<CoreTicks> {
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
    // user nice system idle iowait irq softirq steal; guest time, which follows,
    // is in user already.
    let fields: Vec<u64> = line
        .split_ascii_whitespace()
        .take(8)
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()
        .ok()?;
    let total = fields.iter().sum();
    let idle: u64 = fields.get(3..5)?.iter().sum();
    Some(CoreTicks {
        busy: total - idle,
        total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_a_name_with_spaces_and_parentheses() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194304 100 0 0 0 30 12 5 3 20 0 1 0 99 1 1\n";
        let expected = Stat {
            parent: 7,
            ticks: 50,
        };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("42 (a) S 7 42"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn descendants_are_children_and_their_children_and_nobody_else() {
        let of = |parent| Stat { parent, ticks: 1 };
        let all = BTreeMap::from([(1, of(0)), (5, of(1)), (6, of(5)), (7, of(6)), (8, of(1))]);
        assert_eq!(descendants(&all, 5), [5, 6, 7]);
        assert_eq!(descendants(&all, 9), [9]);
    }

    #[test]
    fn resident_memory_is_read_in_kib() {
        let status = "Name:\tx\nVmPeak:\t  99 kB\nVmRSS:\t    1234 kB\n";
        assert_eq!(parse_resident(status), Some(1234));
        assert_eq!(parse_resident("Name:\tzombie\n"), None);
    }

    #[test]
    fn a_core_is_busy_for_all_that_is_not_idle() {
        let text =
            "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 10 1 20 100 5 2 3 4 7 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n";
        let expected = CoreTicks {
            busy: 40,
            total: 145,
        };
        assert_eq!(parse_core(text, 0), Some(expected));
        assert_eq!(parse_core(text, 2), None);
    }

    #[test]
    fn this_process_is_found_in_proc() {
        let own = std::process::id();
        assert!(tree_ticks(own).is_ok());
        assert!(tree_resident_kib(own) > 0);
        assert!(tree(own).contains(&own));
    }
}
