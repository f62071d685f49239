//! A counter that survives being killed: run it, press Ctrl-C or kill -9 it, run it again.
//!
//! `cargo run -p strandline --example counter -- [DIRECTORY]`

use core::time::Duration;

use strandline::{BadState, Durable, Image, Lsn, Options, Replay, State};

#[derive(Default)]
struct Counter(u64);

impl Replay for Counter {
    fn reset(&mut self) {
        self.0 = 0;
    }

    fn restore(&mut self, chunk: &[u8]) -> Result<(), BadState> {
        let bytes = chunk.try_into().map_err(|_| BadState("not a counter".into()))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }

    fn apply(&mut self, _: Lsn, record: &[u8]) -> Result<(), BadState> {
        self.0 += record.len() as u64;
        Ok(())
    }
}

/// The value, until it has been read.
struct Value(Option<u64>);

impl Image for Value {
    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, BadState> {
        let value = self.0.take();
        chunk.extend(value.into_iter().flat_map(u64::to_le_bytes));
        Ok(value.is_some())
    }
}

impl State for Counter {
    type Image = Value;

    fn image(&mut self) -> Value {
        Value(Some(self.0))
    }
}

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "counter-data".into());
    let (counter, recovered) = Durable::open(Options::new(&directory), Counter::default())?;
    println!("{directory}: {} after {} records", counter.read().0, recovered.report.records);
    loop {
        counter.update(b"+")?;
        let value = counter.read().0;
        println!("{value}");
        if value.is_multiple_of(100) {
            let made = counter.snapshot()?;
            println!("snapshot: {}", made.path.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
