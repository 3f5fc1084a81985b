//! Names of types: one of its kind in a crate, so that a search finds the one that is meant.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use super::{command, engine};
use crate::source::Crate;

/// The types that a crate defines by name, and the modules that define them.
#[derive(Default)]
struct Types {
    found: BTreeMap<String, Vec<String>>,
    module: String,
}

impl Types {
    fn add(&mut self, name: &syn::Ident) {
        self.found.entry(name.to_string()).or_default().push(self.module.clone());
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.ident);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.add(&item.ident);
    }
}

/// The names that a crate gives to more than one type. Generated code is left out.
fn duplicates(found: &Crate) -> Vec<String> {
    let mut types = Types::default();
    for module in found.modules.iter().filter(|module| module.path.get(1).is_none_or(|name| name != "generated")) {
        types.module = module.path.join("::");
        module.items.iter().for_each(|item| types.visit_item(item));
    }
    let twice = types.found.into_iter().filter(|(_, modules)| modules.len() > 1);
    twice.map(|(name, modules)| format!("{name}: {}", modules.join(", "))).collect()
}

#[test]
fn names_of_types_are_unique() {
    for (name, found) in [("engine", engine()), ("command", command())] {
        let twice = duplicates(&found);
        assert!(twice.is_empty(), "{name}: names of more than one type\n{}", twice.join("\n"));
    }
}
