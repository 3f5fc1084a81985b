//! Which modules of the first level a module names.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Lexeme, Module};

/// A name that the root re-exports, and the module of the first level from which it comes.
pub(crate) type Roof = BTreeMap<String, String>;

/// The names that `pub use` and `pub(crate) use` of the root give to the whole crate.
pub(crate) fn roof(root: &Module) -> Roof {
    let mut names = Roof::new();
    for item in &root.items {
        if let syn::Item::Use(used) = item {
            exported(&used.tree, &mut Vec::new(), &mut names);
        }
    }
    names
}

fn exported(tree: &syn::UseTree, path: &mut Vec<String>, roof: &mut Roof) {
    match tree {
        syn::UseTree::Path(step) => {
            path.push(step.ident.to_string());
            exported(&step.tree, path, roof);
            path.pop();
        }
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| exported(tree, path, roof)),
        syn::UseTree::Name(name) => drop(roof.insert(name.ident.to_string(), path[0].clone())),
        syn::UseTree::Rename(name) => drop(roof.insert(name.rename.to_string(), path[0].clone())),
        syn::UseTree::Glob(_) => {}
    }
}

/// The modules of the first level that `module` names by a path; `*` and `crate` for what cannot be told apart: a glob
/// import from the root, or the root under another name.
pub(crate) fn named(module: &Module, roof: &Roof) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, tokens) in module.tokens() {
        let mut at = 0;
        while at < tokens.len() {
            at = step(&path, &tokens, at, &mut found);
        }
    }
    found.into_iter().map(|name| roof.get(&name).cloned().unwrap_or(name)).collect()
}

/// Looks at the token `at`, and says where to go on.
fn step(path: &[String], tokens: &[Lexeme], at: usize, found: &mut BTreeSet<String>) -> usize {
    // Only the first word of a path decides where the path starts.
    let starts = at == 0 || !tokens[at - 1].is_sign("::");
    let mut height = match tokens[at].word() {
        Some("crate") if starts && at > 0 && tokens[at - 1].word() == Some("extern") => {
            if tokens.get(at + 1).and_then(Lexeme::word) == Some("self") {
                found.insert("crate".to_owned());
            }
            return at + 1;
        }
        Some("crate") if starts => 0,
        Some("super") if starts || at >= 2 && tokens[at - 2].word() == Some("self") => path.len().saturating_sub(1),
        _ => return at + 1,
    };
    // `pub(crate)` and `pub(super)` name nothing.
    if at > 0 && tokens[at - 1].is_sign("(") && tokens.get(at + 1).is_some_and(|next| next.is_sign(")")) {
        return at + 1;
    }
    let mut next = at + 1;
    while tokens.get(next).is_some_and(|sign| sign.is_sign("::")) && tokens.get(next + 1).and_then(Lexeme::word) == Some("super") {
        height = height.saturating_sub(1);
        next += 2;
    }
    if height > 0 {
        return next;
    }
    if !tokens.get(next).is_some_and(|sign| sign.is_sign("::")) {
        found.insert("crate".to_owned());
        return next;
    }
    first_words(tokens, next + 1, found)
}

/// The word at `at`, or the first words of each path of the group that begins there.
fn first_words(tokens: &[Lexeme], at: usize, found: &mut BTreeSet<String>) -> usize {
    match tokens.get(at) {
        Some(Lexeme::Word(word)) => drop(found.insert(word.clone())),
        Some(Lexeme::Sign(sign)) if sign == "*" => drop(found.insert("*".to_owned())),
        Some(Lexeme::Sign(sign)) if sign == "{" => {
            let (mut depth, mut next, mut begins) = (1, at + 1, true);
            while depth > 0 && next < tokens.len() {
                match &tokens[next] {
                    Lexeme::Sign(sign) if sign == "{" => depth += 1,
                    Lexeme::Sign(sign) if sign == "}" => depth -= 1,
                    Lexeme::Sign(sign) if sign == "," && depth == 1 => {
                        begins = true;
                        next += 1;
                        continue;
                    }
                    token if begins => drop(first_words(std::slice::from_ref(token), 0, found)),
                    _ => {}
                }
                begins = false;
                next += 1;
            }
            return next;
        }
        _ => {}
    }
    at + 1
}
