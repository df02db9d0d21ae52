//! The checks of `[workload]`, what sessions send, but for its tools.

use super::Workload;
use super::check::Check;
use super::file::{self, CachedPrefix, Endpoints, File};
use crate::prompt::CacheTtl;
use crate::workload;

/// Most tokens of a shared prefix: as much as the largest models take.
const CACHED_PREFIX_MAX: u64 = 1_000_000;

impl Check<'_> {
    pub(super) fn workload(&mut self, file: &File) -> Option<Workload> {
        let workload = &file.workload;
        for (key, size) in [
            ("workload.input_tokens", &workload.input_tokens),
            ("workload.output_tokens", &workload.output_tokens),
        ] {
            if let Some(fault) = size.fault() {
                self.say(key, fault);
            }
        }
        self.share("workload.tools_share", workload.tools_share);
        self.share("workload.stream_share", workload.stream_share);
        if let Some(temperature) = workload.temperature.filter(|t| !(0.0..=2.0).contains(t)) {
            self.say(
                "workload.temperature",
                format!("must be from 0 to 2, not {temperature}"),
            );
        }
        let tools = self.tools(workload);
        let hang_up = match &workload.hang_up {
            Some(hang_up) => Some(self.hang_up(hang_up)?),
            None => None,
        };
        let prefix = workload.cached_prefix.as_ref();
        if prefix.is_some_and(|prefix| !(1..=CACHED_PREFIX_MAX).contains(&prefix.tokens)) {
            self.say(
                "workload.cached_prefix.tokens",
                format!("must be from 1 to {CACHED_PREFIX_MAX}"),
            );
            return None;
        }
        let prefix =
            prefix.map(|prefix| workload::shared_prefix(file.load.seed, prefix.tokens, prefix.ttl));
        self.cache_conversation(file);
        // Problems of the models are the target's.
        let models = match (&file.target.model, file.target.models.as_slice()) {
            (Some(model), _) => vec![(model.clone(), 1.0)],
            (None, models) => models.iter().map(|m| (m.model.clone(), m.weight)).collect(),
        };
        Some(Workload {
            spec: workload::Spec {
                models,
                source: workload::Source::Generated(workload.input_tokens),
                output_tokens: workload.output_tokens,
                tools,
                stream_share: workload.stream_share,
                cache: workload.cache,
                prefix,
                cache_conversation: workload.cache_conversation,
                temperature: workload.temperature,
                hang_up,
            },
            prompts: workload.prompts.clone(),
            tools_file: workload.tools.file.clone(),
            tools_known: workload.tools.file.is_none() || self.tools.is_some(),
        })
    }

    fn cache_conversation(&mut self, file: &File) {
        let key = "workload.cache_conversation";
        let workload = &file.workload;
        let Some(ttl) = workload.cache_conversation else {
            return;
        };
        if file.target.endpoint == Endpoints::OpenAi {
            self.say(key, "is asked of the `anthropic` endpoint alone, which is not loaded; caches of the other go by the begin of the prompt");
        }
        if workload.tools.turns_max < 2 {
            self.say(key, "keeps a conversation for its next turn, and no session has one; set `workload.tools.turns_max` above 1");
        }
        let five_minutes = |prefix: &CachedPrefix| prefix.ttl == CacheTtl::FiveMinutes;
        if ttl == CacheTtl::Hour && workload.cached_prefix.as_ref().is_some_and(five_minutes) {
            self.say(key, "must not be kept for longer than what stands before it: set `workload.cached_prefix.ttl` to `1h` too");
        }
    }

    fn hang_up(&mut self, hang_up: &file::HangUp) -> Option<(f64, workload::HangUp)> {
        self.share("workload.hang_up.share", hang_up.share);
        let when = match (hang_up.after_events, &hang_up.after) {
            (Some(0), None) => {
                self.say(
                    "workload.hang_up.after_events",
                    "must be at least 1; to hang up before the first token, use `after`",
                );
                return None;
            }
            (Some(events), None) => workload::HangUp::AfterEvents(events),
            (None, Some(after)) => {
                workload::HangUp::After(self.positive_duration("workload.hang_up.after", after)?)
            }
            (Some(_), Some(_)) | (None, None) => {
                self.say(
                    "workload.hang_up",
                    "needs one of `after_events` and `after`, which say when",
                );
                return None;
            }
        };
        Some((hang_up.share, when))
    }
}
