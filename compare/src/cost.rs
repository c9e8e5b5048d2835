//! What the measured traffic costs at an ALB, and on instances. Pure.
//!
//! An ALB is paid for by the hour, and by the hour and LCU. LCUs are those of the dimension that
//! needs the most, not their sum.

use serde::Serialize;

/// Hours of a month, as AWS counts.
const MONTH: f64 = 730.0;
/// What one LCU has: new connections a second, connections that are open, bytes an hour, and
/// evaluations of rules a second.
const NEW: f64 = 25.0;
const ACTIVE: f64 = 3_000.0;
const BYTES: f64 = 1e9;
const EVALUATIONS: f64 = 1_000.0;
/// So many rules are not counted.
const FREE_RULES: u32 = 10;

/// What things cost. The defaults are those of us-east-1 in September 2026; look yours up.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub(crate) struct Prices {
    /// What an ALB costs an hour.
    #[arg(long, value_name = "PRICE", default_value_t = 0.0225, value_parser = price, help_heading = "Cost")]
    pub(crate) alb_hour_price: f64,
    /// What an LCU costs an hour. The default, and that of the ALB, are us-east-1's in September
    /// 2026.
    #[arg(long, value_name = "PRICE", default_value_t = 0.008, value_parser = price, help_heading = "Cost")]
    pub(crate) lcu_price: f64,
    /// What one instance costs an hour that does B's work. Without it only the ALB is estimated.
    #[arg(long, value_name = "PRICE", value_parser = price, help_heading = "Cost")]
    pub(crate) instance_price: Option<f64>,
    /// How many of them.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000), requires = "instance_price", help_heading = "Cost")]
    pub(crate) instances: u32,
    /// How many rules a request goes through at the ALB; the first 10 are free.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        help_heading = "Cost"
    )]
    pub(crate) rules: u32,
}

fn price(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    number
        .filter(|number| (0.0..1e6).contains(number))
        .ok_or_else(|| "expected a price for an hour, such as 0.0225".to_owned())
}

/// What A had to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    /// Requests a second.
    pub(crate) requests: f64,
    /// New connections a second.
    pub(crate) connections: f64,
    /// Connections that are open.
    pub(crate) open: f64,
    /// Bytes of HTTP a request, in both directions.
    pub(crate) bytes: f64,
}

/// LCUs by dimension.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Lcus {
    pub(crate) new_connections: f64,
    pub(crate) active_connections: f64,
    pub(crate) processed_bytes: f64,
    pub(crate) rule_evaluations: f64,
}

impl Lcus {
    fn of(traffic: &Traffic, rules: u32) -> Self {
        let counted = f64::from(rules.saturating_sub(FREE_RULES));
        Self {
            new_connections: traffic.connections / NEW,
            active_connections: traffic.open / ACTIVE,
            processed_bytes: traffic.requests * traffic.bytes * 3_600.0 / BYTES,
            rule_evaluations: traffic.requests * counted / EVALUATIONS,
        }
    }

    /// The dimension that is paid for.
    fn most(&self) -> (&'static str, f64) {
        let all = [
            ("new connections", self.new_connections),
            ("active connections", self.active_connections),
            ("processed bytes", self.processed_bytes),
            ("rule evaluations", self.rule_evaluations),
        ];
        let first = ("processed bytes", 0.0);
        let larger = |a: (_, f64), b: (_, f64)| if b.1 > a.1 { b } else { a };
        all.into_iter().fold(first, larger)
    }
}

/// An estimate for one step, if it went on all month.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Cost {
    pub(crate) lcus: Lcus,
    /// The dimension that is paid for.
    pub(crate) dimension: &'static str,
    pub(crate) lcus_paid: f64,
    pub(crate) alb_month: f64,
    /// For a million requests, LCUs alone.
    pub(crate) lcu_million_requests: f64,
    pub(crate) instances_month: Option<f64>,
    /// At how many requests a second of this sort both cost the same. None if the instances are
    /// cheaper than the ALB's hours, or no price of theirs is known.
    pub(crate) even_at_requests: Option<f64>,
}

impl Cost {
    pub(crate) fn of(traffic: &Traffic, prices: &Prices) -> Self {
        let lcus = Lcus::of(traffic, prices.rules);
        let (dimension, lcus_paid) = lcus.most();
        let instances = prices.instance_price;
        let instances = instances.map(|price| price * f64::from(prices.instances));
        let of_lcus = lcus_paid * prices.lcu_price;
        let million = match traffic.requests > 0.0 {
            true => of_lcus / (traffic.requests * 3_600.0) * 1e6,
            false => 0.0,
        };
        let even = instances.and_then(|instances| {
            let left = instances - prices.alb_hour_price;
            (left > 0.0 && of_lcus > 0.0).then(|| left / of_lcus * traffic.requests)
        });
        Self {
            lcus,
            dimension,
            lcus_paid,
            alb_month: (prices.alb_hour_price + of_lcus) * MONTH,
            lcu_million_requests: million,
            instances_month: instances.map(|price| price * MONTH),
            even_at_requests: even,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: Prices = Prices {
        alb_hour_price: 0.0225,
        lcu_price: 0.008,
        instance_price: None,
        instances: 1,
        rules: 0,
    };

    fn traffic(requests: f64, bytes: f64) -> Traffic {
        Traffic {
            requests,
            connections: 0.0,
            open: 10.0,
            bytes,
        }
    }

    fn near(got: f64, right: f64) {
        assert!((got - right).abs() <= right * 0.01, "{got}, not {right}");
    }

    #[test]
    fn common_loads_cost_what_the_price_list_says() {
        for (requests, bytes, lcus, month) in [
            (100.0, 1e4, 3.6, 37.4),
            (1_000.0, 5e3, 18.0, 121.6),
            (1_000.0, 2e4, 72.0, 436.9),
            (10_000.0, 1e4, 360.0, 2_118.8),
        ] {
            let cost = Cost::of(&traffic(requests, bytes), &PRICES);
            near(cost.lcus_paid, lcus);
            near(cost.alb_month, month);
            assert_eq!(cost.dimension, "processed bytes");
            assert_eq!(cost.instances_month, None);
        }
        // $0.008 a GB: 5 KB are $0.04 a million.
        near(
            Cost::of(&traffic(77.0, 5e3), &PRICES).lcu_million_requests,
            0.04,
        );
    }

    #[test]
    fn the_largest_dimension_is_paid_for_and_not_the_sum() {
        let mut of = traffic(1_000.0, 1e3);
        of.connections = 1_000.0;
        let cost = Cost::of(&of, &PRICES);
        assert_eq!(cost.dimension, "new connections");
        near(cost.lcus_paid, 40.0);
        // $0.0889 a million new connections.
        near(cost.lcu_million_requests, 0.0889);
        let prices = Prices {
            rules: 110,
            ..PRICES
        };
        let cost = Cost::of(&of, &prices);
        assert_eq!(cost.dimension, "rule evaluations");
        near(cost.lcus_paid, 100.0);
        of.open = 1e6;
        assert_eq!(Cost::of(&of, &prices).dimension, "active connections");
        let few = Cost::of(
            &of,
            &Prices {
                rules: 10,
                ..PRICES
            },
        );
        assert!(few.lcus.rule_evaluations.abs() < 1e-9);
    }

    #[test]
    fn instances_are_even_where_both_cost_the_same() {
        let prices = Prices {
            instance_price: Some(0.07),
            instances: 2,
            ..PRICES
        };
        let cost = Cost::of(&traffic(100.0, 1e4), &prices);
        near(cost.instances_month.expect("a price"), 102.2);
        let even = cost.even_at_requests.expect("a price");
        let there = Cost::of(&traffic(even, 1e4), &prices);
        near(there.alb_month, there.instances_month.expect("a price"));
        let cheap = Prices {
            instance_price: Some(0.01),
            ..PRICES
        };
        assert_eq!(
            Cost::of(&traffic(100.0, 1e4), &cheap).even_at_requests,
            None
        );
    }

    #[test]
    fn nothing_costs_only_the_hours() {
        let cost = Cost::of(&traffic(0.0, 0.0), &PRICES);
        near(cost.alb_month, 16.43);
        assert!(cost.lcu_million_requests.abs() < 1e-9);
    }
}
