//! Keys stay out of the facts, whatever a gateway says.

use super::Conduct;
use crate::client::Transport;
use crate::record::{CallRecord, Record};

impl<T: Transport> Conduct<T> {
    /// Takes the key out of every text that came from outside: gateways do quote it in errors.
    pub(super) fn redact(&self, record: &mut Record, calls: &mut [CallRecord]) {
        let of_record = [
            &mut record.error,
            &mut record.response_id,
            &mut record.request_id,
            &mut record.call_id,
            &mut record.served_model,
            &mut record.served_tier,
            &mut record.gateway_cache,
            &mut record.finish,
        ];
        let of_calls = calls
            .iter_mut()
            .flat_map(|call| [&mut call.id, &mut call.name]);
        // The digits of an amount stay as they are, also where the key is a number.
        let costs = record.costs.iter_mut().map(|(_, digits)| digits);
        let costs = costs.filter(|digits| digits.parse::<f64>().is_err());
        for text in of_record.into_iter().flatten().chain(of_calls).chain(costs) {
            for secret in &self.secrets {
                *text = without(text, secret);
            }
        }
    }
}

/// `text` without `secret`, also where the text was cut off in the middle of it.
fn without(text: &str, secret: &str) -> String {
    let mut clean = text.replace(secret, REDACTED);
    let cut = secret
        .char_indices()
        .map(|(at, _)| &secret[..at])
        .rev()
        .find(|start| start.len() >= SECRET_START_MIN && clean.ends_with(start));
    if let Some(start) = cut {
        clean.truncate(clean.len() - start.len());
        clean.push_str(REDACTED);
    }
    clean
}

/// What stands in place of a key.
const REDACTED: &str = "[key]";

/// A shorter beginning of a key at the end of a text gives nothing away.
const SECRET_START_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn a_key_is_taken_out_whole_and_cut_off() {
        let key = "sk-secret-123";
        assert_eq!(
            without("bad key sk-secret-123, sorry", key),
            "bad key [key], sorry"
        );
        assert_eq!(without("bad key sk-secr", key), "bad key [key]");
        assert_eq!(without("bad key sk-", key), "bad key sk-");
        assert_eq!(without("", key), "");
    }
}
