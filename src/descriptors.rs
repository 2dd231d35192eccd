//! How many files this process may have open, and so how many connections: without a descriptor nothing can be accepted, and
//! Admin Control and the database can't be reached either.

/// How many of so many descriptors clients may have: three of four.
#[must_use]
pub fn for_clients(limit: usize) -> usize {
    (limit - limit / 4).max(1)
}

/// The process's limit; `None` where there is none, or the system does not say.
#[must_use]
pub fn limit() -> Option<usize> {
    limit_in(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn limit_in(limits: &str) -> Option<usize> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_counts_and_unlimited_is_none() {
        let limits =
            "Max processes  7  8  processes\nMax open files            1024                 524288               files\n";
        assert_eq!(limit_in(limits), Some(1024));
        assert_eq!(limit_in("Max open files            unlimited            unlimited            files\n"), None);
        assert_eq!(limit_in(""), None);
        assert_eq!(for_clients(1024), 768);
        assert_eq!(for_clients(0), 1);
    }
}
