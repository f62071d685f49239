//! Records: what they hold is chosen to mislead a careless reader.

use strandline_core::action::Refused;
use strandline_core::codec::frame::HEADER;
use strandline_core::lower::posix::File;
use strandline_core::store::Priority;
use strandline_core::wal::mark_bytes;

use super::World;
use crate::chance::Chance;
use crate::oracle::{Verdict, broken};
use crate::script::Content;

impl World {
    pub(super) fn append(&mut self, content: Content, reclaim: bool, chance: &mut Chance) -> Verdict {
        if chance.one_in(6) {
            return self.append_group(content, chance);
        }
        let payload = self.payload(content, chance);
        let priority = if reclaim { Priority::Reclaim } else { Priority::Ordinary };
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut answer = store.append(&payload, priority);
        self.coverage.answer(answer);
        if let Err(Refused::NeedsBuffer(bytes)) = answer
            && store.exchange(vec![0xee; bytes]).is_ok()
        {
            answer = store.append(&payload, priority);
            self.coverage.answer(answer);
            if matches!(answer, Err(Refused::NeedsBuffer(_))) {
                return broken(
                    "an exchanged buffer is large enough",
                    format!("{bytes} bytes, then {answer:?}"),
                );
            }
        }
        self.transcript.note(|| format!("      append {} bytes: {answer:?}", payload.len()));
        let most = strandline_core::wal::max_record(self.setup.geometry) as usize;
        match answer {
            Ok(lsn) => self.oracle.taken(lsn, &payload),
            Err(Refused::TooLarge { .. }) if payload.len() <= most => {
                broken("a record of the promised size is taken", format!("{} bytes", payload.len()))
            }
            Err(_) => Ok(()),
        }
    }

    /// Some records that are all there after a crash, or none of them.
    fn append_group(&mut self, content: Content, chance: &mut Chance) -> Verdict {
        let payloads: Vec<Vec<u8>> =
            (0..chance.between(1, 5)).map(|_| self.payload(content, chance)).collect();
        let records: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut answer = store.append_group(&records, Priority::Ordinary);
        if let Err(Refused::NeedsBuffer(bytes)) = answer
            && store.exchange(vec![0xee; bytes]).is_ok()
        {
            answer = store.append_group(&records, Priority::Ordinary);
        }
        self.coverage.group(answer);
        self.transcript.note(|| format!("      append a group of {}: {answer:?}", records.len()));
        answer.map_or(Ok(()), |first| self.oracle.taken_together(first, &records))
    }

    /// A record that begins with a number of its own.
    fn payload(&mut self, content: Content, chance: &mut Chance) -> Vec<u8> {
        self.serial += 1;
        let mut payload = self.serial.to_le_bytes().to_vec();
        match content {
            Content::Small => payload.resize(8 + chance.below(60), 0x77),
            Content::Blank => {
                payload.resize(8 + 8 * chance.below(40), if chance.one_in(2) { 0 } else { 0xff })
            }
            Content::Large => {
                let most = strandline_core::wal::max_record(self.setup.geometry) as usize;
                let half = self.setup.half_bytes / 2;
                let limit = if chance.one_in(8) { most + most / 8 } else { half.min(most) };
                payload.resize(8 + chance.below(limit - 8), 0x33);
            }
            Content::Image => payload.extend(self.image(chance)),
        }
        payload
    }

    /// Bytes of some file from where this record's payload may come to lie: a stale frame that fits its place best.
    fn image(&self, chance: &mut Chance) -> Vec<u8> {
        let files: Vec<File> = self.disk.files().collect();
        let Some(store) = self.store.as_ref().filter(|_| !files.is_empty()) else { return Vec::new() };
        let content = self.disk.content(chance.pick(&files)).unwrap_or_default();
        let mark = mark_bytes(self.setup.geometry) as usize;
        let likely = store.next_position().offset as usize + mark + HEADER + 8;
        let from = if chance.one_in(2) { likely } else { 8 * chance.below(content.len() / 8 + 1) };
        let len = 8 * chance.between(8, 60);
        content.get(from..content.len().min(from + len)).unwrap_or_default().to_vec()
    }
}
