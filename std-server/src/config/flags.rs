//! The flags of the command line that set something. Their values are checked with everything else, so that a flag, a
//! variable and a line of a file fail with the same words.

use std::path::PathBuf;

/// Flags as given; what is not given falls to the environment, the file and the defaults, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// Configuration file (.yaml, .yml or .toml)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory for everything that has no place of its own [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where HTTP listens, HOST:PORT; port 0 picks a free one [default: 127.0.0.1:15500]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Where the Redis protocol listens, HOST:PORT; port 0 picks a free one [default: 127.0.0.1:6379]
    #[arg(long, value_name = "ADDR")]
    pub resp: Option<String>,
    /// What an acknowledged write waits for: always, periodic or never [default: periodic]
    #[arg(long, value_name = "MODE")]
    pub fsync_mode: Option<String>,
    /// Least severe level that is written: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}
