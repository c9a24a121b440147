//! Finds what can be changed, and writes the source with all changes in it, each behind its switch.
//!
//! Nothing of the source is taken away: around the expression `a + b` there will be
//! `(match crate::mutant::on(7) { 7 => (a) - (b), 8 => (a) * (b), _ => a + b })`. As one mutant is on at a time, what is
//! inside a changed expression is the source as it was; only the last arm has the mutants of `a` and of `b`.

use crate::read::{files, one_line, squeeze};
use crate::{values, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, BinOp, Expr, ImplItemFn, ItemFn, Pat, Signature, TraitItemFn, UnOp};

/// A file, and what can be changed in it.
pub struct Source {
    /// From the crate's root.
    pub path: PathBuf,
    pub mutants: Vec<Mutant>,
    text: String,
    places: Vec<Place>,
    /// What stands where between the source's bytes, in order.
    marks: Vec<(usize, Mark)>,
}

pub struct Mutant {
    /// From 1, over all files.
    pub id: u32,
    /// The first mutant of the same expression.
    pub place: u32,
    pub line: usize,
    /// File, function, and what was changed to what: says which one is meant also when lines have moved.
    pub name: String,
    changed: String,
}

/// An expression, to which there are alternatives.
struct Place {
    mutants: Range<usize>,
    lead: &'static str,
    tail: &'static str,
    /// The expression itself, where the source has none.
    unchanged: &'static str,
}

enum Mark {
    Open(usize),
    Close(usize),
}

/// A source with its mutants, and which bytes of it are whose.
pub struct Mutated {
    pub text: String,
    /// The innermost last.
    owners: Vec<(Range<usize>, BTreeSet<u32>)>,
}

impl Mutated {
    /// The mutants that may be to blame for an error at this byte.
    pub fn owners(&self, at: usize) -> BTreeSet<u32> {
        let is_around = |(range, _): &&(Range<usize>, _)| range.contains(&at);
        let around = self.owners.iter().filter(is_around);
        let innermost = around.min_by_key(|(range, _)| range.len());
        innermost
            .map(|(_, owners)| owners.clone())
            .unwrap_or_default()
    }
}

/// All sources under a directory, but those of tests.
pub fn read(root: &Path, scope: &Path) -> Result<Vec<Source>> {
    let (mut parsed, mut tests) = (Vec::new(), BTreeSet::new());
    for path in files(root, scope)? {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(root.join(&path))?;
            let file =
                syn::parse_file(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            tests.extend(test_modules(&path, &file));
            parsed.push((path, text, file));
        }
    }
    parsed.retain(|(path, ..)| !tests.contains(path));
    let (mut sources, mut next_id) = (Vec::new(), 1);
    for (path, text, file) in parsed {
        let mut finder = Finder::new(path, text, next_id);
        finder.visit_file(&file);
        next_id = finder.next_id;
        sources.push(finder.source);
    }
    Ok(sources)
}

/// The files of its modules that are tests.
fn test_modules(path: &Path, file: &syn::File) -> Vec<PathBuf> {
    let is_root = path.ends_with("mod.rs") || path.ends_with("lib.rs");
    let stem = path.with_extension("");
    let directory = if is_root {
        path.parent()
    } else {
        Some(stem.as_path())
    }
    .unwrap_or(path);
    let module = |item: &syn::Item| match item {
        syn::Item::Mod(module) if is_test(&module.attrs) => {
            Some(directory.join(format!("{}.rs", module.ident)))
        }
        _ => None,
    };
    file.items.iter().filter_map(module).collect()
}

impl Source {
    /// The source with all mutants that are not dropped.
    pub fn mutated(&self, is_dropped: impl Fn(u32) -> bool) -> Mutated {
        let (mut text, mut owners, mut open, mut copied) =
            (String::new(), Vec::new(), Vec::new(), 0);
        for (at, mark) in &self.marks {
            text.push_str(&self.text[copied..*at]);
            copied = *at;
            let (Mark::Open(index) | Mark::Close(index)) = mark;
            let place = &self.places[*index];
            let of_place = &self.mutants[place.mutants.clone()];
            let kept = || of_place.iter().filter(|mutant| !is_dropped(mutant.id));
            if kept().next().is_none() {
                continue;
            }
            match mark {
                Mark::Open(_) => {
                    open.push(text.len());
                    text += place.lead;
                    text += &format!("(match crate::mutant::on({}) {{ ", of_place[0].id);
                    for mutant in kept() {
                        let start = text.len();
                        text += &format!("{} => {}, ", mutant.id, mutant.changed);
                        owners.push((start..text.len(), BTreeSet::from([mutant.id])));
                    }
                    text += "_ => ";
                    text += place.unchanged;
                }
                Mark::Close(_) => {
                    text += "})";
                    text += place.tail;
                    let start = open.pop().unwrap_or_default();
                    owners.push((start..text.len(), kept().map(|mutant| mutant.id).collect()));
                }
            }
        }
        text.push_str(&self.text[copied..]);
        Mutated { text, owners }
    }
}

struct Finder {
    source: Source,
    next_id: u32,
    /// The types and functions around, by name.
    scope: Vec<String>,
    /// How often a name was given.
    names: BTreeMap<String, usize>,
}

/// What it is changed to: as source, and for a person.
struct Change {
    changed: String,
    name: String,
}

impl Finder {
    fn new(path: PathBuf, text: String, next_id: u32) -> Self {
        let source = Source {
            path,
            mutants: Vec::new(),
            text,
            places: Vec::new(),
            marks: Vec::new(),
        };
        Self {
            source,
            next_id,
            scope: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    fn text(&self, of: &impl Spanned) -> &str {
        &self.source.text[of.span().byte_range()]
    }

    fn open(
        &mut self,
        at: usize,
        line: usize,
        changes: Vec<Change>,
        lead: &'static str,
        unchanged: &'static str,
        tail: &'static str,
    ) -> usize {
        let (first, place) = (self.source.mutants.len(), self.next_id);
        for Change { changed, name } in changes {
            let file = self.source.path.display();
            let mut name = format!("{file} {}: {name}", self.scope.join("::"));
            let times = self.names.entry(name.clone()).or_default();
            *times += 1;
            if *times > 1 {
                name += &format!(" ({times})");
            }
            let id = self.next_id;
            self.next_id += 1;
            self.source.mutants.push(Mutant {
                id,
                place,
                line,
                name,
                changed,
            });
        }
        let place = self.source.places.len();
        self.source.places.push(Place {
            mutants: first..self.source.mutants.len(),
            lead,
            tail,
            unchanged,
        });
        self.source.marks.push((at, Mark::Open(place)));
        place
    }

    fn close(&mut self, at: usize, place: usize) {
        self.source.marks.push((at, Mark::Close(place)));
    }

    /// Around what `visit` walks through.
    fn around(&mut self, of: &impl Spanned, changes: Vec<Change>, visit: impl FnOnce(&mut Self)) {
        if changes.is_empty() {
            return visit(self);
        }
        let span = of.span();
        let place = self.open(
            span.byte_range().start,
            span.start().line,
            changes,
            "",
            "",
            "",
        );
        visit(self);
        self.close(span.byte_range().end, place);
    }

    /// A place between two tokens.
    fn insert(
        &mut self,
        at: usize,
        line: usize,
        changes: Vec<Change>,
        lead: &'static str,
        unchanged: &'static str,
        tail: &'static str,
    ) {
        if !changes.is_empty() {
            let place = self.open(at, line, changes, lead, unchanged, tail);
            self.close(at, place);
        }
    }

    fn in_scope(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.scope.push(name);
        visit(self);
        self.scope.pop();
    }

    fn function(
        &mut self,
        attributes: &[Attribute],
        signature: &Signature,
        body: Option<&syn::Block>,
        visit: impl FnOnce(&mut Self),
    ) {
        let Some(body) = body.filter(|_| !is_test(attributes) && signature.constness.is_none())
        else {
            return;
        };
        self.in_scope(signature.ident.to_string(), |finder| {
            let text = match body.stmts.as_slice() {
                [statement] => squeeze(statement),
                statements => format!("{} statements", statements.len()),
            };
            let values = values::of_return(&signature.output).into_iter();
            let changes = values
                .filter(|value| *value != text && !body.stmts.is_empty())
                .map(|value| Change {
                    name: format!("returns {value}"),
                    changed: format!("return {value}"),
                });
            let (at, line) = (
                body.brace_token.span.open().byte_range().end,
                signature.span().start().line,
            );
            finder.insert(at, line, changes.collect(), " ", "{}", ";");
            visit(finder);
        });
    }

    fn binary(&self, binary: &syn::ExprBinary) -> Vec<Change> {
        let (left, right) = (self.text(&binary.left), self.text(&binary.right));
        let op = self.text(&binary.op);
        let change = |changed: &&str| Change {
            changed: format!("({left}) {changed} ({right})"),
            name: format!("{} {op} {} → {changed}", last(left), first(right)),
        };
        alternatives(&binary.op).iter().map(change).collect()
    }
}

fn alternatives(op: &BinOp) -> &'static [&'static str] {
    match op {
        BinOp::Add(_) => &["-", "*"],
        BinOp::Sub(_) => &["+", "/"],
        BinOp::Mul(_) => &["+", "/"],
        BinOp::Div(_) => &["%", "*"],
        BinOp::Rem(_) => &["/", "+"],
        BinOp::And(_) => &["||"],
        BinOp::Or(_) => &["&&"],
        BinOp::BitXor(_) => &["|", "&"],
        BinOp::BitAnd(_) => &["|", "^"],
        BinOp::BitOr(_) => &["&", "^"],
        BinOp::Shl(_) => &[">>"],
        BinOp::Shr(_) => &["<<"],
        BinOp::Eq(_) => &["!="],
        BinOp::Ne(_) => &["=="],
        BinOp::Lt(_) => &["==", ">", "<="],
        BinOp::Le(_) => &[">", "<"],
        BinOp::Gt(_) => &["==", "<", ">="],
        BinOp::Ge(_) => &["<", ">"],
        BinOp::AddAssign(_) => &["-=", "*="],
        BinOp::SubAssign(_) => &["+=", "/="],
        BinOp::MulAssign(_) => &["+=", "/="],
        BinOp::DivAssign(_) => &["%=", "*="],
        BinOp::RemAssign(_) => &["/=", "+="],
        BinOp::BitXorAssign(_) => &["|=", "&="],
        BinOp::BitAndAssign(_) => &["|=", "^="],
        BinOp::BitOrAssign(_) => &["&=", "^="],
        BinOp::ShlAssign(_) => &[">>="],
        BinOp::ShrAssign(_) => &["<<="],
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_expr(&mut self, expr: &'ast Expr) {
        let changes = match expr {
            Expr::Binary(binary) => self.binary(binary),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_) | UnOp::Neg(_)) => {
                let operand = self.text(&unary.expr);
                vec![Change {
                    changed: format!("({operand})"),
                    name: format!("{} → {}", first(self.text(expr)), first(operand)),
                }]
            }
            _ => Vec::new(),
        };
        self.around(expr, changes, |finder| visit::visit_expr(finder, expr));
    }

    fn visit_expr_match(&mut self, node: &'ast syn::ExprMatch) {
        self.visit_expr(&node.expr);
        let is_rest = |arm: &syn::Arm| matches!(arm.pat, Pat::Wild(_)) && arm.guard.is_none();
        let has_rest = node.arms.iter().any(is_rest);
        for arm in &node.arms {
            let pattern = first(self.text(&arm.pat));
            let change = |changed: &str, name| Change {
                changed: changed.to_owned(),
                name,
            };
            if let Some((_, guard)) = &arm.guard {
                let guarded = format!("{pattern} if {}", first(self.text(guard)));
                let changes = ["true", "false"].map(|is| change(is, format!("{guarded} → {is}")));
                self.around(guard, changes.into(), |finder| finder.visit_expr(guard));
            } else if has_rest && !is_rest(arm) {
                let (at, line) = (arm.pat.span().byte_range().end, arm.pat.span().start().line);
                let deleted = change("false", format!("{pattern} => → deleted"));
                self.insert(at, line, vec![deleted], " if ", "true", "");
            }
            self.visit_expr(&arm.body);
        }
    }

    fn visit_item_fn(&mut self, node: &'ast ItemFn) {
        self.function(&node.attrs, &node.sig, Some(&node.block), |finder| {
            visit::visit_item_fn(finder, node)
        });
    }

    fn visit_impl_item_fn(&mut self, node: &'ast ImplItemFn) {
        self.function(&node.attrs, &node.sig, Some(&node.block), |finder| {
            visit::visit_impl_item_fn(finder, node)
        });
    }

    fn visit_trait_item_fn(&mut self, node: &'ast TraitItemFn) {
        self.function(&node.attrs, &node.sig, node.default.as_ref(), |finder| {
            visit::visit_trait_item_fn(finder, node)
        });
    }

    fn visit_item_impl(&mut self, node: &'ast syn::ItemImpl) {
        if !is_test(&node.attrs) {
            let ty = squeeze(&node.self_ty);
            let of = node
                .trait_
                .as_ref()
                .and_then(|(_, path, _)| path.segments.last());
            let name = of.map_or(ty.clone(), |of| format!("<{ty} as {}>", squeeze(of)));
            self.in_scope(name, |finder| visit::visit_item_impl(finder, node));
        }
    }

    fn visit_item_trait(&mut self, node: &'ast syn::ItemTrait) {
        self.in_scope(node.ident.to_string(), |finder| {
            visit::visit_item_trait(finder, node)
        });
    }

    fn visit_item_mod(&mut self, node: &'ast syn::ItemMod) {
        if !is_test(&node.attrs) {
            visit::visit_item_mod(self, node);
        }
    }

    // What the compiler evaluates cannot ask for a switch.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_variant(&mut self, _: &'ast syn::Variant) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_expr_repeat(&mut self, node: &'ast syn::ExprRepeat) {
        self.visit_expr(&node.expr);
    }
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_generics(&mut self, _: &'ast syn::Generics) {}
    fn visit_generic_argument(&mut self, _: &'ast syn::GenericArgument) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = squeeze(&attribute.meta);
        text == "test" || text == "cfg(test)"
    })
}

/// As much of an operand as tells one from another.
const SHOWN: usize = 48;

fn first(text: &str) -> String {
    let text = one_line(text);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn last(text: &str) -> String {
    let text = one_line(text);
    match text.char_indices().rev().nth(SHOWN) {
        Some((start, _)) => format!("…{}", &text[start..]),
        None => text,
    }
}
