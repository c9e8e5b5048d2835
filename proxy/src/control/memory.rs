//! How much memory the process has, as the kernel counts it.

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
    use super::{read, resident};

    #[test]
    fn resident_memory_is_what_the_kernel_says() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(read(status), Some(1024 * 1024));
        assert_eq!(read("Name:\tx\n"), None);
        assert!(resident() > 1024 * 1024);
    }
}
