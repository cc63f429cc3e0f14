//! The behaviour of the engine on each store, tested through the public API.

#[macro_use]
extern crate workflow_harness;

#[macro_use]
#[path = "../shared/forward.rs"]
mod forward;
#[macro_use]
mod support;

mod cancel;
mod catalog;
mod changed_waits;
mod changes;
mod check;
mod child_ids;
mod child_ownership;
mod children;
mod clocks;
mod concurrency;
mod continuation;
mod counts;
mod created;
mod crossings;
mod deliveries;
mod doubts;
mod early_ends;
mod edges;
mod eviction;
mod forks;
mod forks_rollback;
mod full_disk;
mod generations;
mod groups;
mod hooks;
mod http;
mod http_answers;
mod keys;
mod lending;
mod lifecycle;
mod listing;
mod names;
mod old_generations;
mod other_builds;
mod outcome;
mod output;
mod patches;
mod payload_types;
mod pins;
mod queues;
mod races;
mod reasons;
mod reasons_workers;
mod recursion;
mod redelivery;
mod reference;
mod refusals;
mod removal;
mod repair;
mod repair_children;
mod repair_forks;
mod repair_limits;
mod resources;
mod resumptions;
mod rollback;
mod rollback_closures;
mod rollback_order;
mod rollback_steps;
mod rules;
mod rules_polling;
mod rules_time;
mod runs;
mod shutdown;
mod simulation;
mod slow_replays;
mod spans;
mod state;
mod steps;
mod stranded;
mod streams;
mod streams_of_steps;
mod stuck;
mod surplus;
mod suspend;
mod suspension_ids;
mod time;
mod tokens;
mod transactions;
mod user_types;
mod waiting;
mod workers;
mod yields;

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}
