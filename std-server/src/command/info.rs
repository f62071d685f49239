//! INFO: the host's sections, and those that follow from connections, from the process, or from there being one server.
//!
//! ```text
//!  default      all but commandstats          all, everything    every section
//!  # Server … # Keyspace in the order of Redis; a section that is named twice is shown once
//! ```

use super::args::Args;
use super::engine::Host;
use super::session::Clients;
use core::fmt::Write as _;

/// The text for these names of sections.
pub(super) fn text(host: &impl Host, wanted: Args<'_>) -> String {
    let is_wanted = |name: &str| wanted.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let everything = is_wanted("all") || is_wanted("everything");
    let by_default = wanted.is_empty() || is_wanted("default");
    let facts = host.info();
    let mut text = String::new();
    for name in ORDER {
        if !(everything || is_wanted(name) || by_default && name != "Commandstats") {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.extend(["# ", name, "\r\n"]);
        let lines = facts.iter().filter(|section| section.name == name).flat_map(|section| &section.lines);
        for (field, value) in lines {
            text.extend([field, ":", value, "\r\n"]);
        }
        more(name, host.clients(), &mut text);
    }
    text
}

/// What this layer knows for a section.
fn more(name: &str, clients: &Clients, text: &mut String) {
    let mut line = |field: &str, value: &dyn core::fmt::Display| {
        let written = write!(text, "{field}:{value}\r\n");
        debug_assert!(written.is_ok(), "a string takes any text");
    };
    match name {
        "Clients" => {
            let [input, output] = clients.held_bytes();
            line("cluster_connections", &0);
            line("client_recent_max_input_buffer", &input);
            line("client_recent_max_output_buffer", &output);
            line("blocked_clients", &0);
            line("tracking_clients", &0);
            line("watched_keys", &clients.watches().keys());
        }
        "Memory" => {
            let [input, output] = clients.held_bytes();
            line("mem_clients_normal", &(input + output));
            line("mem_clients_output", &output);
            line("maxmemory_policy", &"noeviction");
            line("mem_fragmentation_ratio", &"1.00");
            line("mem_allocator", &"system");
        }
        "Stats" => statistics(clients, &mut line),
        "Replication" => {
            line("role", &"master");
            line("connected_slaves", &0);
            line("master_repl_offset", &0);
        }
        "CPU" => {
            let Some([user, system]) = processor_seconds() else { return };
            line("used_cpu_sys", &format_args!("{system:.6}"));
            line("used_cpu_user", &format_args!("{user:.6}"));
        }
        "Commandstats" => {
            for (name, usage) in clients.counts().commands() {
                let (calls, us) = (usage.calls, usage.took.as_micros());
                #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
                let mean = usage.took.as_secs_f64() * 1e6 / calls.max(1) as f64;
                let (rejected, failed) = (usage.rejected, usage.failed);
                let value = format_args!(
                    "calls={calls},usec={us},usec_per_call={mean:.2},rejected_calls={rejected},failed_calls={failed}"
                );
                line(&format!("cmdstat_{name}"), &value);
            }
        }
        "Errorstats" => {
            for (code, count) in clients.counts().errors() {
                line(&format!("errorstat_{code}"), &format_args!("count={count}"));
            }
        }
        "Cluster" => line("cluster_enabled", &0),
        _ => {}
    }
}

fn statistics(clients: &Clients, line: &mut impl FnMut(&str, &dyn core::fmt::Display)) {
    let counts = clients.counts();
    let commands: u64 = counts.commands().values().map(|usage| usage.calls).sum();
    let errors: u64 = counts.errors().values().sum();
    line("total_connections_received", &clients.ever());
    line("total_commands_processed", &commands);
    line("instantaneous_ops_per_sec", &clients.statistics().rate(commands));
    line("total_net_input_bytes", &counts.input_bytes);
    line("total_net_output_bytes", &counts.output_bytes);
    line("rejected_connections", &clients.statistics().turned_away());
    line("evicted_keys", &0);
    line("evicted_clients", &0);
    line("pubsub_channels", &0);
    line("pubsub_patterns", &0);
    line("latest_fork_usec", &0);
    line("total_error_replies", &errors);
    line("client_output_buffer_limit_disconnections", &clients.statistics().output_cuts());
}

/// Seconds of processor time of this process, in user mode and in the system's, where the system tells.
fn processor_seconds() -> Option<[f64; 2]> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name, in parentheses, which may hold spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut seconds = || Some(f64::from(fields.next()?.parse::<u32>().ok()?) / TICKS_PER_SECOND);
    Some([seconds()?, seconds()?])
}

const ORDER: [&str; 12] = [
    "Server",
    "Clients",
    "Memory",
    "Persistence",
    "Stats",
    "Replication",
    "CPU",
    "Modules",
    "Commandstats",
    "Errorstats",
    "Cluster",
    "Keyspace",
];

/// Linux counts in these for every program, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;
