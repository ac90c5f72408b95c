//! The list of keys that a configuration may hold, drawn from the raw types themselves, so that it cannot fall behind
//! them. Used to name the nearest key when an unknown one turns up, and to prove that the shipped files show all of them.

/// One key of the schema. Elements of an array of tables are written `[]`, as in `issuing_ca[].name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) path: String,
    /// Of a table or an array of tables: the path of what holds the keys below, which is this path or this path and
    /// `[]`. A plain value has nothing below it.
    pub(crate) below: Option<String>,
}

/// What may stand below a key. A plain value has nothing below it.
pub(crate) trait Schema {
    const SECTION: bool = false;
    /// What is added to the key of a section to reach its elements.
    const SUFFIX: &'static str = "";

    fn keys(_prefix: &str, _out: &mut Vec<Key>) {}
}

impl Schema for String {}
impl Schema for i64 {}
impl Schema for bool {}
impl Schema for Vec<String> {}

impl<T: Schema> Schema for Option<T> {
    const SECTION: bool = T::SECTION;
    const SUFFIX: &'static str = T::SUFFIX;

    fn keys(prefix: &str, out: &mut Vec<Key>) {
        T::keys(prefix, out);
    }
}

/// An array of tables.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Tables<T>(pub(crate) Vec<T>);

impl<T: Schema> Schema for Tables<T> {
    const SECTION: bool = true;
    const SUFFIX: &'static str = "[]";

    fn keys(prefix: &str, out: &mut Vec<Key>) {
        T::keys(prefix, out);
    }
}

/// All keys below `T`, in the order in which the types list them.
pub(crate) fn keys_of<T: Schema>() -> Vec<Key> {
    let mut out = Vec::new();
    T::keys("", &mut out);
    out
}

/// Adds one key, and what is below it.
pub(crate) fn push<T: Schema>(prefix: &str, name: &str, out: &mut Vec<Key>) {
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
    let below = format!("{path}{}", T::SUFFIX);
    out.push(Key { path, below: T::SECTION.then(|| below.clone()) });
    T::keys(&below, out);
}

/// A raw section: every key with its type and its default, unknown keys refused.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::schema::Schema for $name {
            const SECTION: bool = true;

            fn keys(prefix: &str, out: &mut Vec<$crate::schema::Key>) {
                $($crate::schema::push::<$type>(prefix, stringify!($field), out);)*
            }
        }
    };
}

pub(crate) use section;
