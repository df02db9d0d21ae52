//! What the world may send: no request makes the responder panic, and each gets a whole script; no text makes the reader
//! of configurations panic. The fuzz targets in `fuzz/` check the same with bytes of their own choice.

mod configurations;
mod requests;
mod script;
mod texts;
