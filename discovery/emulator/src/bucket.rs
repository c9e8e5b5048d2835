//! The token buckets of AWS, as documented for one account in one region.

use std::collections::BTreeMap;
use std::time::Instant;

/// What a call draws from. Operations without a documented bucket of interest are not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bucket {
    /// ListTasks, DescribeTasks, DescribeContainerInstances, ListContainerInstances.
    ClusterResources,
    /// DescribeTaskDefinition.
    TaskDefinitions,
    /// ListServices, DescribeServices.
    Services,
    /// ListClusters, DescribeClusters.
    Clusters,
    /// DescribeInstances with a filter or with pages.
    Instances,
    /// DescribeInstances with neither.
    AllInstances,
}

impl Bucket {
    /// The bucket of an operation. `narrow` says whether DescribeInstances filters or pages.
    pub(crate) fn of(operation: &str, narrow: bool) -> Option<Self> {
        Some(match operation {
            "ListTasks"
            | "DescribeTasks"
            | "DescribeContainerInstances"
            | "ListContainerInstances" => Self::ClusterResources,
            "DescribeTaskDefinition" => Self::TaskDefinitions,
            "ListServices" | "DescribeServices" => Self::Services,
            "ListClusters" | "DescribeClusters" => Self::Clusters,
            "DescribeInstances" if narrow => Self::Instances,
            "DescribeInstances" => Self::AllInstances,
            _ => return None,
        })
    }

    /// Tokens that fit, and tokens that come back each second.
    fn limits(self) -> (f64, f64) {
        match self {
            Self::ClusterResources | Self::Services | Self::Instances => (100.0, 20.0),
            Self::TaskDefinitions | Self::Clusters => (50.0, 20.0),
            Self::AllInstances => (50.0, 10.0),
        }
    }
}

/// All buckets of one account, full at the start.
#[derive(Debug)]
pub(crate) struct Buckets {
    start: Instant,
    /// Tokens left, and when that was true.
    levels: BTreeMap<Bucket, (f64, Instant)>,
}

impl Buckets {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            start: now,
            levels: BTreeMap::new(),
        }
    }

    /// Takes a token. False when there is none, which takes nothing.
    pub(crate) fn take(&mut self, bucket: Bucket, now: Instant) -> bool {
        let (burst, refill) = bucket.limits();
        let (level, since) = self.levels.entry(bucket).or_insert((burst, self.start));
        let passed = now.saturating_duration_since(*since).as_secs_f64();
        *level = (*level + passed * refill).min(burst);
        *since = now;
        if *level < 1.0 {
            return false;
        }
        *level -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn taken(buckets: &mut Buckets, operation: &str, now: Instant) -> usize {
        let bucket = Bucket::of(operation, true).expect("the operation has a bucket");
        (0..1000).take_while(|_| buckets.take(bucket, now)).count()
    }

    #[test]
    fn a_burst_is_a_hundred_calls_and_a_second_gives_twenty_more() {
        let start = Instant::now();
        let mut buckets = Buckets::new(start);
        assert_eq!(taken(&mut buckets, "ListTasks", start), 100);
        let later = start + Duration::from_secs(1);
        assert_eq!(taken(&mut buckets, "ListTasks", later), 20);
    }

    #[test]
    fn tasks_and_container_instances_share_a_bucket_and_services_have_their_own() {
        let now = Instant::now();
        let mut buckets = Buckets::new(now);
        assert_eq!(taken(&mut buckets, "ListTasks", now), 100);
        assert_eq!(taken(&mut buckets, "DescribeTasks", now), 0);
        assert_eq!(taken(&mut buckets, "DescribeContainerInstances", now), 0);
        assert_eq!(taken(&mut buckets, "ListContainerInstances", now), 0);
        assert_eq!(taken(&mut buckets, "DescribeServices", now), 100);
        assert_eq!(taken(&mut buckets, "DescribeTaskDefinition", now), 50);
    }
}
