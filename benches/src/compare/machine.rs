//! What the figures were measured on.

use std::fs;

/// The line that names the machine.
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (model, cores) = parse_cpuinfo(&cpuinfo);
    format!(
        "{model}, {cores} cores, {} {}, load average at start {}",
        std::env::consts::OS,
        kernel.trim(),
        load_average(),
    )
}

fn parse_cpuinfo(text: &str) -> (&str, usize) {
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |(_, model)| model.trim());
    let cores = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    (model, cores)
}

fn load_average() -> String {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_ascii_whitespace().next().map(ToOwned::to_owned))
        .unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::parse_cpuinfo;

    #[test]
    fn the_model_and_the_number_of_cores_are_found() {
        let text =
            "processor\t: 0\nmodel name\t: Some CPU\n\nprocessor\t: 1\nmodel name\t: Some CPU\n";
        assert_eq!(parse_cpuinfo(text), ("Some CPU", 2));
        assert_eq!(parse_cpuinfo(""), ("unknown CPU", 0));
    }
}
