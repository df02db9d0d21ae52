//! The program: its one line, its errors, its signals.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::{get, post};
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

#[test]
fn mistakes_exit_with_2_and_say_where_they_are() {
    run(async {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"seed = 1\nsede = 2\n").expect("written");
        let (status, stderr) = refused(program().arg("--config").arg(file.path())).await;
        assert_eq!(status.code(), Some(2));
        assert!(
            stderr.contains(":2: `sede`: unknown field `sede`, expected one of `seed`"),
            "{stderr}"
        );
        let (status, stderr) = refused(program().args(["--listen", "0.0.0.0:0"])).await;
        assert_eq!(status.code(), Some(2));
        assert!(stderr.contains("--allow-remote"), "{stderr}");
        let (status, stderr) =
            refused(program().args(["--config", "/nonexistent/mock.toml"])).await;
        assert_eq!(status.code(), Some(2));
        assert!(
            stderr.contains("cannot read /nonexistent/mock.toml"),
            "{stderr}"
        );
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
    });
}
