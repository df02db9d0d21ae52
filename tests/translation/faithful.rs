//! A hundred thousand faithful answers, in every form that they can have: no findings.
//!
//! Each mixes a way (to the upstream itself, in each dialect, or through the gateway), an endpoint, a
//! talk, a form of delivery, and whether it is a stream. What the answers say is made of each request's
//! own nonce.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use mock_upstream::Config;
use mock_upstream::config::{Dialect, LineEnding, Split, UsageInStream};
use weighbridge::endpoint::Endpoint;
use weighbridge::record::Outcome;

use crate::drive::{Seen, Talk, World, upstream};
use crate::gateway::{Gateway, Wire};
use crate::judge::findings;

/// How many are driven at least.
const ANSWERS: u64 = 100_000;

/// Sessions of one mix.
const SESSIONS: u64 = 51;

const TALKS: [Talk; 12] = [
    Talk::Chat,
    Talk::Reasoning,
    Talk::Cached,
    Talk::Silent,
    Talk::Calls,
    Talk::Interleaved,
    Talk::Bare,
    Talk::TextAfter,
    Talk::Single,
    Talk::Required,
    Talk::Unused,
    Talk::CutOff,
];

/// A way to an upstream of this dialect.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct(Dialect),
    Through(Wire, Dialect),
}

const WAYS: [Way; 9] = [
    Way::Direct(Dialect::OpenAi),
    Way::Direct(Dialect::Mistral),
    Way::Direct(Dialect::Vllm),
    Way::Direct(Dialect::OpenRouter),
    Way::Through(Wire::OpenAi, Dialect::OpenAi),
    Way::Through(Wire::OpenAi, Dialect::Vllm),
    Way::Through(Wire::OpenAi, Dialect::OpenRouter),
    Way::Through(Wire::Mistral, Dialect::Mistral),
    Way::Through(Wire::Anthropic, Dialect::OpenAi),
];

/// How the upstream's bytes are dressed and cut.
#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    Split,
    CrLfAndBom,
    Cr,
    Comments,
    SeveralAWrite,
    Pings,
    Unicode,
    SeveralAnEvent,
    UsageInEach,
    UsageUnasked,
}

const FORMS: [Form; 11] = [
    Form::Plain,
    Form::Split,
    Form::CrLfAndBom,
    Form::Cr,
    Form::Comments,
    Form::SeveralAWrite,
    Form::Pings,
    Form::Unicode,
    Form::SeveralAnEvent,
    Form::UsageInEach,
    Form::UsageUnasked,
];

impl Form {
    fn dress(self, config: &mut Config) {
        let behaviour = &mut config.behaviour;
        let delivery = &mut behaviour.delivery;
        match self {
            Self::Plain => {}
            Self::Split => {
                delivery.split = Some(Split {
                    bytes_max: 9,
                    random: true,
                    gap_ms: 0.0,
                });
                behaviour.output.unicode = true;
            }
            Self::CrLfAndBom => {
                delivery.line_ending = LineEnding::Crlf;
                delivery.bom = true;
            }
            Self::Cr => delivery.line_ending = LineEnding::Cr,
            Self::Comments => delivery.comment_every = 2,
            Self::SeveralAWrite => delivery.events_per_write = 3,
            Self::Pings => delivery.ping_after_ms = Some(5.0),
            Self::Unicode => behaviour.output.unicode = true,
            Self::SeveralAnEvent => behaviour.output.tokens_per_event = 3,
            Self::UsageInEach => behaviour.output.usage_in_stream = UsageInStream::Every,
            Self::UsageUnasked => behaviour.output.usage_in_stream = UsageInStream::Always,
        }
    }
}

/// What is to be driven together.
#[derive(Clone, Copy, Debug)]
struct Mix {
    way: Way,
    client: Endpoint,
    talk: Talk,
    form: Form,
}

impl Mix {
    /// All there are. On the messages endpoint an upstream has no dialect.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for way in WAYS {
            for client in Endpoint::ALL {
                let is_one_more = matches!(way, Way::Direct(dialect) if dialect != Dialect::OpenAi);
                if client == Endpoint::Anthropic && is_one_more {
                    continue;
                }
                for talk in TALKS {
                    all.extend(FORMS.map(|form| Self {
                        way,
                        client,
                        talk,
                        form,
                    }));
                }
            }
        }
        all
    }

    fn world(self, number: usize) -> World {
        let (dialect, wire) = match self.way {
            Way::Direct(dialect) => (dialect, None),
            Way::Through(wire, dialect) => (dialect, Some(wire)),
        };
        let mut config = upstream(self.talk, wire.unwrap_or(Wire::OpenAi));
        config.behaviour.dialect = dialect;
        self.form.dress(&mut config);
        let run = format!("faithful {number}");
        World::new(self.talk, config, wire.map(Gateway::new), &run)
    }

    /// The kinds that an answer counts as.
    fn kinds(self, stream: bool) -> [String; 5] {
        [
            format!("{:?}", self.way),
            self.client.name().to_owned(),
            format!("{:?}", self.talk),
            format!("{:?}", self.form),
            if stream { "streams" } else { "whole" }.to_owned(),
        ]
    }
}

/// What came of some mixes.
#[derive(Default)]
struct Driven {
    /// Answers of each kind.
    counts: BTreeMap<String, u64>,
    /// Mixes that something was found in.
    found: Vec<String>,
}

impl Driven {
    fn add(&mut self, mix: Mix, number: usize) {
        let mut world = mix.world(number);
        let mut all = Vec::new();
        for session in 0..SESSIONS {
            world.stream = session % 6 != 5;
            world.include_usage = session % 7 != 3;
            let seen = world.session(session, mix.client, false);
            for kind in mix.kinds(world.stream) {
                *self.counts.entry(kind).or_default() += 1;
            }
            check_answer(&seen, mix, world.include_usage);
            all.push(seen);
        }
        let found = findings(all.iter(), mix.client);
        if !found.is_empty() {
            self.found.push(format!("{mix:?}: {found:?}"));
        }
    }
}

#[test]
fn faithful_answers_have_no_findings() {
    let mixes = Mix::all();
    let next = AtomicUsize::new(0);
    // Mixes are independent of each other, so each core takes the next one.
    let work = || {
        let mut driven = Driven::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            match mixes.get(number) {
                Some(mix) => driven.add(*mix, number),
                None => return driven,
            }
        }
    };
    let mut all = Driven::default();
    std::thread::scope(|scope| {
        let workers = [(); 2].map(|()| scope.spawn(work));
        for worker in workers {
            let driven = worker.join().expect("every answer is whole");
            for (kind, count) in driven.counts {
                *all.counts.entry(kind).or_default() += count;
            }
            all.found.extend(driven.found);
        }
    });
    let Driven { counts, found } = all;
    let count = found.len();
    assert!(found.is_empty(), "{count} mixes:\n{}", found.join("\n"));
    let expected = mixes.iter().flat_map(|mix| mix.kinds(true));
    for kind in expected.chain(["whole".to_owned()]) {
        assert!(counts.get(&kind).is_some_and(|count| *count > 0), "{kind}");
    }
    let total = counts["streams"] + counts["whole"];
    assert!(total >= ANSWERS, "{total}");
    println!("{total} answers: {counts:#?}");
}

/// Whether the answer really is the one that the upstream gave: the gateway must not be wrong.
fn check_answer(seen: &Seen, mix: Mix, asks_usage: bool) {
    let record = seen.record();
    let truth = seen.truths.first().expect("the journal has it");
    let what = || format!("{mix:?}: {record:#?} {truth:#?}");
    assert_eq!(record.outcome, Outcome::Ok, "{}", what());
    assert_eq!(record.text_sha256, truth.text_sha256, "{}", what());
    assert_eq!(
        record.reasoning_sha256,
        truth.reasoning_sha256,
        "{}",
        what()
    );
    assert_eq!(
        u64::from(record.counts.calls),
        truth.tool_calls,
        "{}",
        what()
    );
    if record.usage_reports > 0 || asks_usage {
        assert_eq!(record.last_usage.output, truth.output, "{}", what());
    }
}
