//! What a function's body is replaced with: simple values of the type that it returns.

use crate::read::squeeze;
use syn::{GenericArgument, PathArguments, ReturnType, Type, TypePath};

/// As source text. A guess: what does not compile is taken out later.
pub fn of_return(output: &ReturnType) -> Vec<String> {
    match output {
        ReturnType::Default => vec!["()".to_owned()],
        ReturnType::Type(_, ty) => of(ty),
    }
}

fn of(ty: &Type) -> Vec<String> {
    let wrap = |before: &str, values: Vec<String>, after: &str| -> Vec<String> {
        let wrap = |value| format!("{before}{value}{after}");
        values.into_iter().map(wrap).collect()
    };
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    match ty {
        Type::Path(path) => of_path(path),
        Type::Tuple(tuple) => {
            let mut values = vec![String::new()];
            for ty in &tuple.elems {
                let of_next = of(ty);
                let next = |value: &String| wrap(value, of_next.clone(), ", ");
                values = values.iter().flat_map(next).collect();
            }
            wrap("(", values, ")")
        }
        Type::Array(array) => wrap("[", of(&array.elem), &format!("; {}]", squeeze(&array.len))),
        Type::Reference(reference) => match &*reference.elem {
            Type::Path(path) if path.path.is_ident("str") => texts(&["\"\"", "\"xyzzy\""]),
            Type::Slice(slice) => {
                let mut values = wrap("Vec::leak(vec![", of(&slice.elem), "])");
                values.insert(0, "Vec::leak(vec![])".to_owned());
                values
            }
            ty => wrap("Box::leak(Box::new(", of(ty), "))"),
        },
        Type::Paren(paren) => of(&paren.elem),
        _ => Vec::new(), // `impl Trait` is one type: that of the body
    }
}

fn of_path(path: &TypePath) -> Vec<String> {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let Some(last) = path.path.segments.last() else {
        return Vec::new();
    };
    let argument = || match &last.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
            Some(GenericArgument::Type(ty)) => of(ty),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    let wrapped = |before: &str, after: &str| {
        let wrap = |value| format!("{before}{value}{after}");
        argument().into_iter().map(wrap).collect::<Vec<_>>()
    };
    match last.ident.to_string().as_str() {
        "bool" => texts(&["true", "false"]),
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => texts(&["0", "1"]),
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => texts(&["0", "1", "-1"]),
        "String" => texts(&["String::new()", "\"xyzzy\".to_owned()"]),
        "Vec" => [texts(&["vec![]"]), wrapped("vec![", "]")].concat(),
        "Option" => [texts(&["None"]), wrapped("Some(", ")")].concat(),
        "Result" => wrapped("Ok(", ")"),
        "Box" => wrapped("Box::new(", ")"),
        _ => texts(&["Default::default()"]),
    }
}
