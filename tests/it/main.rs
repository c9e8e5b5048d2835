//! Behaviours over real sockets, named as facts. One binary, so that it is linked once.

#![allow(clippy::disallowed_methods, reason = "tests watch real time")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod access_log;
mod admin;
mod alb_examples;
mod app_protocol;
mod attributes;
mod bodies;
mod browsers;
mod checks;
mod command;
mod compare;
mod compression;
mod connections;
mod consul;
mod dashboard;
mod differential;
mod discovery;
mod dns_source;
mod docker_source;
mod docs;
mod ecs_calls;
mod ecs_events;
mod ecs_faults;
mod ecs_figures;
mod ecs_hosts;
mod ecs_modes;
mod ecs_rollout;
mod ejection;
mod faulty;
mod file_source;
mod framing;
mod grpc_peers;
mod haproxy;
mod health;
mod histories;
mod http2;
mod http2_clients;
mod http2_limits;
mod http2_servers;
mod http2_target_limits;
mod http2_targets;
mod http2_tls;
mod labels;
mod limits;
mod metrics;
mod mirroring;
mod mounted;
mod observability;
mod other_logs;
mod outdated;
mod packaging;
mod picking;
mod policies;
mod proxy_protocol;
mod proxying;
mod raw_requests;
mod raw_responses;
mod reasons;
mod reload;
mod reload_under_load;
mod retry;
mod rolling;
mod rule_policies;
mod rules;
mod shutdown;
mod sigterm_under_load;
mod slow_ends;
mod spread;
mod states;
mod sticky;
mod sticky_groups;
mod sticky_moves;
mod stuck;
mod swaps;
mod tls;
mod tls_clients;
mod tls_many;
mod tls_scan;
mod tls_swaps;
mod tls_targets;
mod websocket_load;
mod websocket_peers;
mod websockets;
mod websockets_http2;
