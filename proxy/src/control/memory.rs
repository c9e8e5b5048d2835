//! How much memory the process has, as the kernel counts it, and when that is too much.

/// How short of memory the process is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Pressure {
    /// It has enough.
    #[default]
    None,
    /// It has more than it may: no new connections.
    High,
    /// It has an eighth more than it may, although there are no new connections: no new requests.
    Critical,
}

impl Pressure {
    /// What it is now, after it was this. Each ends at less memory than it begins with, so that
    /// what it frees does not bring back at once what it held off. Pure.
    pub(crate) fn after(self, resident: u64, most: Option<u64>) -> Self {
        let Some(most) = most else {
            return Self::None;
        };
        let critical = match self {
            Self::Critical => most,
            Self::None | Self::High => most + most / 8,
        };
        let high = match self {
            Self::None => most,
            Self::High | Self::Critical => most - most / 20,
        };
        if resident > critical {
            Self::Critical
        } else if resident > high {
            Self::High
        } else {
            Self::None
        }
    }
}

/// Resident memory in bytes; 0 if the kernel does not tell.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status");
    status.ok().and_then(|text| read(&text)).unwrap_or(0)
}

/// proc_pid_status(5): `VmRSS:` in kilobytes.
fn read(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let rest = lines.find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::{Pressure, read, resident};

    #[test]
    fn shedding_ends_at_less_memory_than_it_begins_with() {
        let mut pressure = Pressure::None;
        for (resident, expected) in [
            (800, Pressure::None),
            (801, Pressure::High),
            (761, Pressure::High),
            (760, Pressure::None),
            (800, Pressure::None),
            (900, Pressure::High),
            (901, Pressure::Critical),
            (801, Pressure::Critical),
            (800, Pressure::High),
            (900, Pressure::High),
            (2_000, Pressure::Critical),
            (0, Pressure::None),
            (2_000, Pressure::Critical),
        ] {
            pressure = pressure.after(resident, Some(800));
            assert_eq!(pressure, expected, "{resident}");
        }
        assert_eq!(pressure.after(2_000, None), Pressure::None);
    }

    #[test]
    fn resident_memory_is_what_the_kernel_says() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(read(status), Some(1024 * 1024));
        assert_eq!(read("Name:\tx\n"), None);
        assert!(resident() > 1024 * 1024);
    }
}
