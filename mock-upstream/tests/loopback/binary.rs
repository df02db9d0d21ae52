//! The program: its one line, its errors, its signals.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use mock_upstream::Config;
use mock_upstream::config::Distribution;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::client::{Exchange, get, post};
use crate::{MESSAGES, prompt, run};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mock-upstream"));
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Starts it, and reads the address from its first line.
async fn listening(
    command: &mut Command,
) -> (Child, SocketAddr, BufReader<tokio::process::ChildStdout>) {
    let mut child = command.spawn().expect("the program starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).await.expect("a line");
    let address = line
        .strip_prefix("listening on http://")
        .expect("the address")
        .trim_end();
    (child, address.parse().expect("an address"), stdout)
}

/// What it says and how it ends when it cannot start.
async fn refused(command: &mut Command) -> (ExitStatus, String) {
    let output = command.output().await.expect("the program ends");
    assert!(output.stdout.is_empty());
    (
        output.status,
        String::from_utf8(output.stderr).expect("UTF-8"),
    )
}

#[cfg(unix)]
#[test]
fn it_serves_a_configuration_and_stops_at_a_signal() {
    run(async {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"[timing]\nttft_ms = { fixed = 1 }\n[output]\ntokens = 3\n")
            .expect("written");
        for signal in ["TERM", "INT"] {
            let (mut child, address, mut stdout) =
                listening(program().arg("--config").arg(file.path())).await;
            assert_eq!(get(address, "/health").await.status, 200);
            let reply = post(address, MESSAGES, &prompt(1, true)).await;
            assert!(reply.complete);
            let id = child.id().expect("it runs").to_string();
            let killed = Command::new("kill")
                .args(["-s", signal, &id])
                .status()
                .await;
            assert!(killed.expect("kill runs").success());
            assert!(child.wait().await.expect("it ends").success());
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).await.expect("readable");
            assert_eq!(rest, "", "stdout is one line");
        }
    });
}

#[test]
fn flags_stand_in_for_keys_of_the_file() {
    run(async {
        let (_child, address, _stdout) =
            listening(program().args(["--direct", "--journal-frames"])).await;
        assert!(post(address, MESSAGES, &prompt(1, true)).await.complete);
        let journal = get(address, "/__mock/journal").await.json();
        let times = &journal["frame_times"];
        let count = |key: &str| times[key].as_array().map(Vec::len);
        assert!(count("planned_ns").is_some_and(|count| count > 5));
        assert_eq!(count("planned_ns"), count("written_ns"));
        assert_eq!(
            get(address, "/__mock/stats").await.json()["accept_errors"],
            0
        );
    });
}

/// A file with this content.
fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(content).expect("written");
    file
}

#[test]
fn mistakes_exit_with_2_and_say_where_they_are() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let wrong = file(b"seed = 1\nsede = 2\n");
        let binary = file(b"seed = 1\n# \xff\n");
        let cases = [
            (
                wrong.path(),
                ":2: `sede`: unknown field `sede`, expected one of `seed`",
            ),
            (binary.path(), ":2: not UTF-8, as TOML has to be"),
            (folder.path(), ": Is a directory"),
            (
                Path::new("/nonexistent/mock.toml"),
                "cannot read /nonexistent/mock.toml: No such file",
            ),
        ];
        for (path, reason) in cases {
            for more in [&[][..], &["--check"], &["--print-config"]] {
                let (status, stderr) =
                    refused(program().arg("--config").arg(path).args(more)).await;
                assert_eq!(status.code(), Some(2));
                assert!(stderr.contains(reason), "{stderr}");
                assert!(stderr.contains(&path.display().to_string()), "{stderr}");
                assert_eq!(stderr.lines().count(), 1, "{stderr}");
            }
        }
        let (status, stderr) = refused(program().args(["--listen", "0.0.0.0:0"])).await;
        assert_eq!(status.code(), Some(2));
        assert!(stderr.contains("--allow-remote"), "{stderr}");
    });
}

#[test]
fn a_port_in_use_is_named_with_what_helps() {
    run(async {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        let (status, stderr) = refused(program().args(["--listen", &address])).await;
        assert_eq!(status.code(), Some(2));
        let expected = format!("mock-upstream: cannot listen on {address}: ");
        assert!(stderr.starts_with(&expected), "{stderr}");
        assert!(stderr.contains("another program listens there"), "{stderr}");
        assert!(stderr.contains("choose another port"), "{stderr}");
    });
}

/// What it prints, where that is all it does.
async fn printed(command: &mut Command) -> String {
    let output = command.output().await.expect("the program ends");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_file_is_checked_without_being_served() {
    run(async {
        let right =
            file(b"seed = 1\n[profiles.slow]\nmodels = [\"a\", \"slow-*\"]\n[profiles.eu]\n");
        let report = printed(program().arg("--check").arg("--config").arg(right.path())).await;
        let expected = format!(
            "{}: ok\nprofile eu: for `x-mock-profile: eu`\n\
             profile slow: for `x-mock-profile: slow`, model a, model slow-*\n",
            right.path().display()
        );
        assert_eq!(report, expected);
        let output = program().arg("--check").output().await.expect("it ends");
        assert_eq!(output.status.code(), Some(2), "there is nothing to check");
    });
}

#[test]
fn the_configuration_that_it_prints_is_one_that_it_reads() {
    run(async {
        let defaults = printed(program().arg("--print-config")).await;
        let config = Config::from_toml(&defaults, "printed").expect("valid");
        assert_eq!(config, Config::default());
        let own = file(b"seed = 9\n[profiles.slow]\nmodels = [\"slow-*\"]\n");
        let mut command = program();
        let command = command
            .args(["--print-config", "--direct", "--config"])
            .arg(own.path());
        let config = Config::from_toml(&printed(command).await, "printed").expect("valid");
        assert_eq!((config.seed, config.direct), (9, true));
        assert_eq!(config.profiles["slow"].models, ["slow-*"]);
    });
}

#[test]
fn a_configuration_may_come_from_stdin() {
    run(async {
        for (text, expected) in [("seed = 1\n", "<stdin>: ok\n"), ("seed = 1\nsede = 2", "")] {
            let mut command = program();
            let command = command
                .args(["--config", "-", "--check"])
                .stdin(Stdio::piped());
            let mut child = command.spawn().expect("the program starts");
            let mut stdin = child.stdin.take().expect("a pipe");
            stdin.write_all(text.as_bytes()).await.expect("taken");
            drop(stdin);
            let output = child.wait_with_output().await.expect("it ends");
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(stderr.contains("<stdin>:2: `sede`"), expected.is_empty());
        }
    });
}

/// The program under a limit of open files.
#[cfg(unix)]
fn with_files(limit: u32, arguments: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let limited = format!("ulimit -n {limit}; exec \"$0\" {arguments}");
    command
        .args(["-c", &limited, env!("CARGO_BIN_EXE_mock-upstream")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[cfg(unix)]
#[test]
fn a_lack_of_descriptors_is_said_once_and_survived() {
    run(async {
        // wiremock, too, has nothing to answer with then.
        for flags in ["--direct", ""] {
            let (mut child, address, _stdout) = listening(&mut with_files(48, flags)).await;
            let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
            let body = prompt(1, false).to_string();
            let mut open = Vec::new();
            for _ in 0..60 {
                open.push(
                    TcpStream::connect(address)
                        .await
                        .expect("the kernel accepts"),
                );
            }
            let mut line = String::new();
            // A wiremock server that was just to stand by may complain, too.
            while !line.starts_with("mock-upstream:") {
                line.clear();
                let read = stderr.read_line(&mut line).await;
                assert!(read.expect("readable") > 0, "nothing is said");
            }
            assert!(
                line.starts_with("mock-upstream: cannot accept a connection: Too many open files"),
                "{line}"
            );
            assert!(
                line.contains("the limit is 48, raise it with `ulimit -n`"),
                "{line}"
            );
            // One that was accepted is served all the while.
            let first = open.remove(0);
            let reply = Exchange::over(first, "POST", MESSAGES, "", &body)
                .await
                .finish()
                .await;
            assert!(reply.complete);
            drop(open);
            let stats = get(address, "/__mock/stats").await.json();
            assert!(
                stats["accept_errors"]
                    .as_u64()
                    .is_some_and(|count| count > 0),
                "{stats}"
            );
            assert!(post(address, MESSAGES, &prompt(2, true)).await.complete);
            child.start_kill().expect("it runs");
            let mut rest = String::new();
            stderr.read_to_string(&mut rest).await.expect("readable");
            assert!(
                !rest.contains("cannot accept"),
                "it is said once, not: {rest}"
            );
        }
    });
}

#[cfg(unix)]
#[test]
fn a_limit_that_is_too_low_to_start_with_is_named() {
    run(async {
        let (status, stderr) = refused(&mut with_files(16, "")).await;
        assert_eq!(status.code(), Some(2));
        assert!(
            stderr.contains("only 16 files may be open") && stderr.contains("ulimit -n"),
            "{stderr}"
        );
        // What the message calls enough is enough.
        let (_child, address, _stdout) = listening(&mut with_files(32, "")).await;
        assert!(post(address, MESSAGES, &prompt(1, true)).await.complete);
    });
}

#[cfg(unix)]
#[test]
fn a_second_signal_does_not_wait_for_answers() {
    run(async {
        let config = file(b"[timing]\nttft_ms = { fixed = 0 }\ngap_ms = { fixed = 60000 }\n");
        let mut command = program();
        let command = command
            .args(["--grace", "3600", "--config"])
            .arg(config.path());
        let (mut child, address, _stdout) = listening(command).await;
        let body = prompt(1, true).to_string();
        let mut exchange = Exchange::open(address, "POST", MESSAGES, "", &body).await;
        exchange.chunk().await;
        let id = child.id().expect("it runs").to_string();
        for _ in 0..2 {
            let killed = Command::new("kill")
                .args(["-s", "TERM", &id])
                .status()
                .await;
            assert!(killed.expect("kill runs").success());
            // Only once it has taken the first one are there two.
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        }
        assert!(child.wait().await.expect("it ends").success());
    });
}

#[test]
fn help_has_examples() {
    run(async {
        let output = program()
            .arg("--help")
            .output()
            .await
            .expect("the program ends");
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(
            help.contains("Examples:") && help.contains("--listen"),
            "{help}"
        );
        for topic in [
            "[profiles.",
            "[[faults]]",
            "[cost.rates.",
            "follow=true",
            "--check",
        ] {
            assert!(help.contains(topic), "{topic}");
        }
        // What it shows of a file is one.
        let (_, rest) = help
            .split_once("In the file:\n")
            .expect("an example of a file");
        let lines = rest.lines().take_while(|line| !line.is_empty());
        // Two columns: keys, and what they mean.
        let text: String = lines
            .map(|line| {
                line.trim_start()
                    .split("   ")
                    .next()
                    .expect("a key")
                    .to_owned()
                    + "\n"
            })
            .collect();
        let config =
            Config::from_toml(&text, "help").unwrap_or_else(|error| panic!("{error}\n{text}"));
        let slow = &config.profiles["slow"].behaviour;
        assert_eq!(slow.timing.ttft_ms, Distribution::Fixed(2_000.0));
        assert_eq!(config.behaviour.faults.len(), 1);
    });
}
