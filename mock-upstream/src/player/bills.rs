//! The endpoints about money: the look-up of one answer's cost, and the ledgers.

use std::io;

use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::{Answer, Player, content_type, query_value, text, unix_us};
use crate::billing::ledger::{Format, Ledger};
use crate::billing::lookup;
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
        let found = match lookup::response_id(id) {
            Some(response_id) => self.journal.find(response_id),
            None => Ok(None),
        };
        match found {
            Ok(entry) => entry
                .and_then(|entry| lookup::generation(id, &entry, unix_us()))
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

    /// All that is recorded by now, in the format that the query asks for.
    pub(super) fn ledger(&self, query: &str) -> io::Result<Response<Answer>> {
        let Some(format) = query_value(query, "format").and_then(Format::named) else {
            let names = Format::NAMES.map(|(name, _)| name).join(", ");
            let reason = format!("format: expected one of {names}\n");
            return Ok(text(StatusCode::BAD_REQUEST, &reason));
        };
        let config = std::sync::Arc::clone(&self.config);
        let ledger = Ledger::new(self.journal.lines(None)?, config, format, unix_us());
        let mut response = Response::new(Answer::Ledger(Box::new(ledger)));
        content_type(&mut response, "text/csv; charset=utf-8");
        Ok(response)
    }
}

fn json(status: StatusCode, body: String) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Full::new(body.into())));
    *response.status_mut() = status;
    content_type(&mut response, "application/json");
    response
}
