//! Which words go into which call, in which order, and which of them are tried again. No I/O.
//!
//! The service puts the records of one call in no certain order, and refuses some while it takes
//! others behind them. So a call holds each partition key once: what was refused is put before
//! anything of the same key that came after it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The API reference of PutRecords: 500 records a call.
const MOST_RECORDS: usize = 500;
/// Bytes of data and keys a call. The API reference says 10 MiB today and said 5 until 2025, which
/// emulators still hold to.
const MOST_BYTES: usize = 5 << 20;
/// Data and key of one record: what the API takes at most.
pub(crate) const LARGEST_RECORD: usize = 10 << 20;
/// Data and key of one record: what a stream takes unless it was set to take more. A larger one has
/// a call of its own, as the service refuses the whole call for it.
const USUAL_RECORD: usize = 1 << 20;
/// The API reference of PutRecordsRequestEntry: characters of a partition key.
const LONGEST_KEY: usize = 256;
/// Enough to fill calls although their keys differ, and little enough for any memory.
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

/// Words on their way.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Entry>,
    bytes_waiting: usize,
    /// In the call that is under way.
    under_way: Vec<Entry>,
    /// Before the second try, the third, and so on; then a word is given up.
    pauses: Vec<Duration>,
}

/// What came of a call.
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

    /// Whether a call should be made before more is pushed.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_WAITING || self.bytes_waiting >= 2 * MOST_BYTES
    }

    /// Takes the words of the next call; none, if nothing waits.
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

    /// How many words are in the call that is under way.
    pub(crate) fn count_under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Takes the answer to the call: for each of its words, in their order, whether it was put. What
    /// was refused is given up where it may not be tried again.
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

    /// All that was not put, in order.
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
        /// Whatever is refused: each word is put once or given up, words of a key are put in their
        /// order, and a call keeps to the limits.
        #[test]
        fn nothing_is_lost_doubled_or_overtaken(
            words in prop::collection::vec(0_u8..8, 0..60),
            refusals in prop::collection::vec(any::<bool>(), 0..300),
        ) {
            // The key is a long beginning, so that words of one key can be told apart.
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
