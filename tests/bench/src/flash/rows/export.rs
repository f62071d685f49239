//! F12: export over a slow link. No peer has one.

use strandline_core::codec::check::TableCheck;
use strandline_core::export::receiver::{Event, Memory, RING_BYTES, Receiver};
use strandline_flash::{Config, Log, Lsn, StoreId};

use crate::flash::medium::CountingFlash;
use crate::flash::subject::Failed;
use crate::table::{Row, Verdict, cell};

/// F12.
pub(crate) fn dropped() -> Row {
    let ours = resent_chunks();
    Row {
        id: "F12",
        measure: "export over a 20-byte link, each chunk of it dropped once: most chunks sent more for one drop; the records are the same",
        peers: Vec::new(),
        goal: "≤ 1, byte-identical archive",
        verdict: Verdict::of(&ours, |resent| *resent <= 1),
        ours: cell(&ours, u64::to_string),
    }
}

/// Hands the log over once without a loss, then once for each chunk with that one lost.
fn resent_chunks() -> Result<u64, Failed> {
    let flash = CountingFlash::<4>::new(16);
    let mut scratch = [0; 256];
    let mut log = open(&flash, &mut scratch)?;
    for number in 0..=RECORDS {
        log.append(&[number; 64]).map_err(Failed::said)?;
    }
    let (whole, chunks) = transfer(&flash, None)?;
    let mut most = 0;
    for lost in 0..chunks {
        let (records, sent) = transfer(&flash, Some(lost))?;
        if records != whole {
            return Err(Failed::Said(format!("other records arrived when chunk {lost} was dropped")));
        }
        most = most.max(sent.saturating_sub(chunks));
    }
    Ok(most)
}

fn open<'s>(flash: &CountingFlash<4>, scratch: &'s mut [u8]) -> Result<Log<'s, CountingFlash<4>>, Failed> {
    Log::open(flash.clone(), 0..PARTITION, Config::new(STORE), scratch).map_err(Failed::said)
}

/// The records that arrive, and how many chunks were sent.
fn transfer(flash: &CountingFlash<4>, lost: Option<u64>) -> Result<(Vec<Vec<u8>>, u64), Failed> {
    let mut scratch = [0; 256];
    let mut log = open(flash, &mut scratch)?;
    let (mut ring, mut record) = (vec![0; RING_BYTES], vec![0; 512]);
    let memory = Memory { ring: &mut ring, record: &mut record };
    let mut host: Receiver<'_, TableCheck> = Receiver::resume(Lsn(0), Some(STORE), memory);
    let mut export = log.export(STORE).map_err(Failed::said)?;
    host.request(1);
    let (mut records, mut sent, mut complete) = (Vec::new(), 0, false);
    loop {
        while let Some(reply) = host.reply() {
            export.ack(&reply).map_err(Failed::said)?;
        }
        let mut chunk = [0; MTU];
        match log.next_chunk(&mut export, &mut chunk).map_err(Failed::said)? {
            None if complete => return Ok((records, sent)),
            None => host.nudge(),
            Some(bytes) => {
                if lost != Some(sent) {
                    let _ = host.take(&chunk[..bytes]);
                }
                sent += 1;
            }
        }
        loop {
            match host.poll() {
                Event::Record { bytes, .. } => records.push(bytes.to_vec()),
                Event::Complete { .. } => complete = true,
                Event::Idle => break,
                Event::Failed(failure) => return Err(Failed::said(failure)),
                _ => {}
            }
        }
    }
}

const STORE: StoreId = StoreId(*b"over a slow link");
const PARTITION: u32 = 64 * 1024;
/// And one more, which a start can't be sure of.
const RECORDS: u8 = 100;
const MTU: usize = 20;
