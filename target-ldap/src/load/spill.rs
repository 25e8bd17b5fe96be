//! Bounds the memory of records. Those that wait are in memory up to a limit, then in a temporary file. Those in progress are
//! in memory, and no more start than there is room for.
//!
//! A record may wait for its parent until the input ends, and all others behind it. Its DN, its key and its lock stay in
//! memory. Its values are spilled, and the record itself if it may be rejected. Secrets are never spilled.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap_directory::dn::DnKey;
use serde_json::Value;
use singer_common::operations::secret::is_secret_attribute;

use super::work::{RejectContext, Work};
use super::{Load, LoadError};
use crate::map::Task;
use crate::map::wanted::Wanted;

/// The most octets of waiting values in memory.
const MOST: usize = 32 * 1024 * 1024;
/// While this many octets are ready, no more records are accepted; while this many are in progress, none is started.
const ENOUGH: usize = 16 * 1024 * 1024;
/// Smaller records are limited by their number alone.
const LARGE: usize = 16 * 1024;
/// Less is not worth a slot in the file.
const FEW: usize = 256;

/// Where the values of waiting records are.
#[derive(Debug, Default)]
pub(super) struct SpillBuffer {
    in_memory: Arc<AtomicUsize>,
    ready: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
    /// Unnamed: it is removed with the process.
    file: Option<File>,
    room: Arc<Mutex<FreeSpace>>,
}

/// The free parts of the file.
#[derive(Debug, Default)]
pub(super) struct FreeSpace {
    /// The end of the used part.
    end: u64,
    /// Free parts before the end, from start to end. No two touch.
    free: BTreeMap<u64, u64>,
}

impl FreeSpace {
    /// Allocates a part of this length.
    fn take(&mut self, length: u64) -> u64 {
        let Some((at, end)) =
            self.free.iter().map(|(at, end)| (*at, *end)).find(|(at, end)| end - at >= length)
        else {
            let at = self.end;
            self.end += length;
            return at;
        };
        self.free.remove(&at);
        if at + length < end {
            self.free.insert(at + length, end);
        }
        at
    }

    fn give_back(&mut self, mut at: u64, length: u64) {
        let mut end = at + length;
        if let Some(behind) = self.free.remove(&end) {
            end = behind;
        }
        if let Some((before, _)) = self.free.range(..at).next_back().filter(|(_, its_end)| **its_end == at) {
            at = *before;
            self.free.remove(&at);
        }
        if end == self.end {
            self.end = at;
        } else {
            self.free.insert(at, end);
        }
    }
}

/// Where the values of one record are. When it is dropped, they are no longer counted.
#[derive(Debug)]
pub(super) enum SpillSlot {
    /// In the record, with the number of octets.
    Memory(usize, Arc<AtomicUsize>),
    /// In the file.
    File { at: u64, length: u64, room: Arc<Mutex<FreeSpace>> },
}

impl SpillSlot {
    fn in_memory(octets: usize, sum: &Arc<AtomicUsize>) -> Arc<SpillSlot> {
        sum.fetch_add(octets, Ordering::Relaxed);
        Arc::new(SpillSlot::Memory(octets, sum.clone()))
    }
}

impl Drop for SpillSlot {
    fn drop(&mut self) {
        match self {
            SpillSlot::Memory(octets, sum) => {
                sum.fetch_sub(*octets, Ordering::Relaxed);
            }
            SpillSlot::File { at, length, room } => locked(room).give_back(*at, *length),
        }
    }
}

fn locked(room: &Mutex<FreeSpace>) -> MutexGuard<'_, FreeSpace> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SpillBuffer {
    /// Whether enough octets are ready that no more records are accepted.
    pub(super) fn has_enough(&self) -> bool {
        self.ready.load(Ordering::Relaxed) >= ENOUGH
    }

    /// Whether enough octets are in progress that no further task is started.
    pub(super) fn is_full(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) >= ENOUGH
    }

    /// Counts the octets of a record that is ready.
    pub(super) fn is_ready(&self, work: &mut Work) {
        work.weight = weighed(work, &self.ready);
    }

    /// Counts the octets of a record in progress.
    pub(super) fn begins(&self, work: &mut Work) {
        work.weight = weighed(work, &self.under_way);
    }

    /// Spills a waiting record.
    pub(super) fn store(&mut self, work: &mut Work) -> io::Result<()> {
        work.weight = None;
        if work.spilled.is_some() {
            return Ok(());
        }
        let octets = octets(work);
        if octets < FEW || self.in_memory.load(Ordering::Relaxed).saturating_add(octets) <= MOST {
            work.spilled = Some(SpillSlot::in_memory(octets, &self.in_memory));
            return Ok(());
        }
        let mut packed = Vec::with_capacity(octets);
        pack(work, &mut packed)?;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        let length = packed.len() as u64;
        let at = locked(&self.room).take(length);
        let place = SpillSlot::File { at, length, room: self.room.clone() };
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&packed)?;
        work.spilled = Some(Arc::new(place));
        // Only now: until it is in the file, nothing is removed.
        empty(work);
        Ok(())
    }

    /// Restores a spilled record.
    pub(super) fn restore(&mut self, work: &mut Work) -> io::Result<()> {
        let Some(place) = work.spilled.take() else { return Ok(()) };
        let SpillSlot::File { at, length, .. } = &*place else { return Ok(()) };
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(*at))?;
        let mut packed = Vec::new();
        file.take(*length).read_to_end(&mut packed)?;
        unpack(work, &packed).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// Counts the octets of a record, if they are many.
fn weighed(work: &mut Work, sum: &Arc<AtomicUsize>) -> Option<Arc<SpillSlot>> {
    // First the former count ends.
    work.weight = None;
    let Task::Upsert { wanted, .. } = &work.task else { return None };
    let values: usize = wanted.attributes.iter().flat_map(|a| &a.values).map(Vec::len).sum();
    (values >= LARGE).then(|| SpillSlot::in_memory(octets(work), sum))
}

/// Returns the attributes of a record that may be spilled, and its reject context.
fn parts(work: &mut Work) -> (&mut [Wanted], Option<&mut RejectContext>) {
    let wanted = match &mut work.task {
        Task::Upsert { wanted, .. } => wanted.attributes.as_mut_slice(),
        Task::Delete { .. } | Task::Find { .. } | Task::Membership(_) | Task::Nothing => &mut [],
    };
    (wanted, work.kept.as_mut())
}

fn is_spillable(attribute: &Wanted) -> bool {
    !is_secret_attribute(&attribute.description)
}

fn is_large(kept: &RejectContext, property: &str, value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Array(_) | Value::Object(_))
        && !kept.reject_schema.is_secret(property)
}

/// Returns the octets of a record that could be spilled.
fn octets(work: &mut Work) -> usize {
    let (attributes, kept) = parts(work);
    let values = |a: &Wanted| a.values.iter().map(|v| v.len() + size_of::<Vec<u8>>()).sum::<usize>();
    let wanted: usize = attributes.iter().filter(|a| is_spillable(a)).map(values).sum();
    let kept = kept.map_or(0, |kept| {
        let properties = kept.record.as_object().into_iter().flatten();
        properties.filter(|(name, value)| is_large(kept, name, value)).map(|(_, value)| weight(value)).sum()
    });
    wanted + kept
}

/// Returns the approximate memory of a value.
fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(weight).sum(),
            Value::Object(object) => object.iter().map(|(name, value)| name.len() + weight(value)).sum(),
            _ => 0,
        }
}

fn number(n: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(n as u64).to_le_bytes());
}

fn pack(work: &mut Work, out: &mut Vec<u8>) -> io::Result<()> {
    let (attributes, kept) = parts(work);
    for attribute in attributes.iter().filter(|a| is_spillable(a)) {
        number(attribute.values.len(), out);
        for value in &attribute.values {
            number(value.len(), out);
            out.extend_from_slice(value);
        }
    }
    let Some(kept) = kept else { return Ok(()) };
    for (name, value) in kept.record.as_object().into_iter().flatten() {
        if is_large(kept, name, value) {
            let at = out.len();
            number(0, out);
            serde_json::to_writer(&mut *out, value)?;
            let length = (out.len() - at - size_of::<u64>()) as u64;
            if let Some(place) = out.get_mut(at..at + size_of::<u64>()) {
                place.copy_from_slice(&length.to_le_bytes());
            }
        } else {
            number(0, out);
        }
    }
    Ok(())
}

fn empty(work: &mut Work) {
    let (attributes, kept) = parts(work);
    for attribute in attributes.iter_mut().filter(|a| is_spillable(a)) {
        attribute.values = Vec::new();
    }
    let Some(kept) = kept else { return };
    let reject_schema = kept.reject_schema.clone();
    let mut record = Arc::unwrap_or_clone(std::mem::take(&mut kept.record));
    let looked_at = RejectContext { record: Arc::default(), reject_schema };
    for (name, value) in record.as_object_mut().into_iter().flatten() {
        if is_large(&looked_at, name, value) {
            *value = Value::Null;
        }
    }
    kept.record = Arc::new(record);
}

/// Splits off the first octets.
fn first<'a>(packed: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (front, rest) = packed.split_at_checked(length)?;
    *packed = rest;
    Some(front)
}

fn next_number(packed: &mut &[u8]) -> Option<usize> {
    let octets = first(packed, size_of::<u64>())?;
    usize::try_from(u64::from_le_bytes(octets.try_into().ok()?)).ok()
}

fn unpack(work: &mut Work, mut packed: &[u8]) -> Option<()> {
    let packed = &mut packed;
    let (attributes, kept) = parts(work);
    for attribute in attributes.iter_mut().filter(|a| is_spillable(a)) {
        let count = next_number(packed)?;
        for _ in 0..count {
            let length = next_number(packed)?;
            attribute.values.push(first(packed, length)?.to_vec());
        }
    }
    let Some(kept) = kept else { return Some(()) };
    let mut record = Arc::unwrap_or_clone(std::mem::take(&mut kept.record));
    for (_, value) in record.as_object_mut().into_iter().flatten() {
        let length = next_number(packed)?;
        if length > 0 {
            *value = serde_json::from_slice(first(packed, length)?).ok()?;
        }
    }
    kept.record = Arc::new(record);
    Some(())
}

impl<W: Write> Load<'_, W> {
    /// Parks a record.
    pub(super) fn park(&mut self, mut work: Box<Work>) {
        self.spill(&mut work);
        self.scheduler.park(work.number, work);
    }

    /// Parks a record until a DN is free.
    pub(super) fn park_for_name(&mut self, mut work: Box<Work>, name: DnKey) {
        self.spill(&mut work);
        self.scheduler.park_for_name(work.number, work, name);
    }

    /// Spills a submitted record, if it waits for others.
    pub(super) fn spill_if_waiting(&mut self, number: u64) {
        let Self { scheduler, spill_buffer, .. } = self;
        let mut result = Ok(());
        scheduler.change_waiting(number, |work| result = spill_buffer.store(work));
        if let Err(error) = result {
            self.fail(number, LoadError::SpillBuffer(error));
        }
    }

    /// Spills a waiting record. A failure ends the run.
    pub(super) fn spill(&mut self, work: &mut Work) {
        if let Err(error) = self.spill_buffer.store(work) {
            self.fail(work.number, LoadError::SpillBuffer(error));
        }
    }

    /// Restores a spilled record. `false`: it cannot be read, and the run fails.
    pub(super) fn restore(&mut self, work: &mut Work) -> bool {
        match self.spill_buffer.restore(work) {
            Ok(()) => {
                self.spill_buffer.begins(work);
                true
            }
            Err(error) => {
                self.fail(work.number, LoadError::SpillBuffer(error));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;
    use singer_common::singer::message::SchemaMessage;

    use super::*;
    use crate::load::rejects::RejectSchema;
    use crate::map::wanted::WantedAccount;
    use crate::map::wanted::WantedEntry;
    use crate::rules::policy::{Compare, Policy};

    fn work(octets: usize) -> Work {
        let wanted = |description: &str, values: Vec<Vec<u8>>| Wanted {
            description: description.to_owned(),
            values,
            policy: Policy::Force,
            compare: Compare::Schema,
        };
        let attributes = vec![
            wanted("cn", vec![b"Ada".to_vec(), Vec::new()]),
            wanted("userPassword", vec![b"secret".to_vec()]),
            wanted("mail", Vec::new()),
            wanted("jpegPhoto", vec![vec![0xff; octets]]),
        ];
        let wanted = WantedEntry {
            dn: "cn=Ada".to_owned(),
            attributes,
            references: vec![],
            account: WantedAccount::default(),
        };
        let task = Task::Upsert { wanted, filter: None, write_policy: Arc::default() };
        let message = SchemaMessage { stream: "s".into(), schema: json!({}), key_properties: vec![] };
        let reject_schema = Arc::new(RejectSchema::new(&message, BTreeSet::from(["pin".to_owned()])));
        let record = json!({"id": 7, "pin": "1234", "photo": "x".repeat(octets), "names": ["Ada", null], "none": null});
        let kept = Some(RejectContext { record: Arc::new(record), reject_schema });
        Work { kept, ..Work::new(1, 1, "s".into(), task, DnKey::default(), "7".into()) }
    }

    #[test]
    fn what_is_put_away_comes_back_as_it_was_and_secrets_stay() {
        let mut spill_buffer = SpillBuffer::default();
        let whole = work(MOST / 2);
        let mut works: Vec<Work> = Vec::new();
        for _ in 0..2 {
            let mut one = whole.clone();
            spill_buffer.store(&mut one).unwrap();
            works.push(one);
        }
        let place = |work: &Work| match work.spilled.as_deref() {
            Some(SpillSlot::File { at, .. }) => *at,
            other => panic!("each is more than may be in memory: {other:?}"),
        };
        assert!(place(&works[0]) == 0 && place(&works[1]) > 0);
        for one in &works {
            let Task::Upsert { wanted, .. } = &one.task else { unreachable!() };
            assert!(wanted.attributes[0].values.is_empty() && wanted.attributes[3].values.is_empty());
            assert_eq!(wanted.attributes[1].values, [b"secret".to_vec()]);
            let record = &one.kept.as_ref().unwrap().record;
            assert_eq!(**record, json!({"id": 7, "pin": "1234", "photo": null, "names": null, "none": null}));
        }
        let mut file = spill_buffer.file.as_ref().unwrap().try_clone().unwrap();
        let mut text = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut text).unwrap();
        for secret in [&b"secret"[..], b"1234"] {
            assert!(!text.windows(secret.len()).any(|w| w == secret));
        }
        for mut one in works.into_iter().rev() {
            spill_buffer.restore(&mut one).unwrap();
            assert_eq!(one.task, whole.task);
            assert_eq!(one.kept.unwrap().record, whole.kept.as_ref().unwrap().record);
        }
        let room = locked(&spill_buffer.room);
        assert!(room.end == 0 && room.free.is_empty(), "{room:?}");
        drop(room);
        // Small values stay in memory, and the file is begun again.
        let (mut small, mut large) = (work(1), whole.clone());
        spill_buffer.store(&mut small).unwrap();
        assert!(matches!(small.spilled.as_deref(), Some(SpillSlot::Memory(..))));
        spill_buffer.store(&mut large).unwrap();
        assert!(matches!(large.spilled.as_deref(), Some(SpillSlot::File { at: 0, .. })));
        drop(small);
        assert_eq!(spill_buffer.in_memory.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn room_that_is_given_back_is_taken_again() {
        let mut room = FreeSpace::default();
        assert_eq!([room.take(10), room.take(20), room.take(30), room.take(40)], [0, 10, 30, 60]);
        room.give_back(10, 20);
        assert_eq!([room.take(5), room.take(20)], [10, 100]);
        room.give_back(30, 30);
        assert_eq!(room.free, BTreeMap::from([(15, 60)]));
        room.give_back(0, 10);
        room.give_back(10, 5);
        assert_eq!(room.free, BTreeMap::from([(0, 60)]));
        room.give_back(100, 20);
        room.give_back(60, 40);
        assert!(room.end == 0 && room.free.is_empty(), "{room:?}");
    }
}
