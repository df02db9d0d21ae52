//! What only the times of an answer show.

use super::*;

#[test]
fn streams_that_come_at_once_or_in_lumps_are_told_from_bursts() {
    let fake = |r: &mut Record| {
        (r.first_byte, r.first_token, r.last_token) = (at(140), at(140), at(141));
        r.counts.token_batches = 1;
    };
    check(|r, _| fake(r), &[(Code::Buffered, 1)]);
    let lumps = |r: &mut Record| r.counts.token_batches = 4;
    check(|r, _| lumps(r), &[(Code::Buffered, 1)]);
    // One of eleven is chance.
    let mut checker = Checker::new();
    for n in 1..=11 {
        let (mut record, truth) = (answer(n), truth(n));
        if n == 1 {
            lumps(&mut record);
        }
        checker.add(&record, Some(&[truth]));
    }
    assert_eq!(found(&checker), []);
    // It was written so.
    check(
        |r, t| {
            lumps(r);
            t.token_writes = Some(4);
        },
        &[],
    );
    check(
        |r, t| {
            fake(r);
            (t.first_token_write_ns, t.last_token_write_ns) = (Some(139 * MS), Some(139 * MS));
        },
        &[],
    );
    // A journal that does not know the writes knows the times.
    check(
        |r, t| {
            lumps(r);
            t.token_writes = None;
        },
        &[],
    );
}

#[test]
fn a_silence_is_the_gateways_where_the_upstream_had_none() {
    let silent = |r: &mut Record, t: &mut Truth| {
        (r.first_token, r.last_token) = (at(3_050), at(3_140));
        r.first_byte = at(3_050);
        t.first_token_write_ns = Some(3_049 * MS);
        t.last_token_write_ns = Some(3_139 * MS);
    };
    check(silent, &[(Code::KeepaliveLost, 1)]);
    // The upstream wrote no keep-alives: a gateway that is slow has none to hand on.
    check(
        |r, t| {
            silent(r, t);
            t.keep_alives = Some(0);
        },
        &[],
    );
    // The upstream was as silent.
    check(
        |r, t| {
            silent(r, t);
            t.silence_ns_max = Some(3_049 * MS);
        },
        &[],
    );
    // The gateway was slow, or let the request wait: nothing came that could have been passed on.
    check(
        |r, _| {
            (r.first_byte, r.first_token, r.last_token) = (at(3_050), at(3_050), at(3_140));
        },
        &[],
    );
}
