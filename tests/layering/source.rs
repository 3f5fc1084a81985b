//! The source of a crate as tokens: every module that is reached from its root, without the items of tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Item, Meta, Token};

/// A module of a crate: its path from the root, and its code.
#[derive(Clone)]
pub(crate) struct Module {
    /// The path from the root of the crate, which is itself the empty path.
    pub(crate) path: Vec<String>,
    /// The file in which it lies.
    pub(crate) file: PathBuf,
    /// Its items, those of inline modules included, without what is compiled for tests only.
    pub(crate) items: Vec<Item>,
}

impl Module {
    /// Parses `text` as the module `path`.
    pub(crate) fn parse(path: &[&str], file: &Path, text: &str) -> Self {
        let mut parsed = syn::parse_file(text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        WithoutTests.visit_file_mut(&mut parsed);
        Self { path: path.iter().map(|&name| name.to_owned()).collect(), file: file.to_owned(), items: parsed.items }
    }

    /// The module of the first level to which it belongs; `None` for the root.
    pub(crate) fn top(&self) -> Option<&str> {
        self.path.first().map(String::as_str)
    }

    /// Its code as tokens, without inline modules, and each inline module by itself with its own path.
    pub(crate) fn tokens(&self) -> Vec<(Vec<String>, Vec<Lexeme>)> {
        let mut found = Vec::new();
        tokens_of(&self.path, &self.items, &mut found);
        found
    }

    /// All its code as tokens.
    pub(crate) fn flat(&self) -> Vec<Lexeme> {
        self.tokens().into_iter().flat_map(|(_, tokens)| tokens).collect()
    }
}

fn tokens_of(path: &[String], items: &[Item], found: &mut Vec<(Vec<String>, Vec<Lexeme>)>) {
    let mut here = Vec::new();
    for item in items {
        match item {
            Item::Mod(module) => {
                if let Some((_, inside)) = &module.content {
                    tokens_of(&[path, &[module.ident.to_string()]].concat(), inside, found);
                }
            }
            item => flatten(item.to_token_stream(), &mut here),
        }
    }
    found.push((path.to_vec(), here));
}

/// A token of code, groups opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lexeme {
    Word(String),
    /// Punctuation and delimiters; `::` is one.
    Sign(String),
    /// The text of a string literal.
    Text(String),
    Other,
}

impl Lexeme {
    pub(crate) fn is_sign(&self, sign: &str) -> bool {
        matches!(self, Self::Sign(found) if found == sign)
    }

    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Opens the groups of `stream`, those of macros included: what a macro is given counts as code.
fn flatten(stream: TokenStream, into: &mut Vec<Lexeme>) {
    let mut colon = false;
    for token in stream {
        let joins = std::mem::take(&mut colon);
        match token {
            TokenTree::Punct(sign) if sign.as_char() == ':' && joins => into.push(Lexeme::Sign("::".to_owned())),
            TokenTree::Punct(sign) if sign.as_char() == ':' && sign.spacing() == Spacing::Joint => colon = true,
            TokenTree::Punct(sign) => into.push(Lexeme::Sign(sign.as_char().to_string())),
            TokenTree::Ident(word) => into.push(Lexeme::Word(word.to_string())),
            TokenTree::Literal(literal) => into.push(match syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                Ok(text) => Lexeme::Text(text.value()),
                Err(_) => Lexeme::Other,
            }),
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                into.push(Lexeme::Sign(open.to_owned()));
                flatten(group.stream(), into);
                into.push(Lexeme::Sign(close.to_owned()));
            }
        }
    }
}

/// Removes what only tests see, item by item, and documentation.
struct WithoutTests;

/// Whether attributes say that code is compiled for tests alone. `any(test, …)` does not.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => list.parse_args::<Meta>().is_ok_and(|meta| needs_test(&meta)),
        _ => false,
    })
}

fn needs_test(meta: &Meta) -> bool {
    match meta {
        Meta::Path(path) => path.is_ident("test") || path.is_ident("doctest"),
        Meta::List(list) if list.path.is_ident("all") => {
            list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).is_ok_and(|all| all.iter().any(needs_test))
        }
        _ => false,
    }
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::ExternCrate(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::ForeignMod(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::TraitAlias(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Union(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !is_test(attributes_of(item)));
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !is_test(attributes_of(item)));
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, block: &mut syn::ItemImpl) {
        block.items.retain(|item| match item {
            syn::ImplItem::Fn(f) => !is_test(&f.attrs),
            syn::ImplItem::Const(c) => !is_test(&c.attrs),
            syn::ImplItem::Type(t) => !is_test(&t.attrs),
            _ => true,
        });
        visit_mut::visit_item_impl_mut(self, block);
    }

    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        block.stmts.retain(|statement| match statement {
            syn::Stmt::Local(local) => !is_test(&local.attrs),
            syn::Stmt::Item(item) => !is_test(attributes_of(item)),
            _ => true,
        });
        visit_mut::visit_block_mut(self, block);
    }

    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        attributes.retain(|attribute| !attribute.path().is_ident("doc"));
    }
}

/// The modules of a crate, and the files that only tests reach.
pub(crate) struct Crate {
    pub(crate) modules: Vec<Module>,
    /// Files of modules that are declared for tests only.
    pub(crate) tests: BTreeSet<PathBuf>,
}

impl Crate {
    /// Follows the module declarations from `root`, which is `src/lib.rs` or `src/main.rs`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut found = Self { modules: Vec::new(), tests: BTreeSet::new() };
        found.follow(&mut Vec::new(), root, root.parent().unwrap());
        found
    }

    fn follow(&mut self, path: &mut Vec<String>, file: &Path, folder: &Path) {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let all = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for item in &all.items {
            let Item::Mod(module) = item else { continue };
            let name = module.ident.to_string();
            if module.content.is_some() {
                continue;
            }
            let (flat, nested) = (folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs"));
            let child = if flat.exists() { flat } else { nested };
            if is_test(&module.attrs) {
                self.tests.insert(child);
                continue;
            }
            path.push(name.clone());
            self.follow(path, &child, &folder.join(&name));
            path.pop();
        }
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        self.modules.push(Module::parse(&names, file, &text));
    }
}

/// Every Rust file below `folder`.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}
