use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::program::Sandbox;

#[test]
fn quote_shows_the_exact_and_the_short_amount() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge([
            "quote",
            "magistral-small-latest",
            "--input",
            "1000",
            "--output",
            "500",
        ])
        .exits(0)
        .shows(&[
            "$0.00125",
            "$0.0013",
            "$0.0005",
            "$0.00075",
            "builtin:keeprouter",
        ]);
}

#[test]
fn quote_of_an_unknown_model_suggests_one() {
    let sandbox = Sandbox::new();
    let quote = |model: &str| {
        sandbox
            .weighbridge(["quote", model, "--input", "1", "--output", "1"])
            .exits(2)
    };
    quote("magistral-smal-latest").says(&[
        "no price for `magistral-smal-latest` in builtin:keeprouter",
        "did you mean `magistral-small-latest`?",
    ]);
    quote("gpt-9").says(&[
        "no price for `gpt-9`",
        "codestral-latest",
        "magistral-small-latest",
    ]);
}

#[test]
fn quote_knows_when_a_price_holds() {
    let sandbox = Sandbox::new();
    sandbox
        .program([
            "quote",
            "magistral-small-latest",
            "--input",
            "1",
            "--output",
            "1",
        ])
        .args(["--at", "2020-01-01"])
        .output()
        .exits(2)
        .says(&["`magistral-small-latest`", "2020-01-01", "on other days"]);
}

#[test]
fn check_says_what_would_be_done_and_does_nothing() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["check", "quick.toml"])
        .exits(0)
        .shows(&[
            "quick: magistral-small-latest on the offline upstream (openai and anthropic)",
            "closed loop, 2 users, 3 requests per endpoint",
            "6 requests and 2 before the load: expected $0.000288, at most $0.00",
            "  openai     expected $0.000144,",
        ]);
    assert!(!sandbox.path("reports").exists());
    sandbox
        .weighbridge(["check"])
        .exits(0)
        .shows(&["magistral-small:"]);
}

#[test]
fn mock_says_where_it_listens_answers_and_stops_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = Sandbox::new();
        let running = sandbox.program(["mock", "--listen", "127.0.0.1:0"]).start();
        running.wait_until("its address", || running.stdout().ends_with('\n'));
        let line = running.stdout();
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .expect("the first line");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream
            .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .expect("sent");
        let mut status = String::new();
        BufReader::new(stream)
            .read_line(&mut status)
            .expect("an answer");
        assert_eq!(status.trim(), "HTTP/1.1 200 OK");
        running.signal(signal);
        running.end().exits(0);
    }
}

#[test]
fn mock_refuses_a_bad_configuration() {
    let sandbox = Sandbox::new();
    sandbox.write("mock.toml", "seed = 1\n\n[output]\ntoken = 5\n");
    sandbox
        .weighbridge(["mock", "--config", "mock.toml"])
        .exits(2)
        .says(&["mock.toml:4", "token", "`tokens`"]);
    sandbox
        .weighbridge(["mock", "--listen", "0.0.0.0:0"])
        .exits(2)
        .says(&["0.0.0.0:0", "--allow-remote"]);
}

#[test]
fn run_loads_a_mock_of_its_own_program() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "mock.toml",
        "[timing]\nttft_ms = { fixed = 1 }\ngap_ms = { fixed = 1 }\n",
    );
    let mock = sandbox.program(["mock", "--config", "mock.toml"]).start();
    mock.wait_until("its address", || mock.stdout().ends_with('\n'));
    let line = mock.stdout();
    let origin = line
        .trim()
        .strip_prefix("listening on ")
        .expect("the first line");
    sandbox.run_against(origin).output().exits(0);
    mock.signal(Signal::TERM);
    mock.end().exits(0);
}
