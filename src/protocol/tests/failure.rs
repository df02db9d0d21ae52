use crate::protocol::error_body;

#[track_caller]
fn check(body: &str, kind: &str, message: &str) {
    assert_eq!(
        error_body(body.as_bytes()),
        (kind.to_owned(), message.to_owned())
    );
}

#[test]
fn the_shapes_of_errors() {
    check(
        r#"{"error":{"message":"no\nkey","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
        "invalid_request_error",
        "no",
    );
    check(
        r#"{"error":{"message":"m","type":null,"code":429}}"#,
        "429",
        "m",
    );
    check(
        r#"{"type":"error","error":{"type":"not_found_error","message":"m"},"request_id":"r"}"#,
        "not_found_error",
        "m",
    );
    check(
        r#"{"object":"error","message":"m","type":"invalid_request_error","code":"1500"}"#,
        "invalid_request_error",
        "m",
    );
    check(
        r#"{"object":"error","message":{"detail":[1]},"type":"t"}"#,
        "t",
        r#"{"detail":[1]}"#,
    );
    check(r#"{"detail":"Not Found"}"#, "", "Not Found");
    check(
        r#"{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"not permitted"}]}"#,
        "extra_forbidden",
        "body.seed: not permitted",
    );
    check(r#"{"message":"no Route matched"}"#, "", "no Route matched");
    check(
        r#"{"error":"invalid_token","error_description":"expired"}"#,
        "invalid_token",
        "expired",
    );
    check(r#"{"error":"plain"}"#, "", "plain");
    check(
        r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#,
        "400",
        "m",
    );
    check(r#"{"error":{"a":1}}"#, "", r#"{"a":1}"#);
}

#[test]
fn what_is_no_json_gives_its_first_line() {
    check(
        "\n upstream connect error\r\nreset",
        "",
        "upstream connect error",
    );
    check(
        "<html>\n<head><title>502 Bad Gateway</title></head>",
        "",
        "502 Bad Gateway",
    );
    check("<html>\n</html>", "", "<html>");
    check(r#"{"ok":false}"#, "", r#"{"ok":false}"#);
    check("", "", "");
    check("a\tb\u{0}", "", "a b ");
    assert_eq!(error_body(b"bad \xff byte").1, "bad \u{fffd} byte");
}

#[test]
fn messages_are_bounded() {
    let (kind, message) = error_body(
        format!(
            r#"{{"error":{{"message":"{}","type":"{}"}}}}"#,
            "é".repeat(500),
            "t".repeat(500)
        )
        .as_bytes(),
    );
    assert_eq!((kind.chars().count(), message.chars().count()), (200, 200));
}
