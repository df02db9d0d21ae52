//! The endpoints about money: the look-up of one answer's cost, and the ledgers.

use std::io;

use http::{Method, Request, Response, StatusCode};

use super::control::whole;
use super::reading::Reading;
use super::{Answer, Player, unix_us};
use crate::billing::ledger::{Format, Ledger};
use crate::billing::lookup;
use crate::journal::Selection;
use crate::responder::is_authorised;

impl Player {
    /// What an answer cost, by its id.
    pub(super) fn look_up<B>(&self, request: &Request<B>) -> Response<Answer> {
        let query = request.uri().query().unwrap_or_default();
        let refuse = |status: StatusCode, message: &str| {
            json(status, lookup::error(status.as_u16(), message))
        };
        if *request.method() != Method::GET {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "use GET");
        }
        if !is_authorised(request.headers(), &self.config) {
            return refuse(StatusCode::UNAUTHORIZED, "No auth credentials found");
        }
        let Some(id) = query_value(query, "id").filter(|id| !id.is_empty()) else {
            return refuse(StatusCode::BAD_REQUEST, "id: required");
        };
        let found = match lookup::response_id(&id) {
            Some(response_id) => self.journal.find(response_id),
            None => Ok(None),
        };
        match found {
            Ok(entry) => entry
                .and_then(|entry| lookup::generation(&id, &entry, unix_us()))
                .map_or_else(
                    || refuse(StatusCode::NOT_FOUND, &format!("Generation {id} not found")),
                    |body| json(StatusCode::OK, body),
                ),
            Err(error) => {
                let reason = format!("failed to use the journal's file: {error}");
                refuse(StatusCode::INTERNAL_SERVER_ERROR, &reason)
            }
        }
    }

    /// All that is recorded by now.
    pub(super) fn ledger(&self, format: Format) -> io::Result<Answer> {
        let config = std::sync::Arc::clone(&self.config);
        let lines = self.journal.lines(Selection::default())?;
        let ledger = Ledger::new(lines, config, format, unix_us());
        Ok(Answer::Ledger(Reading::new(ledger)))
    }
}

fn json(status: StatusCode, body: String) -> Response<Answer> {
    whole(status, "application/json", body)
}

/// The value of a query's parameter, decoded.
fn query_value(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}
