//! The server under `strace`: its calls are replayed onto simulated disks, the power goes after each of them, and what is left is
//! recovered by the server's own engine, in this process.
//!
//! ```text
//!   clients ─► server ─► strace ─► calls ─► simulated disks ─► crash ─► engine ─► keys and events ─► what was acknowledged?
//! ```
//!
//! `SEED=n` draws other outcomes. `TIMES=n cargo test --release -p std-server --test recorded -- --nocapture` looks at so many of
//! them after every single call.

use core::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use std_server::config::{Config, Flags};
use std_server::engine::{DurableEngine, Facts};
use std_server::http::{self, Door, Pages};
use std_server::resp::{self, ListenerLimits};
use strandline::archive::{self, Level};
use strandline_tests::chance::Chance;
use strandline_tests::posix::Profile;
use strandline_tests::recorded::{Cuts, Found, Life, Outside, Promised, Shown, World};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

#[test]
fn no_cut_of_a_servers_calls_loses_what_it_acknowledged() {
    for (mode, conservative) in [("always", true), ("periodic", false)] {
        let (recorded, life) = Recorded::new(mode, conservative);
        let cuts = recorded.cut(&life, false);
        let (cuts, promised) = cuts.unwrap_or_else(|broken| panic!("{mode}: {broken}"));
        println!("{mode}: {cuts} cuts; promised in the end: {promised:?}; {:.1?}", recorded.begun.elapsed());
        assert!(cuts > 30 && promised.commands.iter().all(|commands| *commands >= 60), "{cuts} {promised:?}");
        assert_eq!(promised.batches > 20, mode == "always", "{promised:?}");
    }
}

/// A server that forgets to sync one kind of file, or a directory, is caught.
#[test]
fn a_server_that_forgets_a_sync_is_caught() {
    let forgotten: [(&str, Forgets); 6] = [
        ("what the log's directory is in", |path| path.ends_with("data")),
        ("segments", |path| ends_with(path, ".wal")),
        ("the log's directory", |path| path.ends_with("wal")),
        ("snapshots", |path| path.parent().is_some_and(|place| place.ends_with("snapshots"))),
        ("the snapshots' directory", |path| path.ends_with("snapshots")),
        ("archives", |path| path.ancestors().any(|place| place.ends_with("archives"))),
    ];
    let (recorded, life) = Recorded::new("always", true);
    for (what, forgets) in forgotten {
        let caught = recorded.cut(&life.without_syncs(forgets), true);
        println!("without syncs of {what}: {caught:?}");
        assert!(caught.is_err(), "{what}");
    }
}

type Forgets = fn(&Path) -> bool;

fn ends_with(path: &Path, ending: &str) -> bool {
    path.to_string_lossy().ends_with(ending)
}

/// A server that has lived, and what recovers it.
struct Recorded {
    world: World,
    shown: Shown,
    runtime: Runtime,
    seed: u64,
    begun: Instant,
    _place: TempDir,
}

impl Recorded {
    fn new(mode: &'static str, conservative: bool) -> (Self, Life) {
        let begun = Instant::now();
        let world = World { server: env!("CARGO_BIN_EXE_std-server").into(), mode, conservative };
        let place = tempfile::tempdir().expect("a directory");
        let data = place.path().canonicalize().expect("it is there").join("data");
        let (life, shown) = world.record(&data).unwrap_or_else(|why| panic!("{mode}: {why}"));
        println!("{mode}: recorded in {:.1?}", begun.elapsed());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let seed = number("SEED").unwrap_or(1);
        println!("SEED={seed}");
        (Self { world, shown, runtime, seed, begun, _place: place }, life)
    }

    /// The power goes again and again, at once or when something was heard from the server; how often, and what was promised in
    /// the end.
    fn cut(&self, life: &Life, when_heard: bool) -> Result<(usize, Promised), String> {
        let profile = Profile { sector: 512, powersafe: true, stale: true };
        let times = number("TIMES").and_then(|times| usize::try_from(times).ok());
        let one_in = if times.is_some() { 1 } else { ONE_CALL_IN };
        let cuts = Cuts { profile, times: times.unwrap_or(1), one_in, when_heard };
        let mut promised = Promised::default();
        let done = life.cut_everywhere(cuts, &mut Chance::new(self.seed), |place, outside| {
            promised = self.check(place, outside)?;
            Ok(())
        })?;
        Ok((done, promised))
    }

    fn check(&self, place: &Path, outside: &Outside) -> Result<Promised, String> {
        let found = self.recover(place)?;
        let promised = self.shown.check(outside, &found)?;
        let archives = place.join("archives/shard-0");
        let listed = if archives.is_dir() { archive::list(&archives) } else { Ok(vec![]) };
        for (_, path) in listed.map_err(|error| error.to_string())? {
            archive::verify(&path, Level::Full).map_err(|error| error.to_string())?;
        }
        Ok(promised)
    }

    /// What a start over this data serves.
    fn recover(&self, data: &Path) -> Result<Found, String> {
        let flags = Flags { data_dir: Some(data.into()), ..Flags::default() };
        let environment = self.world.setup(data).environment().collect::<Vec<_>>();
        let config = Config::load(&flags, environment, data).map_err(|error| error.to_string())?.config;
        let (http, resp) = (self.listen()?, self.listen()?);
        let addresses = [&http, &resp].map(|listener| listener.local_addr().ok());
        let [Some(at_http), Some(at_resp)] = addresses else { return Err("no address".to_owned()) };
        let facts = Facts { config, http: at_http, resp: Some(at_resp), started: Instant::now() };
        let stop = CancellationToken::new();
        let engine = Arc::new(DurableEngine::new(facts, stop.clone()));
        let report = engine.recover(None).map_err(|refused| refused.to_string())?.recovered;
        let damage =
            report.map(|recovered| recovered.report.damaged_snapshots + recovered.report.unneeded_damage);
        if damage != Some(0) {
            return Err(format!("a plain crash leaves nothing that looks like damage: {damage:?}"));
        }
        let door = Door { pages: Pages::All, tls: None, traffic: Arc::default() };
        let serving = [
            self.runtime.spawn(http::serve(http, door, Arc::clone(&engine), stop.clone())),
            self.runtime.spawn(resp::serve(
                resp,
                Arc::clone(&engine),
                ListenerLimits::default(),
                stop.clone(),
            )),
        ];
        let found = Found::ask(at_resp, at_http);
        stop.cancel();
        self.runtime.block_on(async {
            for listener in serving {
                listener.await.map_err(|panic| panic.to_string())?;
            }
            engine.close().await
        })?;
        found
    }

    fn listen(&self) -> Result<TcpListener, String> {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        self.runtime.block_on(TcpListener::bind(local)).map_err(|error| error.to_string())
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Of so many calls one is cut, unless more is asked for.
const ONE_CALL_IN: usize = 8;
