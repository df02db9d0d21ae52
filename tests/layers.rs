//! The two rules of the layers: a module uses only groups above its own, and siblings do not use
//! each other. And the sans-IO rule: from the values to the ends, nothing touches the world.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The groups of `lib.rs`, from the top down: modules between blank lines.
fn groups() -> Vec<Vec<String>> {
    let text = fs::read_to_string("src/lib.rs").expect("the crate has a lib.rs");
    text.split("\n\n")
        .map(|block| {
            block
                .lines()
                .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|group| !group.is_empty())
        .collect()
}

fn sources(module: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push(path);
            }
        }
    }
    let file = PathBuf::from(format!("src/{module}.rs"));
    if file.is_file() {
        return vec![file];
    }
    let mut found = Vec::new();
    walk(Path::new("src").join(module).as_path(), &mut found);
    found
}

/// The code of a file without its comments, up to its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a readable source");
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .expect("split gives one part");
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The modules of this crate that `code` names.
fn uses<'a>(code: &str, modules: &'a [String]) -> Vec<&'a str> {
    let mut grouped = String::new();
    // `use crate::{a, b::c};` names a and b as well.
    for part in code.split("crate::{").skip(1) {
        let names = part.split('}').next().unwrap_or_default();
        for name in names.split(',') {
            grouped.push_str("crate::");
            grouped.push_str(name.trim());
            grouped.push(' ');
        }
    }
    let all = format!("{code} {grouped}");
    modules
        .iter()
        .filter(|module| {
            let path = format!("crate::{module}");
            all.match_indices(&path).any(|(at, _)| {
                let next = all[at + path.len()..].chars().next();
                next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
            })
        })
        .map(String::as_str)
        .collect()
}

#[test]
fn a_module_uses_only_the_groups_above_it() {
    let groups = groups();
    assert!(groups.len() > 5, "the groups of lib.rs were not found");
    let modules: Vec<String> = groups.iter().flatten().cloned().collect();
    let level: BTreeMap<&str, usize> = groups
        .iter()
        .enumerate()
        .flat_map(|(n, group)| group.iter().map(move |m| (m.as_str(), n)))
        .collect();
    let mut checked = 0;
    for module in &modules {
        for path in sources(module) {
            for used in uses(&code(&path), &modules) {
                checked += 1;
                assert!(
                    used == module || level[used] < level[module.as_str()],
                    "{}: `{module}` uses `{used}`, which is no group above its own",
                    path.display()
                );
            }
        }
    }
    assert!(checked > 100, "only {checked} uses were found");
}

#[test]
fn every_source_belongs_to_a_module_of_the_list() {
    let modules: Vec<String> = groups().into_iter().flatten().collect();
    for entry in fs::read_dir("src").expect("the crate has sources") {
        let path = entry.expect("a readable entry").path();
        let name = path
            .file_stem()
            .and_then(|s| s.to_str())
            .expect("a plain name")
            .to_owned();
        if name != "lib" && name != "main" {
            assert!(
                modules.contains(&name),
                "src/{name} stands in no group of lib.rs"
            );
        }
    }
}

#[test]
fn nothing_before_the_world_touches_it() {
    let groups = groups();
    let world = groups
        .iter()
        .position(|g| g.contains(&"clock".to_owned()))
        .expect("there is a clock");
    for module in groups[..world].iter().flatten() {
        for path in sources(module) {
            let code = code(&path);
            for banned in [
                "tokio",
                "reqwest",
                "std::fs",
                "std::net",
                "Instant",
                "SystemTime",
                "thread_rng",
                "rand::rng()",
                "println!",
                "eprintln!",
                "print!(",
                "std::env::",
                "std::process",
            ] {
                assert!(
                    !code.contains(banned),
                    "{}: uses `{banned}`",
                    path.display()
                );
            }
        }
    }
}

/// Every token of `code` that is a float: a type, or a number with a point or an exponent.
fn floats(code: proc_macro2::TokenStream) -> Vec<String> {
    use proc_macro2::TokenTree;
    let mut found = Vec::new();
    let mut after_point = false;
    for token in code {
        let text = token.to_string();
        match &token {
            TokenTree::Group(group) => found.extend(floats(group.stream())),
            TokenTree::Ident(_) if text == "f32" || text == "f64" => found.push(text),
            // A field of a field, `t.0.1`, is read as a point and `0.1`.
            TokenTree::Literal(_) if !after_point && is_float(&text) => found.push(text),
            _ => {}
        }
        after_point = matches!(&token, TokenTree::Punct(p) if p.as_char() == '.');
    }
    found
}

/// Whether a literal is a float: digits, then a point, an exponent or the suffix of a float.
fn is_float(literal: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit() || c == '_';
    let rest = literal.trim_start_matches(digits);
    let exponent = rest.strip_prefix(['e', 'E']);
    rest.len() < literal.len()
        && (rest.starts_with('.')
            || rest.starts_with('f')
            || exponent.is_some_and(|e| e.starts_with(|c| digits(c) || c == '-' || c == '+')))
}

#[test]
fn no_float_touches_money() {
    let tokens = |code: &str| code.parse::<proc_macro2::TokenStream>().expect("Rust");
    let held = "let a = 1.5 + 1e3 + 2f32; /* 0.5 */ let b = (n as f64, 0xe1, 1_usize, \"0.5\", t.0, t.0.1);";
    assert_eq!(floats(tokens(held)), ["1.5", "1e3", "2f32", "f64"]);
    for module in ["money", "billing"] {
        for path in sources(module) {
            let found = floats(tokens(&code(&path)));
            assert!(found.is_empty(), "{}: holds {found:?}", path.display());
        }
    }
}
