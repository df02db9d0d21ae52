//! Writing messages, whole and as streams.

use std::time::Duration;

use serde::de::IgnoredAny;

use super::usage::{start_usage, usage};
use crate::journal::Endpoint;
use crate::responder::arguments;
use crate::responder::ask::Ask;
use crate::responder::reply::{Reply, Step, finish_name, quoted};
use crate::script::{Content, Frames};

/// A whole body.
pub(in crate::responder) fn whole(ask: &Ask, reply: &Reply) -> String {
    let mut blocks = Vec::new();
    if reply.reasoning_tokens > 0 {
        blocks.push(format!(
            "{{\"type\":\"thinking\",\"thinking\":{},\"signature\":{}}}",
            quoted(&reply.reasoning()),
            quoted(&signature(reply)),
        ));
    }
    let [before, after] = reply.texts();
    let text_block = |text: &str| format!("{{\"type\":\"text\",\"text\":{}}}", quoted(text));
    if !before.is_empty() {
        blocks.push(text_block(&before));
    }
    for call in &reply.calls {
        blocks.push(format!(
            "{{\"type\":\"tool_use\",\"id\":\"{}\",\"name\":{},\"input\":{}}}",
            call.id,
            quoted(&call.name),
            input(&call.arguments),
        ));
    }
    if !after.is_empty() {
        blocks.push(text_block(&after));
    }
    format!(
        "{{\"id\":\"msg_{}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\"content\":[{}],\
         \"stop_reason\":\"{}\",\"stop_sequence\":null,\"usage\":{}}}",
        reply.response_id,
        quoted(&ask.model),
        blocks.join(","),
        finish_name(Endpoint::Anthropic, reply.finish),
        usage(reply),
    )
}

/// A call's input in a whole body, where it cannot be anything but JSON. Arguments that are none stand in the member
/// `INVALID_JSON` of an object, which is how the API wants to be told of such.
fn input(arguments: &str) -> String {
    if arguments.is_empty() {
        return arguments::NONE.to_owned();
    }
    match serde_json::from_str::<IgnoredAny>(arguments) {
        Ok(_) => arguments.to_owned(),
        Err(_) => format!("{{\"INVALID_JSON\":{}}}", quoted(arguments)),
    }
}

/// The frames of a stream.
pub(in crate::responder) fn stream(ask: &Ask, reply: &Reply) -> Frames {
    let mut events = Events {
        frames: Frames::new(),
        open: None,
        blocks: 0,
    };
    events.push(
        reply.opening,
        Content::NOTHING,
        "message_start",
        &format!(
            ",\"message\":{{\"id\":\"msg_{}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\"content\":[],\
             \"stop_reason\":null,\"stop_sequence\":null,\"usage\":{}}}",
            reply.response_id,
            quoted(&ask.model),
            start_usage(reply),
        ),
    );
    for (at, step) in &reply.steps {
        let at = *at;
        match step {
            Step::Reasoning(text) => {
                if events.open != Some(Block::Thinking) {
                    events.start(at, reply, Block::Thinking);
                }
                events.delta(
                    at,
                    Content::TOKENS,
                    &format!("\"type\":\"thinking_delta\",\"thinking\":{}", quoted(text)),
                );
            }
            Step::Text(text) => {
                if events.open != Some(Block::Text) {
                    events.start(at, reply, Block::Text);
                }
                let delta = format!("\"type\":\"text_delta\",\"text\":{}", quoted(text));
                events.delta(at, Content::TOKENS, &delta);
            }
            Step::Announce(index) => events.start(at, reply, Block::ToolUse(*index)),
            Step::Arguments(_, fragment) => {
                let delta = format!(
                    "\"type\":\"input_json_delta\",\"partial_json\":{}",
                    quoted(fragment)
                );
                events.delta(at, Content::TOKENS, &delta);
            }
            Step::Transition(..) | Step::WholeCalls => unreachable!("only Mistral has these steps"),
        }
    }
    let end = reply.end();
    events.stop(end, reply);
    events.push(
        end,
        reply.usage_content(),
        "message_delta",
        &format!(
            ",\"delta\":{{\"stop_reason\":\"{}\",\"stop_sequence\":null}},\"usage\":{}",
            finish_name(Endpoint::Anthropic, reply.finish),
            usage(reply),
        ),
    );
    events.push(end, Content::NOTHING, "message_stop", "");
    events.frames
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    ToolUse(usize),
}

/// Writes events, with one block open at a time.
struct Events {
    frames: Frames,
    open: Option<Block>,
    /// Blocks started so far; the open one has the index before.
    blocks: usize,
}

impl Events {
    /// An event; `members` follow its type.
    fn push(&mut self, at: Duration, content: Content, name: &str, members: &str) {
        let pieces = [
            "event: ",
            name,
            "\ndata: {\"type\":\"",
            name,
            "\"",
            members,
            "}\n\n",
        ];
        self.frames.push_pieces(at, content, &pieces);
    }

    /// Opens a block, after closing the one before. The start of a tool's block names it: a token event.
    fn start(&mut self, at: Duration, reply: &Reply, block: Block) {
        self.stop(at, reply);
        let (content, members) = match block {
            Block::Thinking => (
                Content::NOTHING,
                r#""type":"thinking","thinking":"","signature":"""#.to_owned(),
            ),
            Block::Text => (Content::NOTHING, r#""type":"text","text":"""#.to_owned()),
            Block::ToolUse(index) => {
                let call = &reply.calls[index];
                (
                    Content::TOKENS,
                    format!(
                        "\"type\":\"tool_use\",\"id\":\"{}\",\"name\":{},\"input\":{{}}",
                        call.id,
                        quoted(&call.name),
                    ),
                )
            }
        };
        let index = self.blocks;
        self.push(
            at,
            content,
            "content_block_start",
            &format!(",\"index\":{index},\"content_block\":{{{members}}}"),
        );
        self.blocks += 1;
        self.open = Some(block);
        if index == 0 {
            self.push(at, Content::NOTHING, "ping", "");
        }
        if matches!(block, Block::ToolUse(_)) {
            self.delta(
                at,
                Content::NOTHING,
                r#""type":"input_json_delta","partial_json":"""#,
            );
        }
    }

    fn delta(&mut self, at: Duration, content: Content, members: &str) {
        let index = self.blocks - 1;
        self.push(
            at,
            content,
            "content_block_delta",
            &format!(",\"index\":{index},\"delta\":{{{members}}}"),
        );
    }

    /// Closes the open block, if there is one. Thinking is signed before.
    fn stop(&mut self, at: Duration, reply: &Reply) {
        let Some(block) = self.open.take() else {
            return;
        };
        if block == Block::Thinking {
            let delta = format!(
                "\"type\":\"signature_delta\",\"signature\":{}",
                quoted(&signature(reply))
            );
            self.delta(at, Content::NOTHING, &delta);
        }
        let index = self.blocks - 1;
        self.push(
            at,
            Content::NOTHING,
            "content_block_stop",
            &format!(",\"index\":{index}"),
        );
    }
}

/// A signature of its own for each answer, so that a lost or a foreign one shows.
fn signature(reply: &Reply) -> String {
    format!("sig{}", reply.response_id)
}
