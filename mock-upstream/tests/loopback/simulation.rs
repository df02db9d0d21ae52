//! The simulation against the server that it stands for.

use http::{HeaderMap, Method};
use mock_upstream::JournalEntry;
use mock_upstream::config::{Class, Surface, When, Wrong};
use mock_upstream::simulation::{Request, Simulation};

use crate::client::post;
use crate::{CHAT_COMPLETIONS, MESSAGES, prompt, quick, run, start};

/// An entry without what only a clock decides.
fn timeless(entry: &JournalEntry) -> JournalEntry {
    JournalEntry {
        received_ns: 0,
        first_write_ns: None,
        first_token_write_ns: None,
        last_token_write_ns: None,
        last_write_ns: None,
        lateness_ns_max: 0,
        silence_ns_max: None,
        recorded_unix_us: None,
        ..entry.clone()
    }
}

#[test]
fn a_simulation_answers_and_settles_as_the_server_does() {
    run(async {
        let mut config = quick();
        config.behaviour.output.reasoning_share = 0.4;
        config.behaviour.cost.surfaces =
            vec![Surface::Usage, Surface::Header, Surface::AfterTerminator];
        config.behaviour.cost.wrong = [Class::MarkupUndeclared, Class::LedgerDuplicate]
            .map(|class| Wrong {
                class,
                when: When::default(),
            })
            .to_vec();
        let mock = start(config.clone()).await;
        let mut simulation = Simulation::new(config).expect("a valid configuration");
        let mut number = 0;
        for path in [CHAT_COMPLETIONS, MESSAGES] {
            for stream in [false, true] {
                number += 1;
                let body = prompt(number, stream);
                let reply = post(mock.address(), path, &body).await;
                let journal = mock.wait_for(number).await.expect("readable");
                let real = journal.last().expect("an entry");
                let bytes = body.to_string();
                let request = Request {
                    method: &Method::POST,
                    path,
                    headers: &HeaderMap::new(),
                    body: bytes.as_bytes(),
                };
                let answer = simulation.ask(&request, real.received_unix_us, None);
                let text = String::from_utf8(answer.body()).expect("UTF-8");
                assert_eq!(text, reply.text(), "{path} {stream}");
                assert_eq!(answer.status.map(|s| s.as_u16()), Some(reply.status));
                for (name, value) in &answer.headers {
                    let value = value.to_str().expect("text");
                    assert_eq!(reply.headers[name.as_str()], value, "{name}");
                }
                let simulated = answer.entry.expect("a completion");
                assert_eq!(timeless(&simulated), timeless(real), "{path} {stream}");
            }
        }
    });
}
