//! What an answer says of its cost, beside its usage: which mistakes are made, headers, and what follows a stream.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Exchange;
use super::ask::Ask;
use super::identity::request_id;
use super::reply::{Reply, Step};
use crate::billing::{Bill, Deal, Facts, Planted, Progress, Recorded, Reports, digits};
use crate::config::{Aborts, Class, Cost, Dialect, Fault, FaultKind, Surface, UsageInStream};
use crate::journal::{Endpoint, Usage};
use crate::script::{Content, Script};
use crate::tokens;

/// The output tokens in an Anthropic stream's first usage: a placeholder, as the real thing has it.
pub(super) const PLACEHOLDER_TOKENS: u64 = 1;

impl Exchange<'_> {
    /// The bill of a reply whose steps are planned.
    pub(super) fn bill(&self, ask: &Ask, reply: &Reply) -> Bill {
        let cost = &self.behaviour.cost;
        let deal = self.deal(ask);
        let reports = self.reports(reply);
        let planted = self.draw_mistakes(&Facts {
            deal,
            stream: self.stream,
            attempt: self.attempt,
            usage: reply.usage,
            reports,
            error: None,
        });
        // Each event takes some bytes, so only where it matters how far an answer came.
        let is_counted =
            self.stream && (cost.aborts == Aborts::Delivered || planted.has(Class::AbortEstimated));
        let mut bill = Bill {
            model: ask.model.clone(),
            served_model: deal.rate().and_then(|rate| rate.served_as.clone()),
            service_tier: self.service_tier.map(str::to_owned),
            usage: reply.usage,
            reports,
            planted,
            stream: self.stream,
            progress: if is_counted {
                progress(reply)
            } else {
                Vec::new()
            },
            ..Bill::default()
        };
        bill.record(cost);
        bill
    }

    /// Has an error charged for, where that mistake is planted.
    pub(super) fn bill_error(&self, ask: &Ask, fault: FaultKind, script: &mut Script) {
        let cost = &self.behaviour.cost;
        let deal = self.deal(ask);
        let planted = self.draw_mistakes(&Facts {
            deal,
            stream: self.stream,
            attempt: self.attempt,
            usage: Usage::default(),
            reports: None,
            error: Some(fault),
        });
        let usage = Usage {
            input: ask.input_tokens,
            ..Usage::default()
        };
        let Some(truth) = script
            .truth
            .as_mut()
            .filter(|_| planted.has(Class::ErrorBilled))
        else {
            return;
        };
        let amount = Recorded::new(&deal, usage, &planted).map(|recorded| digits(recorded.total));
        let header = amount.filter(|_| cost.surfaces.contains(&Surface::Header));
        let bill = Bill {
            model: ask.model.clone(),
            service_tier: self.service_tier.map(str::to_owned),
            billed_error: Some(usage),
            planted,
            surfaces: header
                .into_iter()
                .map(|cost| (Surface::Header, cost))
                .collect(),
            ..Bill::default()
        };
        write_headers(&bill, cost, &mut script.headers);
        truth.bill = Some(Box::new(bill));
        truth.response_id = Some(request_id(self.received.arrival.seq));
    }

    fn deal<'b>(&'b self, ask: &'b Ask) -> Deal<'b> {
        Deal {
            cost: &self.behaviour.cost,
            model: &ask.model,
            service_tier: self.service_tier,
        }
    }

    /// The mistakes whose rules are for this request. A rule is asked only where its mistake can be made.
    fn draw_mistakes(&self, facts: &Facts<'_>) -> Planted {
        let rules = self.behaviour.cost.wrong.iter().enumerate();
        let fire = rules.filter(|(index, wrong)| {
            facts.allow(wrong.class) && self.fires(&wrong.when, &format!("wrong {index}"))
        });
        Planted::new(fire.map(|(_, wrong)| wrong.class).collect())
    }

    /// What the usage reports of the stream come to.
    fn reports(&self, reply: &Reply) -> Option<Reports> {
        let with_output = |output| Usage {
            output,
            ..reply.usage
        };
        if !self.stream {
            return None;
        }
        if self.endpoint == Endpoint::Anthropic {
            let placeholder = Usage {
                reasoning: 0,
                ..with_output(PLACEHOLDER_TOKENS)
            };
            return Reports::of([placeholder, reply.usage]);
        }
        if self.behaviour.output.usage_in_stream != UsageInStream::Every {
            return None;
        }
        // The chunk with the role, each token event, and the chunk with the reason to finish; after that there is one
        // that has nothing but the usage, save at Mistral, who also has all calls in the finish chunk.
        let is_mistral = self.behaviour.dialect == Dialect::Mistral;
        let whole_calls = matches!(reply.steps.last(), Some((_, Step::WholeCalls)));
        let ends = if is_mistral {
            usize::from(!whole_calls)
        } else {
            2
        };
        let running = progress(reply).into_iter().map(|progress| Usage {
            reasoning: progress.reasoning,
            ..with_output(progress.tokens)
        });
        let role = Usage {
            reasoning: 0,
            ..with_output(0)
        };
        let reports = std::iter::once(role).chain(running);
        Reports::of(reports.chain(std::iter::repeat_n(reply.usage, ends)))
    }
}

/// What is delivered with each step of a reply.
pub(super) fn progress(reply: &Reply) -> Vec<Progress> {
    let mut now = Progress::default();
    // Of each call's name and arguments so far; those of parallel calls may alternate.
    let mut call_bytes = vec![0; reply.calls.len()];
    let mut text_tokens = 0;
    let steps = reply.steps.iter().map(|(_, step)| {
        match step {
            Step::Reasoning(text) => {
                now.reasoning += tokens_in(text);
                text_tokens += tokens_in(text);
            }
            Step::Text(text) => text_tokens += tokens_in(text),
            Step::Transition(reasoning, text) => {
                now.reasoning += tokens_in(reasoning);
                text_tokens += tokens_in(reasoning) + tokens_in(text);
            }
            Step::Announce(index) => call_bytes[*index] = reply.calls[*index].name.len(),
            Step::Arguments(index, fragment) => call_bytes[*index] += fragment.len(),
            Step::WholeCalls => {
                let calls = reply.calls.iter();
                let bytes = calls.map(|call| call.name.len() + call.arguments.len());
                call_bytes = bytes.collect();
            }
        }
        let call_tokens = call_bytes.iter().map(|bytes| tokens::of_call_bytes(*bytes));
        now.tokens = text_tokens + call_tokens.sum::<u64>();
        now.characters += characters(reply, step);
        now
    });
    steps.collect()
}

/// Tokens of a piece of text, each of which ends in a space.
fn tokens_in(text: &str) -> u64 {
    text.matches(' ').count() as u64
}

fn characters(reply: &Reply, step: &Step) -> u64 {
    let count = |text: &str| text.chars().count() as u64;
    match step {
        Step::Reasoning(text) | Step::Text(text) | Step::Arguments(_, text) => count(text),
        Step::Transition(reasoning, text) => count(reasoning) + count(text),
        Step::Announce(index) => count(&reply.calls[*index].name),
        Step::WholeCalls => {
            let calls = reply.calls.iter();
            calls
                .map(|call| count(&call.name) + count(&call.arguments))
                .sum()
        }
    }
}

/// Writes the headers about the cost.
pub(super) fn write_headers(bill: &Bill, cost: &Cost, headers: &mut HeaderMap) {
    if let Some(amount) = bill.surfaces.get(&Surface::Header) {
        let value = HeaderValue::from_str(amount).expect("a decimal is a header value");
        let name = HeaderName::try_from(&cost.header).expect("the configuration was checked");
        headers.insert(name, value);
    }
    if bill.planted.has(Class::CacheHitBilled) {
        headers.insert("x-litellm-cache-hit", HeaderValue::from_static("True"));
        headers.insert("x-mock-cache", HeaderValue::from_static("HIT"));
    }
}

/// Notes what a fault that broke the answer means for its bill.
pub(super) fn note_fault(bill: &mut Bill, fault: &Fault) {
    bill.is_cut = !fault.kind.keeps_text();
    if fault.kind == FaultKind::DuplicateEvent {
        // The copy delivers nothing new.
        let event = fault.events_before(bill.progress.len());
        let event = usize::try_from(event).unwrap_or(usize::MAX);
        if let Some(progress) = bill.progress.get(event).copied() {
            bill.progress.insert(event, progress);
        }
    }
}

/// Writes the cost after a stream's terminator, if the stream comes to that.
pub(super) fn write_event_after(
    bill: &mut Bill,
    endpoint: Endpoint,
    fault: Option<FaultKind>,
    script: &mut Script,
) {
    // What follows an event without its line ends would be a part of it.
    let has_no_end = matches!(
        fault,
        Some(FaultKind::NoTerminator | FaultKind::UnterminatedEvent)
    );
    let Some(amount) = bill.surfaces.get(&Surface::AfterTerminator) else {
        return;
    };
    if !bill.stream || bill.is_cut || has_no_end {
        return;
    }
    let event = match endpoint {
        Endpoint::OpenAi => format!("data: {{\"associated_dollar_cost\":{amount}}}\n\n"),
        Endpoint::Anthropic => format!(
            "event: cost\ndata: {{\"type\":\"cost\",\"associated_dollar_cost\":{amount}}}\n\n"
        ),
    };
    let end = script.frames.iter().map(|(frame, _)| frame.at).last();
    let end = end.unwrap_or(Duration::ZERO);
    script.frames.push(end, Content::NOTHING, event.as_bytes());
    bill.has_event_after = true;
}
