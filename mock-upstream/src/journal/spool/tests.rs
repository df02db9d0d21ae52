//! What was appended comes back, to whoever asks for it and waits for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Wake;

use super::*;
use crate::config::Class;
use crate::journal::{Endpoint, Usage};

fn entry(seq: u64, nonce: &str) -> JournalEntry {
    JournalEntry {
        seq,
        nonce: nonce.to_owned(),
        trace_id: None,
        endpoint: Endpoint::OpenAi,
        path: "/v1/chat/completions".to_owned(),
        model: "m".to_owned(),
        stream: true,
        status: 200,
        received_unix_us: 1,
        received_ns: 2,
        first_write_ns: Some(3),
        first_token_write_ns: None,
        last_token_write_ns: None,
        token_writes: Some(0),
        keep_alives: Some(0),
        last_write_ns: Some(4),
        frames: 5,
        frames_written: 5,
        token_events: 0,
        lateness_ns_max: 6,
        usage: Usage::default(),
        cost: Some("0.00125".to_owned()),
        recorded_cost: None,
        charged: Some("0.00125".to_owned()),
        delivered_output: Some(500),
        recorded: BTreeMap::new(),
        billing_faults: vec![Class::Late],
        wire_usage: None,
        billed_usage: None,
        ledger_rows: 1,
        recorded_unix_us: Some(3),
        service_tier: None,
        served_model: None,
        silence_ns_max: Some(1),
        tools: Some(0),
        tool_choice: None,
        parallel_tool_calls: None,
        tool_calls: 0,
        tool_results: 0,
        turn: 0,
        text_tokens: Some(500),
        text_tokens_after: Some(0),
        reasoning_tokens: Some(0),
        text_sha256: Some("0123456789abcdef".to_owned()),
        reasoning_sha256: None,
        finish: Some("stop".to_owned()),
        fault: None,
        attempt: 1,
        profile: None,
        response_id: Some("r".to_owned()),
        queue_ns: 0,
        body: None,
        completed: true,
        body_bytes: 7,
        frame_times: None,
    }
}

fn all(journal: &Arc<Journal>, nonce: Option<&str>) -> Vec<JournalEntry> {
    let selection = Selection {
        nonce: nonce.map(str::to_owned),
        ..Selection::default()
    };
    let lines = journal.lines(selection).expect("readable");
    lines.parse().expect("entries")
}

#[test]
fn entries_come_back_in_order_whatever_was_spooled() {
    let journal = Arc::new(Journal::new().expect("a temporary file"));
    // Well over the buffer, and read in between.
    for seq in 0..1_000 {
        journal.append(&entry(seq, "n")).expect("spooled");
        if seq % 300 == 0 {
            assert_eq!(all(&journal, None).len() as u64, seq + 1);
        }
    }
    let entries = all(&journal, None);
    assert!(entries.iter().map(|entry| entry.seq).eq(0..1_000));
    assert_eq!(entries[7], entry(7, "n"));
}

#[test]
fn lines_are_found_by_nonce() {
    let journal = Arc::new(Journal::new().expect("a temporary file"));
    for seq in 0..500 {
        journal
            .append(&entry(seq, &format!("n{}", seq % 100)))
            .expect("spooled");
    }
    let found = all(&journal, Some("n42"));
    assert!(
        found
            .iter()
            .map(|entry| entry.seq)
            .eq([42, 142, 242, 342, 442])
    );
    assert!(all(&journal, Some("n4")).len() == 5);
    assert!(all(&journal, Some("absent")).is_empty());
}

#[test]
fn lines_are_found_by_number() {
    let journal = Arc::new(Journal::new().expect("a temporary file"));
    for seq in [3, 0, 2, 5, 1, 4] {
        journal.append(&entry(seq, "n")).expect("spooled");
    }
    let selection = Selection {
        since: 3,
        ..Selection::default()
    };
    let found = journal.lines(selection).expect("readable");
    let found = found.parse().expect("entries");
    assert!(found.iter().map(|entry| entry.seq).eq([3, 5, 4]));
}

#[test]
fn a_follower_is_woken_by_an_entry_by_a_reset_and_by_the_end() {
    let journal = Arc::new(Journal::new().expect("a temporary file"));
    journal.append(&entry(0, "n")).expect("spooled");
    let selection = Selection {
        nonce: Some("n".to_owned()),
        follow: true,
        ..Selection::default()
    };
    let mut lines = journal.lines(selection).expect("readable");
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut poll = || {
        loop {
            match lines.next_piece().expect("readable") {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => {
                    let entry: JournalEntry = serde_json::from_slice(&piece).expect("an entry");
                    return Poll::Ready(Some(entry.seq));
                }
                None => match lines.poll_more(&Context::from_waker(&waker)) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(end) => {
                        assert!(!end.expect("readable"));
                        return Poll::Ready(None);
                    }
                },
            }
        }
    };
    assert_eq!(poll(), Poll::Ready(Some(0)));
    assert_eq!(poll(), Poll::Pending);
    assert_eq!(woken.count(), 0);
    journal.append(&entry(1, "another")).expect("spooled");
    assert_eq!((woken.count(), poll()), (1, Poll::Pending));
    journal.append(&entry(2, "n")).expect("spooled");
    assert_eq!((woken.count(), poll()), (2, Poll::Ready(Some(2))));
    assert_eq!(poll(), Poll::Pending);
    journal.clear().expect("cleared");
    assert_eq!((woken.count(), poll()), (3, Poll::Pending));
    journal.append(&entry(3, "n")).expect("spooled");
    journal.close();
    assert_eq!((woken.count(), poll()), (4, Poll::Ready(Some(3))));
    assert_eq!(poll(), Poll::Ready(None));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl Woken {
    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_line_longer_than_a_piece_is_read_whole() {
    let journal = Arc::new(Journal::new().expect("a temporary file"));
    let long = entry(0, &"x".repeat(3 * READ_BYTES));
    journal.append(&long).expect("spooled");
    assert_eq!(all(&journal, None), [long]);
}

#[test]
fn answers_are_found_by_their_id() {
    let journal = Arc::new(Journal::new().expect("a temporary file"));
    for seq in 0..500 {
        let mut entry = entry(seq, "n");
        entry.response_id = Some(format!("r{seq}"));
        journal.append(&entry).expect("spooled");
    }
    let find = |id| journal.find(id).expect("readable").map(|entry| entry.seq);
    assert_eq!(
        (find("r0"), find("r77"), find("r499")),
        (Some(0), Some(77), Some(499))
    );
    assert_eq!(find("r500"), None);
    // As after a write that failed: another line stands there.
    journal.lock().places.put("lost".to_owned(), 0);
    assert_eq!(find("lost"), None);
    journal.clear().expect("cleared");
    assert_eq!(find("r0"), None);
}

#[test]
fn clearing_ends_older_readers() {
    let journal = Arc::new(Journal::new().expect("a temporary file"));
    journal.append(&entry(0, "n")).expect("spooled");
    let mut before = journal.lines(Selection::default()).expect("readable");
    journal.clear().expect("cleared");
    journal.append(&entry(1, "n")).expect("spooled");
    assert!(before.next_piece().expect("no error").is_none());
    assert_eq!(all(&journal, None).len(), 1);
}
