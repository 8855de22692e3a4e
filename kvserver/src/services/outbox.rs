//! The answers that a stream still has to send, in frames of bounded size.
//!
//! A client says with a few bytes what is to be answered with megabytes. So a stream holds answers
//! of bounded size only: reads are carried out as the client takes their answers, and writes whose
//! answers are large begin when there is room for those.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message as _;
use skv_proto::v1;
use skv_proto::v1::answer::Answer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of the answers in one frame; a larger one goes alone.
pub(super) const FRAME: usize = 1 << 20;
/// Bytes of answers to writes that may be under way or wait for the client of one stream.
const WAITING: usize = 16 << 20;
/// More bytes than an answer takes in its frame beside its value or error: those are at most 42, if its id and its
/// revision have ten each.
pub(super) const BESIDE_VALUE: usize = 48;
/// The size of a value of which thousands of answers are no burden.
const SHORT: usize = 16 << 10;

/// Room for the answers of one stream's writes.
#[derive(Debug, Clone)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    puts: Puts,
}

/// The long values that a stream is putting: the number of those of each length.
type Puts = Arc<Mutex<BTreeMap<usize, usize>>>;

/// A long value on its way into the store.
#[derive(Debug)]
pub(super) struct LongPut {
    puts: Puts,
    bytes: usize,
}

impl Drop for LongPut {
    fn drop(&mut self) {
        let mut puts = self.puts.lock();
        if let Some(count) = puts.get_mut(&self.bytes) {
            *count -= 1;
            if *count == 0 {
                puts.remove(&self.bytes);
            }
        }
    }
}

/// A part of it, in bytes.
pub(super) type Place = OwnedSemaphorePermit;

impl Room {
    /// All of it.
    pub(super) fn new() -> Self {
        Room { places: Arc::new(Semaphore::new(WAITING)), puts: Puts::default() }
    }

    /// Notes that a value of this size is put: an append that comes after it may be answered with it.
    /// `None`: it is too short to matter. Keep it until the put is applied.
    pub(super) fn put(&self, bytes: usize) -> Option<LongPut> {
        (bytes > SHORT).then(|| {
            *self.puts.lock().entry(bytes).or_insert(0) += 1;
            LongPut { puts: self.puts.clone(), bytes }
        })
    }

    /// Bytes of the longest value that is being put.
    pub(super) fn longest_put(&self) -> usize {
        self.puts.lock().last_key_value().map_or(0, |(bytes, _)| *bytes)
    }

    /// Returns true if nobody waits for room.
    pub(super) fn is_left(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// Waits for a place for answers of this size. One that is larger than all of the room gets
    /// all of it. `None`: none is needed any more.
    pub(super) async fn place(&self, bytes: usize) -> Option<Place> {
        self.places.clone().acquire_many_owned(bytes.min(WAITING) as u32).await.ok()
    }
}

/// Operations that are carried out when their answers can be sent.
pub(super) trait Source {
    /// Adds answers to a frame up to this size, or a larger one to an empty frame; returns
    /// their bytes, 0 if there is none that fits.
    fn fill(&mut self, frame: &mut Vec<v1::Answer>, room: usize) -> usize;

    /// Returns true if all are carried out.
    fn is_done(&self) -> bool;
}

/// The answers that wait for the client.
#[derive(Debug)]
pub(super) struct Outbox<S> {
    answers: VecDeque<v1::Answer>,
    /// The bytes of all answers.
    bytes: usize,
    /// The place of those that are answers to writes.
    place: Option<Place>,
    sources: VecDeque<S>,
}

impl<S> Default for Outbox<S> {
    fn default() -> Self {
        Outbox { answers: VecDeque::new(), bytes: 0, place: None, sources: VecDeque::new() }
    }
}

impl<S: Source> Outbox<S> {
    /// Returns true if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.sources.is_empty()
    }

    /// Returns true if more may be added to it before the client takes something.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < WAITING && self.sources.is_empty()
    }

    /// Adds answers, with the place that they take.
    pub(super) fn add(&mut self, answers: Vec<v1::Answer>, place: Option<Place>) {
        self.bytes += answers.iter().map(size).sum::<usize>();
        if self.answers.is_empty() {
            self.answers = answers.into();
        } else {
            self.answers.extend(answers);
        }
        match (&mut self.place, place) {
            (Some(all), Some(more)) => all.merge(more),
            (all, more) => *all = all.take().or(more),
        }
    }

    /// Adds operations that are carried out when their answers can be sent.
    pub(super) fn add_source(&mut self, source: S) {
        self.sources.push_back(source);
    }

    /// Returns the next frame. As a rule that is all there is, and nothing is copied.
    pub(super) fn next_frame(&mut self) -> Vec<v1::Answer> {
        if self.bytes > FRAME {
            return self.cut();
        }
        self.place = None;
        let (mut bytes, mut frame) =
            (std::mem::take(&mut self.bytes), Vec::from(std::mem::take(&mut self.answers)));
        while bytes < FRAME
            && let Some(source) = self.sources.front_mut()
        {
            bytes += source.fill(&mut frame, FRAME - bytes);
            if !source.is_done() {
                break;
            }
            self.sources.pop_front();
        }
        frame
    }

    /// The oldest answers, as many as go into one frame.
    fn cut(&mut self) -> Vec<v1::Answer> {
        let (mut bytes, mut frame) = (0, Vec::new());
        while let Some(answer) = self.answers.front() {
            let size = size(answer);
            if !frame.is_empty() && bytes + size > FRAME {
                break;
            }
            bytes += size;
            frame.extend(self.answers.pop_front());
        }
        self.bytes -= bytes;
        if let Some(place) = &mut self.place {
            drop(place.split(bytes.min(place.num_permits())));
        }
        frame
    }
}

/// Returns the bytes of an answer in its frame, or a few more: each answer of a stream is counted, and to find their
/// exact lengths would be work for nothing.
pub(super) fn size(answer: &v1::Answer) -> usize {
    let value = match &answer.answer {
        Some(Answer::Get(get)) => get.value.len(),
        Some(Answer::Append(append)) => append.old_value.len(),
        Some(Answer::Error(error)) => error.encoded_len(),
        Some(Answer::Put(_) | Answer::Delete(_)) | None => 0,
    };
    BESIDE_VALUE + value
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const MIB: usize = 1 << 20;

    fn answer(id: u64, bytes: usize) -> v1::Answer {
        let get = v1::GetResponse { value: vec![b'v'; bytes].into(), found: true, revision: 1 };
        v1::Answer { id, answer: Some(Answer::Get(get)) }
    }

    /// Answers of this size, and the number that was made.
    struct Gets {
        left: Vec<v1::Answer>,
        made: usize,
    }

    impl Source for Gets {
        fn fill(&mut self, frame: &mut Vec<v1::Answer>, room: usize) -> usize {
            let mut bytes = 0;
            while let Some(next) = self.left.last().map(size) {
                if !frame.is_empty() && bytes + next > room {
                    break;
                }
                bytes += next;
                frame.extend(self.left.pop());
                self.made += 1;
            }
            bytes
        }

        fn is_done(&self) -> bool {
            self.left.is_empty()
        }
    }

    fn encoded(frame: &[v1::Answer]) -> usize {
        v1::PipelineResponse { answers: frame.to_vec() }.encoded_len()
    }

    /// All frames of an outbox; none is too long unless it is of one answer.
    fn frames(outbox: &mut Outbox<Gets>) -> Vec<Vec<u64>> {
        let mut frames = Vec::new();
        while !outbox.is_empty() {
            let frame = outbox.next_frame();
            assert!(!frame.is_empty(), "a frame of nothing");
            assert!(encoded(&frame) <= FRAME || frame.len() == 1, "{} bytes", encoded(&frame));
            frames.push(frame.iter().map(|answer| answer.id).collect());
        }
        frames
    }

    #[test]
    fn small_answers_go_together_and_large_ones_alone() {
        let mut outbox = Outbox::default();
        outbox.add((0..100).map(|id| answer(id, 10)).collect(), None);
        outbox.add((100..200).map(|id| answer(id, 10)).collect(), None);
        assert_eq!(frames(&mut outbox), [(0..200).collect::<Vec<_>>()]);
        outbox.add((0..3).map(|id| answer(id, 2 * MIB)).collect(), None);
        outbox.add((3..9).map(|id| answer(id, 300 << 10)).collect(), None);
        assert_eq!(frames(&mut outbox), [vec![0], vec![1], vec![2], vec![3, 4, 5], vec![6, 7, 8]]);
    }

    #[test]
    fn no_answer_is_longer_than_its_size() {
        let (revision, value) = (u64::MAX, Bytes::from(vec![b'v'; 3 * MIB]));
        let error = v1::Error { message: "why".repeat(MIB), floor: revision, ..v1::Error::default() };
        for answer in [
            Answer::Get(v1::GetResponse { value: value.clone(), found: true, revision }),
            Answer::Put(v1::PutResponse { success: true, revision }),
            Answer::Append(v1::AppendResponse { old_value: value, revision, found: true }),
            Answer::Delete(v1::DeleteResponse { success: true, revision, found: true }),
            Answer::Error(Box::new(error)),
        ] {
            let answer = v1::Answer { id: u64::MAX, answer: Some(answer) };
            let size = size(&answer);
            assert!(encoded(&[answer]) <= size, "more than {size} bytes");
        }
    }

    #[test]
    fn a_read_is_carried_out_when_its_answer_can_be_sent() {
        let mut outbox = Outbox::default();
        outbox.add(vec![answer(7, 10)], None);
        let gets = (0..70).map(|id| answer(id, MIB)).collect();
        outbox.add_source(Gets { left: gets, made: 0 });
        assert!(!outbox.has_room());
        for frame in 1..10 {
            outbox.next_frame();
            assert!(outbox.sources[0].made <= frame, "more was read than sent");
        }
        let sent: usize = frames(&mut outbox).iter().map(Vec::len).sum();
        assert_eq!(sent + 9, 71);
        assert!(outbox.has_room());
    }

    #[test]
    fn appends_reckon_with_the_longest_value_on_its_way() {
        let room = Room::new();
        assert!(room.put(SHORT).is_none());
        let puts = [MIB, MIB, 2 * MIB].map(|bytes| room.put(bytes));
        assert_eq!(room.longest_put(), 2 * MIB);
        let [first, second, longest] = puts;
        drop((longest, first));
        assert_eq!(room.longest_put(), MIB);
        drop(second);
        assert_eq!(room.longest_put(), 0);
    }

    #[tokio::test]
    async fn writes_with_large_answers_wait_until_the_client_has_taken_some() {
        let (room, mut outbox) = (Room::new(), Outbox::<Gets>::default());
        let mut begun = 0;
        while room.is_left() {
            let place = room.place(2 * MIB).await;
            outbox.add(vec![answer(begun, 2 * MIB)], place);
            begun += 1;
        }
        assert_eq!(begun, 8);
        assert!(!outbox.has_room());
        outbox.next_frame();
        assert!(room.is_left() && outbox.has_room());
        frames(&mut outbox);
        assert_eq!(room.places.available_permits(), WAITING);
        // What is larger than all of it goes alone.
        assert_eq!(room.place(usize::MAX).await.map(|place| place.num_permits()), Some(WAITING));
    }
}
