//! What the Redis protocol refuses: strangers, and whatever would take more memory than is allowed.

#[path = "bounds/limits.rs"]
mod limits;
#[allow(dead_code, reason = "every test binary uses its own part")]
#[path = "server/process.rs"]
mod process;
mod support;
#[path = "bounds/users.rs"]
mod users;

use process::Server;
use support::Client;

fn client(server: &Server) -> Client {
    Client::connect(server.resp.expect("RESP is on"))
}

fn ask(server: &Server, line: &str) -> String {
    client(server).ask(line)
}
