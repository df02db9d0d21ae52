//! Gates as they are written.

use super::*;

fn parse(text: &str) -> Gate {
    Gate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_grammar() {
    let gate = parse("ttft p95 < 800ms");
    assert_eq!(gate.endpoint, None);
    assert_eq!(
        gate.subject,
        Subject::Latency(Metric::Ttft, Statistic::Quantile(0.95))
    );
    assert_eq!(
        (gate.operator, gate.limit),
        (Operator::Less, Limit::Nanos(8e8))
    );

    let gate = parse("anthropic.output_tokens_per_s > 500");
    assert_eq!(gate.endpoint, Some(Endpoint::Anthropic));
    assert_eq!(gate.subject, Subject::Number(Number::OutputTokensPerS));

    assert_eq!(parse("error_rate<1%").limit, Limit::Number(0.01));
    assert_eq!(
        parse("openai.cost.coverage >= 100 %").limit,
        Limit::Number(1.0)
    );
    assert_eq!(
        parse("e2e p99.9 <= 2 s").subject,
        Subject::Latency(Metric::E2e, Statistic::Quantile(0.999))
    );
    assert_eq!(
        parse("e2e p999 <= 2 s").subject,
        parse("e2e p99.9 <= 2 s").subject
    );
    assert_eq!(
        parse("outcomes.rate_limited == 0").subject,
        Subject::Number(Number::Outcome(Outcome::RateLimited))
    );
    assert_eq!(
        parse("cost.bias < 0.1%").subject,
        Subject::Number(Number::CostBias)
    );
    assert_eq!(
        parse("anthropic.cost.mismatched == 0").subject,
        Subject::Number(Number::CostStatus(Status::Mismatched))
    );
    for text in [
        "cost.delta_abs == 0 USD",
        "cost.delta_abs == $0",
        "cost.delta_abs == 0USD",
    ] {
        assert_eq!(
            parse(text).limit,
            Limit::Money("0".parse().expect("zero"), Currency::USD),
            "{text}"
        );
    }
    assert_eq!(
        parse("cost.recorded < 0.0000005 EUR").limit,
        Limit::Money(
            "0.0000005".parse().expect("exact"),
            "EUR".parse().expect("valid")
        )
    );
}

#[test]
fn what_is_no_gate_says_what_is_wrong() {
    for (text, part) in [
        ("ttft p95 800ms", "no comparison"),
        ("tfft p95 < 800ms", "did you mean `ttft`?"),
        ("gemini.ttft p95 < 1s", "unknown metric `gemini.ttft`"),
        ("ttft < 800ms", "needs a statistic"),
        ("ttft q95 < 800ms", "not `q95`"),
        ("ttft p100.0 < 800ms", "not `p100.0`"),
        ("ttft p100 < 800ms", "not `p100`"),
        ("error_rate < 5", "write `5%`"),
        ("ttft p95 < 800", "needs a unit"),
        (
            "ttft p95 < 800 USD",
            "measured in ns, us, ms or s, not `USD`",
        ),
        ("ttft p95 < fast", "measured in"),
        ("error_rate p95 < 1%", "takes no `p95`"),
        ("error_rate < 1ms", "per cent"),
        ("error_rate < %", "is not a number"),
        ("cost.delta_abs == 0", "needs a unit"),
        ("cost.delta_abs == x USD", "not"),
        ("planned > 5 %", "plain count"),
        ("cost.pending == 0 USD", "plain count"),
        ("cost.bias < 0.1 USD", "per cent"),
        ("cost.mismatch == 0", "did you mean `cost.mismatched`?"),
        ("outcomes.slow == 0", "unknown metric `outcomes.slow`"),
    ] {
        let error = Gate::parse(text).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}
