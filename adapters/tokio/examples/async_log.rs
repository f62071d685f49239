//! Ten tasks append to one log and share its syncs.
//!
//! `cargo run -p strandline-tokio --example async_log -- [DIRECTORY]`

use strandline::Options;
use strandline_tokio::AsyncLog;

#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "async-log-data".into());
    let (log, opened) = AsyncLog::open(Options::new(&directory), ()).await?;
    println!("{directory}: {} records so far", opened.recovered.report.next.0 - 1);
    let tasks: Vec<_> = (0..10)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                for number in 0..100 {
                    log.append(format!("task {task}, record {number}").as_bytes()).await?;
                }
                Ok::<_, strandline::AppendError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let stats = log.log().stats();
    println!("1000 records in {} batches, {} syncs", stats.batches, stats.syncs);
    log.close().await;
    Ok(())
}
