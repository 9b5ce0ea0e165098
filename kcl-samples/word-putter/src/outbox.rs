//! Decides which words go into which call, in which order, and which are retried. No I/O.
//!
//! The service does not keep the order within a call, and may reject a record but accept later ones.
//! So a call contains each partition key once: a rejected word is put before later words of its key.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Records per call (API reference of PutRecords).
const MOST_RECORDS: usize = 500;
/// Bytes of data and keys per call. The API allows 10 MiB; until 2025 and in emulators it is 5 MiB.
const MOST_BYTES: usize = 5 << 20;
/// The API's limit for data and key of one record.
pub(crate) const LARGEST_RECORD: usize = 10 << 20;
/// A stream's default limit for data and key of one record. A larger record gets its own call, as the
/// service rejects the whole call for it.
const USUAL_RECORD: usize = 1 << 20;
/// Characters of a partition key (API reference of PutRecordsRequestEntry).
const LONGEST_KEY: usize = 256;
/// Enough words to fill calls even if many share a key.
const MOST_WAITING: usize = 4 * MOST_RECORDS;

/// A word that can be a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    text: Arc<str>,
    key_end: usize,
}

impl Word {
    pub(crate) fn new(text: &str) -> Result<Word, String> {
        let key_end = text.char_indices().nth(LONGEST_KEY).map_or(text.len(), |(end, _)| end);
        if text.len() + key_end > LARGEST_RECORD {
            return Err(format!("longer than {LARGEST_RECORD} bytes with its key"));
        }
        Ok(Word { text: text.into(), key_end })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The partition key: the word, or its beginning.
    pub(crate) fn key(&self) -> &str {
        &self.text[..self.key_end]
    }

    fn size(&self) -> usize {
        self.text.len() + self.key_end
    }
}

#[derive(Debug)]
struct Entry {
    word: Word,
    tries: usize,
}

/// Words that are not put yet.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Entry>,
    bytes_waiting: usize,
    /// In the current call.
    under_way: Vec<Entry>,
    /// The pauses before retries. After the last one a word is given up.
    pauses: Vec<Duration>,
}

/// The result of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled<E> {
    pub(crate) put: Vec<Word>,
    pub(crate) given_up: Vec<(Word, E)>,
    /// How long to wait before the next call.
    pub(crate) pause: Option<Duration>,
}

impl Outbox {
    pub(crate) fn new(pauses: impl IntoIterator<Item = Duration>) -> Outbox {
        let pauses = pauses.into_iter().collect();
        Outbox { waiting: VecDeque::new(), bytes_waiting: 0, under_way: Vec::new(), pauses }
    }

    pub(crate) fn push(&mut self, word: Word) {
        self.bytes_waiting += word.size();
        self.waiting.push_back(Entry { word, tries: 0 });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns whether to make a call before pushing more.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_WAITING || self.bytes_waiting >= 2 * MOST_BYTES
    }

    /// Takes the words of the next call; empty if there are none.
    pub(crate) fn next_call(&mut self) -> impl Iterator<Item = &Word> {
        let mut keys = HashSet::new();
        let mut bytes = 0;
        let mut left = VecDeque::with_capacity(self.waiting.len());
        let mut is_complete = false;
        for entry in std::mem::take(&mut self.waiting) {
            let word = entry.word.clone();
            let size = word.size();
            is_complete = is_complete
                || self.under_way.len() == MOST_RECORDS
                || !self.under_way.is_empty() && (size > USUAL_RECORD || bytes + size > MOST_BYTES);
            if is_complete || keys.contains(word.key()) {
                left.push_back(entry);
                continue;
            }
            is_complete = size > USUAL_RECORD;
            bytes += size;
            keys.insert(word.key().to_owned());
            self.under_way.push(entry);
        }
        self.bytes_waiting -= bytes;
        self.waiting = left;
        self.under_way.iter().map(|entry| &entry.word)
    }

    /// Returns the number of words in the current call.
    pub(crate) fn count_under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Handles the response: for each word of the call, in order, whether it was put. A rejected word
    /// is retried, or given up if a retry does not help.
    pub(crate) fn settle<E>(
        &mut self,
        answers: impl IntoIterator<Item = Result<(), E>>,
        may_try_again: bool,
    ) -> Settled<E> {
        let mut settled = Settled { put: Vec::new(), given_up: Vec::new(), pause: None };
        let mut again = Vec::new();
        for (mut entry, answer) in std::mem::take(&mut self.under_way).into_iter().zip(answers) {
            match (answer, self.pauses.get(entry.tries).filter(|_| may_try_again)) {
                (Ok(()), _) => settled.put.push(entry.word),
                (Err(_), Some(&pause)) => {
                    settled.pause = settled.pause.max(Some(pause));
                    entry.tries += 1;
                    again.push(entry);
                }
                (Err(error), None) => settled.given_up.push((entry.word, error)),
            }
        }
        for entry in again.into_iter().rev() {
            self.bytes_waiting += entry.word.size();
            self.waiting.push_front(entry);
        }
        settled
    }

    /// Returns all words that were not put, in order.
    pub(crate) fn give_up(&mut self) -> impl Iterator<Item = Word> {
        self.bytes_waiting = 0;
        let under_way = std::mem::take(&mut self.under_way).into_iter();
        under_way.chain(std::mem::take(&mut self.waiting)).map(|entry| entry.word)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn outbox(words: &[&str]) -> Outbox {
        let mut outbox = Outbox::new([Duration::from_millis(1), Duration::from_millis(2)]);
        words.iter().for_each(|word| outbox.push(Word::new(word).unwrap()));
        outbox
    }

    fn next(outbox: &mut Outbox) -> Vec<String> {
        outbox.next_call().map(|word| word.as_str().to_owned()).collect()
    }

    #[test]
    fn a_call_holds_each_key_once_and_five_hundred_words() {
        let mut five = outbox(&["cat", "dog", "cat", "bird", "cat"]);
        assert_eq!(next(&mut five), ["cat", "dog", "bird"]);
        five.settle([Ok::<_, ()>(()), Ok(()), Ok(())], true);
        assert_eq!(next(&mut five), ["cat"]);

        let words: Vec<String> = (0..501).map(|number| number.to_string()).collect();
        let mut many = outbox(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(next(&mut many), words[..500]);
    }

    #[test]
    fn a_call_holds_five_mebibytes_and_a_very_large_word_has_one_of_its_own() {
        let large = |name: &str, mebibytes: usize| format!("{name}{}", "x".repeat(mebibytes << 20));
        let usual = |name: &str| format!("{name}{}", "x".repeat((1 << 20) - 600));
        let words: Vec<String> = ["1", "2", "3", "4", "5"].map(usual).to_vec();
        let mut five = outbox(&words.iter().map(String::as_str).collect::<Vec<_>>());
        five.push(Word::new("small").unwrap());
        assert_eq!(next(&mut five).len(), 6);

        let (a, b) = (large("a", 2), large("b", 6));
        let mut outbox = outbox(&["cat", &a, &b, "dog"]);
        for call in ["cat", &a, &b, "dog"] {
            assert!(next(&mut outbox) == [call]);
            outbox.settle([Ok::<_, ()>(())], true);
        }
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_key_is_the_beginning_of_a_long_word() {
        let word = Word::new(&"ä".repeat(300)).unwrap();
        assert_eq!(word.key(), "ä".repeat(256));
        assert_eq!(
            Word::new(&"x".repeat(LARGEST_RECORD - 255)).unwrap_err(),
            "longer than 10485760 bytes with its key"
        );
    }

    #[test]
    fn what_is_refused_comes_first_then_is_given_up() {
        let mut outbox = outbox(&["cat", "dog", "cat", "bird"]);
        assert_eq!(next(&mut outbox), ["cat", "dog", "bird"]);
        let settled = outbox.settle([Err("slow"), Ok(()), Err("slow")], true);
        assert_eq!(settled.pause, Some(Duration::from_millis(1)));
        assert_eq!(next(&mut outbox), ["cat", "bird"]);
        let settled = outbox.settle([Err("slow"), Err("slow")], true);
        assert_eq!(settled.pause, Some(Duration::from_millis(2)));
        assert_eq!(next(&mut outbox), ["cat", "bird"]);
        let settled = outbox.settle([Err("slow"), Ok(())], true);
        assert_eq!(settled.given_up, [(Word::new("cat").unwrap(), "slow")]);
        assert_eq!(settled.pause, None);
        assert_eq!(next(&mut outbox), ["cat"]);
        let settled = outbox.settle([Err("slow")], false);
        assert_eq!(settled.given_up, [(Word::new("cat").unwrap(), "slow")]);
        assert!(outbox.is_empty());
    }

    proptest! {
        /// Whatever is rejected: each word is put once or given up, the words of a key are put in order,
        /// and a call stays within the limits.
        #[test]
        fn nothing_is_lost_doubled_or_overtaken(
            words in prop::collection::vec(0_u8..8, 0..60),
            refusals in prop::collection::vec(any::<bool>(), 0..300),
        ) {
            // The key is a long prefix, so that words with the same key differ.
            let text = |key: u8, number: usize| format!("{key}{}{number}", "x".repeat(255));
            let mut outbox = outbox(&[]);
            for (number, &key) in words.iter().enumerate() {
                outbox.push(Word::new(&text(key, number)).unwrap());
            }
            let mut refusals = refusals.into_iter();
            let (mut put, mut given_up) = (Vec::new(), Vec::new());
            while !outbox.is_empty() {
                let mut keys = HashSet::new();
                let mut answers = Vec::new();
                for word in outbox.next_call() {
                    prop_assert!(keys.insert(word.key().to_owned()));
                    answers.push(if refusals.next() == Some(true) { Err(()) } else { Ok(()) });
                }
                prop_assert!((1..=MOST_RECORDS).contains(&answers.len()));
                let settled = outbox.settle(answers, true);
                put.extend(settled.put);
                given_up.extend(settled.given_up.into_iter().map(|(word, ())| word));
            }
            let number = |word: &Word| word.as_str()[256..].parse::<usize>().unwrap();
            let mut last = HashMap::new();
            for word in &put {
                let before = last.insert(word.key().to_owned(), number(word));
                prop_assert!(before < Some(number(word)));
            }
            let mut all: Vec<_> = put.iter().chain(&given_up).map(number).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..words.len()).collect::<Vec<_>>());
        }
    }
}
