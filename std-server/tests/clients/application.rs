//! An application that was written for Redis, unchanged: it goes on while the server is killed and started again under it.
//!
//! ```text
//!  visitors ─ requests ─► shop.py (redis-py) ─► Door, a fixed address ─► the server that runs now, or redis-server
//! ```

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use core::time::Duration;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::process::Server;
use crate::{redis_py, script};

#[test]
fn a_shop_goes_on_while_its_server_is_killed_and_started_again() {
    let Some(python) = redis_py() else { return };
    for mode in ["always", "periodic"] {
        let directory = tempfile::tempdir().expect("a directory");
        let start = || Server::in_mode(directory.path(), mode);
        let mut server = start();
        let door = Door::open(server.resp.expect("RESP is on"));
        let answered = AtomicUsize::new(0);
        let shop = Shop::open(&python, door.address);
        let server = thread::scope(|scope| {
            let visitors = scope.spawn(|| visit(shop, &answered));
            for killed in 1..=KILLS {
                while answered.load(Relaxed) < killed * VISITS / (KILLS + 1) && !visitors.is_finished() {
                    thread::sleep(Duration::from_millis(1));
                }
                door.lead_to(None);
                server.kill();
                server = start();
                door.lead_to(server.resp);
            }
            visitors.join().expect("every visitor is content");
            server
        });
        assert!(server.ask("GET visits").parse::<usize>().expect("a number") >= VISITS, "{mode}");
    }
}

#[test]
fn the_shop_is_an_application_for_redis() {
    let Some(python) = redis_py() else { return };
    let redis = Redis::start();
    visit(Shop::open(&python, redis.address), &AtomicUsize::new(0));
}

/// Visitors one after the other; what one of them was told stays true for all that follow.
fn visit(mut shop: Shop, answered: &AtomicUsize) {
    let (mut carts, mut visits): (Vec<(Value, Vec<String>)>, i64) = (Vec::new(), 0);
    for number in 0..VISITS {
        let token = shop.ask(json!(["login", format!("user-{number}")]));
        let cart: Vec<String> = (0..number % 3).map(|item| format!("item-{number}-{item}")).collect();
        for item in &cart {
            assert_eq!(shop.ask(json!(["add", token, item])), true);
        }
        let page = shop.ask(json!(["page", format!("/{}", number % 7)]));
        assert_eq!(page[0], format!("<h1>/{}</h1>", number % 7));
        assert!(number < 7 || page[1] == "cached", "a page was forgotten: visit {number}, {page}");
        let count = shop.ask(json!(["visit"])).as_i64().expect("a number");
        assert!(count > visits, "visit {number}: {count} after {visits}");
        visits = count;
        let allowed = shop.ask(json!(["allowed", format!("eager-{}", number % 10)]));
        assert!(number < LIMIT * 10 || allowed == false, "a limit was forgotten: visit {number}");
        carts.push((token, cart));
        let (token, cart) = &carts[number * 7 % carts.len()];
        assert_eq!(shop.ask(json!(["session", token]))["cart"], json!(cart), "visit {number}");
        answered.store(number + 1, Relaxed);
    }
    for (number, (token, cart)) in carts.iter().enumerate() {
        let expected = json!({ "user": format!("user-{number}"), "cart": cart });
        assert_eq!(shop.ask(json!(["session", token])), expected);
    }
    for (token, _) in &carts {
        assert_eq!(shop.ask(json!(["logout", token])), true);
        assert_eq!(shop.ask(json!(["session", token])), Value::Null);
    }
}

/// The application.
struct Shop {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Shop {
    fn open(python: &Path, store: SocketAddr) -> Self {
        let mut command = Command::new(python);
        command.arg(script("shop.py")).arg(store.port().to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python runs");
        let requests = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, requests, answers }
    }

    fn ask(&mut self, request: Value) -> Value {
        writeln!(self.requests, "{request}").expect("the shop is open");
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).expect("the shop is open");
        assert!(read > 0, "{request}: the shop has failed");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address that stays while servers, on ports of the system's choice, come and go behind it.
struct Door {
    address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
}

impl Door {
    fn open(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let target = Arc::new(Mutex::new(Some(target)));
        let leads_to = Arc::clone(&target);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let target = *leads_to.lock().expect("no panic");
                // Without a server the client is let go, as by a machine on which nobody listens.
                if let Some(server) = target.and_then(|target| TcpStream::connect(target).ok()) {
                    drop(join(client, server));
                }
            }
        });
        Self { address, target }
    }

    fn lead_to(&self, target: Option<SocketAddr>) {
        *self.target.lock().expect("no panic") = target;
    }
}

fn join(client: TcpStream, server: TcpStream) -> io::Result<()> {
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        from.set_nodelay(true)?;
        thread::spawn(move || {
            drop(io::copy(&mut from, &mut to));
            drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
        });
    }
    Ok(())
}

pub(crate) struct Redis {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Redis {
    pub(crate) fn start() -> Self {
        // Redis can't choose a free port by itself: the port is found first, and another one tried if it is lost.
        (0..10).find_map(|_| Self::try_start()).expect("redis-server starts")
    }

    fn try_start() -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?;
        let port = address.port().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]).stdout(Stdio::null());
        let child =
            command.spawn().expect("this test needs redis-server (Debian: apt-get install redis-server)");
        let mut redis = Self { child, address };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) && redis.child.try_wait().ok()?.is_none() {
            if TcpStream::connect(address).is_ok() {
                return Some(redis);
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const VISITS: usize = 160;
const KILLS: usize = 3;
/// As in the shop.
const LIMIT: usize = 5;
