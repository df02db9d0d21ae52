//! Streams on HTTP/1.1 connections that do more than one request, and clients that read when they like.

use std::net::SocketAddr;

use mock_upstream::config::Distribution;
use mock_upstream::{Config, MockUpstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Exchange, get, post};
use crate::{CHAT_COMPLETIONS, endless, on_each_runtime, prompt, quick, run, start};

/// Answers at once, of `tokens` tokens whatever the request says.
fn burst(tokens: u64) -> Config {
    let mut config = Config::default();
    config.behaviour.timing.ttft_ms = Distribution::Fixed(0.0);
    config.behaviour.timing.gap_ms = Distribution::Fixed(0.0);
    config.behaviour.output.tokens = tokens;
    config.behaviour.output.obey_limit = false;
    config
}

/// Some 8 MB an answer, more than the sockets between the two take from a client that does not read.
const HUGE_TOKENS: u64 = 40_000;

fn huge() -> Config {
    let mut config = burst(HUGE_TOKENS);
    config.behaviour.output.max_tokens = HUGE_TOKENS;
    config
}

/// A streamed request whose tokens begin with eight times `digit`.
fn request(digit: char, version: &str, headers: &str) -> String {
    let nonce = digit.to_string().repeat(32);
    let body = prompt(1, true)
        .to_string()
        .replace(&"0".repeat(31), &nonce[..31])
        .replace(
            &format!("{}1 hello", &nonce[..31]),
            &format!("{nonce} hello"),
        );
    assert!(body.contains(&nonce));
    format!(
        "POST {CHAT_COMPLETIONS} {version}\r\nhost: upstream\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len(),
    )
}

/// Sends bytes, and returns the connection.
async fn send(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(bytes.as_bytes()).await.expect("taken");
    stream
}

async fn read_to_end(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("UTF-8");
    text
}

/// Checks that `text` is a whole chunked answer with tokens 0 to `tokens` of `digit`, a frame to a chunk.
fn check_answer(text: &str, digit: char, tokens: u64) {
    let (head, mut rest) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let mut next = 0;
    let mut last = "";
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal");
        let (chunk, after) = after.split_at(size);
        rest = after.strip_prefix("\r\n").expect("a chunk's end");
        if size == 0 {
            break;
        }
        assert_eq!(chunk.matches("data: ").count(), 1, "{chunk}");
        let token = format!("\"{}.{next} \"", digit.to_string().repeat(8));
        next += u64::from(chunk.contains(&token));
        last = chunk;
    }
    assert_eq!((next, last, rest), (tokens, "data: [DONE]\n\n", ""));
}

#[test]
fn frames_that_are_due_together_are_chunks_of_their_own() {
    on_each_runtime(|| async {
        for direct in [false, true] {
            let mock = start(Config {
                direct,
                ..burst(64)
            })
            .await;
            let request = request('a', "HTTP/1.1", "connection: close\r\n");
            let text = read_to_end(send(mock.address(), &request).await).await;
            check_answer(&text, 'a', 64);
            mock.idle().await;
            let stats = mock.stats();
            assert_eq!((stats.completed, stats.token_events), (1, 64));
            assert_eq!(stats.lateness.count, stats.frames);
            mock.shutdown().await;
        }
    });
}

#[test]
fn requests_on_one_connection_are_answered_one_after_the_other() {
    on_each_runtime(|| async {
        for config in [quick(), burst(5)] {
            let mock = start(config).await;
            // Pipelined: all are there before the first answer is out.
            let requests = [
                request('a', "HTTP/1.1", ""),
                request('b', "HTTP/1.1", ""),
                request('c', "HTTP/1.1", "connection: close\r\n"),
            ];
            let stream = send(mock.address(), &requests.concat()).await;
            let text = read_to_end(stream).await;
            let starts: Vec<_> = text.match_indices("HTTP/1.1 200 OK").collect();
            assert_eq!(starts.len(), 3, "{text}");
            check_answer(&text[..starts[1].0], 'a', 5);
            check_answer(&text[starts[1].0..starts[2].0], 'b', 5);
            check_answer(&text[starts[2].0..], 'c', 5);
            mock.idle().await;
            assert_eq!(mock.stats().completed, 3);
            mock.shutdown().await;
        }
    });
}

#[test]
fn a_client_that_does_not_read_at_first_misses_nothing() {
    on_each_runtime(|| async {
        let mock = start(huge()).await;
        let requests = [
            request('a', "HTTP/1.1", ""),
            request('b', "HTTP/1.1", "connection: close\r\n"),
        ];
        let stream = send(mock.address(), &requests.concat()).await;
        // The first answer is on its way, and stuck.
        while mock.stats().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(get(mock.address(), "/health").await.status, 200);
        let text = read_to_end(stream).await;
        let second = text.rfind("HTTP/1.1 200 OK").expect("two answers");
        check_answer(&text[..second], 'a', HUGE_TOKENS);
        check_answer(&text[second..], 'b', HUGE_TOKENS);
        mock.idle().await;
        assert_eq!((mock.stats().completed, mock.stats().aborted), (2, 0));
        mock.shutdown().await;
    });
}

#[test]
fn an_answer_that_nobody_takes_is_not_journaled_as_whole() {
    on_each_runtime(|| async {
        let mock = start(huge()).await;
        let stream = send(mock.address(), &request('a', "HTTP/1.1", "")).await;
        // Something of it has arrived, so what the sockets take is on its way; the rest is stuck.
        stream.readable().await.expect("the answer begins");
        drop(stream);
        mock.idle().await;
        let journal = mock.journal().expect("readable");
        assert_eq!(journal.len(), 1);
        assert!(!journal[0].completed);
        assert!(journal[0].frames_written < journal[0].frames, "{journal:?}");
        mock.shutdown().await;
    });
}

#[test]
fn http_1_0_gets_streams_without_chunks() {
    run(async {
        let mock = start(quick()).await;
        let request = request('a', "HTTP/1.0", "");
        let text = read_to_end(send(mock.address(), &request).await).await;
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(!head.contains("chunked"), "{head}");
        assert!(body.starts_with("data: {") && body.ends_with("}\n\ndata: [DONE]\n\n"));
        mock.shutdown().await;
    });
}

#[test]
fn the_journal_has_the_times_of_each_frame_where_it_is_asked_to() {
    run(async {
        for direct in [false, true] {
            let builder = MockUpstream::builder().config(Config { direct, ..quick() });
            let mock = builder.journal_frames(true).start().await.expect("starts");
            for stream in [true, false] {
                let reply = post(mock.address(), CHAT_COMPLETIONS, &prompt(1, stream)).await;
                assert!(reply.complete);
            }
            let journal = mock.journal().expect("readable");
            let times = journal[0].frame_times.as_ref().expect("asked for");
            // Role, five tokens, finish, terminator.
            assert_eq!(
                times.planned_ns,
                [2, 4, 5, 6, 7, 8, 8, 8].map(|ms| ms * 1_000_000)
            );
            assert_eq!(times.written_ns.len(), times.planned_ns.len());
            assert!(times.written_ns.is_sorted());
            let pairs = || times.written_ns.iter().zip(&times.planned_ns);
            assert!(pairs().all(|(written, planned)| written >= planned));
            let latest = pairs().map(|(written, planned)| written - planned).max();
            assert_eq!(latest, Some(journal[0].lateness_ns_max));
            let after = |index: usize| Some(journal[0].received_ns + times.written_ns[index]);
            assert_eq!(journal[0].first_write_ns, after(0));
            assert_eq!(journal[0].first_token_write_ns, after(1));
            assert_eq!(journal[0].last_write_ns, after(7));
            let times = journal[1].frame_times.as_ref().expect("asked for");
            assert_eq!(times.planned_ns, [8_000_000]);
            mock.shutdown().await;
        }
    });
}

#[test]
fn frames_that_never_left_have_a_plan_but_no_time() {
    run(async {
        let builder = MockUpstream::builder().config(endless());
        let mock = builder.journal_frames(true).start().await.expect("starts");
        let body = prompt(1, true).to_string();
        let mut exchange =
            Exchange::open(mock.address(), "POST", CHAT_COMPLETIONS, "", &body).await;
        exchange.head().await;
        for _ in 0..2 {
            exchange.chunk().await.expect("a chunk");
        }
        drop(exchange);
        mock.idle().await;
        let journal = mock.journal().expect("readable");
        let times = journal[0].frame_times.as_ref().expect("asked for");
        assert_eq!((times.planned_ns.len(), times.written_ns.len()), (8, 2));
        assert_eq!((journal[0].frames, journal[0].frames_written), (8, 2));
    });
}
