//! The server as its users meet it: the real binary on ports of the system's choice.

#[path = "server/archives.rs"]
mod archives;
#[path = "server/crafted.rs"]
mod crafted;
#[path = "server/events.rs"]
mod events;
#[path = "server/http.rs"]
mod http;
#[path = "server/import.rs"]
mod import;
#[path = "server/import_device.rs"]
mod import_device;
#[path = "server/limits.rs"]
mod limits;
#[path = "server/loading.rs"]
mod loading;
#[path = "server/openapi.rs"]
mod openapi;
#[path = "server/process.rs"]
mod process;
#[path = "server/restart.rs"]
mod restart;
#[path = "server/retention.rs"]
mod retention;
#[path = "server/shards.rs"]
mod shards;
#[path = "server/snapshots.rs"]
mod snapshots;
#[path = "server/start.rs"]
mod start;
#[path = "server/synap.rs"]
mod synap;
#[path = "server/tls.rs"]
mod tls;
#[path = "server/tools.rs"]
mod tools;
#[path = "server/users.rs"]
mod users;
