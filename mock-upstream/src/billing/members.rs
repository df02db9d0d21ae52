//! The cost in an answer's body, as JSON text: no digit passes through a float.

use super::price::digits;
use super::recorded::Recorded;
use super::settlement::Bill;
use crate::config::{Cost, Surface};
use crate::journal::Usage;

impl Bill {
    /// Fills the surfaces in.
    pub(crate) fn record(&mut self, cost: &Cost) {
        let deal = self.deal(cost);
        let billed = self.planted.billed(self.usage, self.reports);
        let Some(recorded) = Recorded::new(&deal, billed, &self.planted) else {
            return;
        };
        let surfaces = recorded.surfaces(cost, self.stream, &self.planted);
        let (input, output) = (digits(recorded.input()), digits(recorded.output()));
        self.surfaces = surfaces;
        self.input_cost = input;
        self.output_cost = output;
    }

    /// What the answer says that it used.
    pub(crate) fn wire_usage(&self) -> Usage {
        self.wire(self.usage)
    }

    /// What the answer says of a part of its usage.
    pub(crate) fn wire(&self, usage: Usage) -> Usage {
        self.planted.wire(usage)
    }

    /// The exact cost of the true usage.
    pub(crate) fn cost(&self, cost: &Cost) -> Option<String> {
        self.deal(cost).exact(self.usage).map(digits)
    }

    /// The last members of the usage object, each with a comma before it.
    pub(crate) fn usage_members(&self) -> String {
        let members = self
            .surfaces
            .iter()
            .filter_map(|(surface, amount)| match surface {
                Surface::Usage => Some(format!(",\"cost\":{amount}")),
                Surface::UsageObject => Some(format!(
                    ",\"cost\":{{\"input_tokens_cost\":{},\"output_tokens_cost\":{},\"total_cost\":{amount}}}",
                    self.input_cost, self.output_cost,
                )),
                Surface::UsageTicks => Some(format!(",\"cost_in_usd_ticks\":{amount}")),
                Surface::Metadata | Surface::Header | Surface::AfterTerminator => None,
            });
        members.collect()
    }

    /// What `OpenRouter` has beside `usage.cost`, with a comma before it.
    pub(crate) fn cost_details(&self) -> String {
        if !self.surfaces.contains_key(&Surface::Usage) {
            return String::new();
        }
        format!(
            ",\"is_byok\":false,\"cost_details\":{{\"upstream_inference_cost\":null,\
             \"upstream_inference_prompt_cost\":{},\"upstream_inference_completions_cost\":{}}}",
            self.input_cost, self.output_cost,
        )
    }

    /// The members after the usage object, each with a comma before it.
    pub(crate) fn members_beside_usage(&self) -> String {
        let members = self
            .surfaces
            .iter()
            .filter_map(|(surface, amount)| match surface {
                Surface::Metadata => Some(format!(
                    ",\"provider_metadata\":{{\"gateway\":{{\"cost\":\"{amount}\"}}}}"
                )),
                Surface::AfterTerminator if !self.stream => {
                    Some(format!(",\"associated_dollar_cost\":{amount}"))
                }
                _ => None,
            });
        members.collect()
    }
}
