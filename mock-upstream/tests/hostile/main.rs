//! What the world may send: no request makes the responder panic, and each gets a whole script. The fuzz targets in
//! `fuzz/` use the same configurations and the same check with bytes of their own choice.

mod configurations;
mod requests;
mod script;
